# Two targets are enough for most: `make up` runs a cluster on this machine, `make test` tests it.

PORT ?= 8000
DATA ?= data
SEEDS ?= 500
FIRST ?= 1
EXAMPLES ?= 300
ROUNDS ?= 20
MINUTES ?= 40
IMAGES ?= 200
KILLS ?= 20
WRITES ?= 10000
OPERATIONS ?= 100000
USERS ?= 64
BENCH ?=
SECONDS ?= 20
RECORDS ?= 100000
# The system's Python before another one in the PATH: Debian's is optimised by profile, and serves up to a third more than one
# that was built without.
PYTHON ?= $(shell /usr/bin/python3 -c 'import ensurepip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo /usr/bin/python3 || echo python3)

# Gateways of every target have so many workers, where it is given.
ifdef WORKERS
export KVSTORE_WORKERS := $(WORKERS)
endif

BIN := .venv/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet install
PYTEST := $(PY) -m pytest -n 4 --dist worksteal
FAST := tests/unit tests/contract tests/architecture tests/simulation
SOURCES := kvstore cluster tests loadtest examples

.PHONY: help up test some-seeds some-seeds-of-controls some-requests check lint schema sim planted crash kill-all probe soak power-loss first-write stopped retried grow-shrink kill-moves kill-coordinator state-machine isolation geo rising tenant bench-recovery compose-test bench bench-import bench-handoff ycsb bench-scan bench-txn export-import scale advice bench-micro ratio clean

help:
	@echo 'make up      a gateway and three nodes on 127.0.0.1:$(PORT), data in ./$(DATA), until Ctrl-C (PORT=, DATA=, WORKERS=)'
	@echo 'make test    every test but the crash and probe rounds (12 minutes)'
	@echo 'make check   the fast part of it: lint, types, unit, contract and architecture tests'
	@echo 'make sim     simulation of $(SEEDS) seeds (SEEDS=, FIRST=), or of one (SEED=); CONTROLS=1: with two real controls,'
	@echo '             SCRIPT=NAME: a story in the place of chance'
	@echo 'make schema  the whole contract (docs/openapi.yaml) tried against a cluster of its own, $(EXAMPLES) cases by chance of each'
	@echo '             operation (EXAMPLES=), or one operation (ONLY=operationId); part of make test with 20'
	@echo 'make planted break one rule of the protocol at a time: the simulation must find each'
	@echo 'make crash   a process ends at each durable step, then kill -9 of a whole cluster $(ROUNDS) times (ROUNDS=), under load'
	@echo 'make kill-all  the second part of it alone'
	@echo 'make probe   tests with real processes that are killed, and with an etcd that stands still for a minute; here and in all'
	@echo '             that follow WORKERS=2 has gateways of two workers'
	@echo 'make soak    nemeses in pairs under load, judged by checkers, for $(MINUTES) minutes (MINUTES=); ONLY=NAME,NAME: these; SINGLE=1: one at a time;'
	@echo '             KEYSPACES=range,directory: on these keyspaces too, while they are split, merged and tenants moved'
	@echo 'make power-loss  the disks of a cluster after a loss of power, $(IMAGES) times (IMAGES=), judged'
	@echo 'make first-write  seconds from kill -9 of a leader to the first write, $(KILLS) times (KILLS=)'
	@echo 'make stopped  a leader that stands still for 0.5 to 15 times its lease'
	@echo 'make grow-shrink  a cluster grows from three nodes to five and back under load (RECORDS=)'
	@echo 'make kill-moves  kill -9 of source, target and gateway at each step of a move, $(ROUNDS) rounds (ROUNDS=; 27 are one of each)'
	@echo 'make kill-coordinator  a gateway ends between the votes and the decision of transactions, $(ROUNDS) rounds (ROUNDS=)'
	@echo 'make retried  $(WRITES) writes whose answers are dropped, sent again through another gateway over three failovers (WRITES=)'
	@echo 'make state-machine  the whole HTTP API against a plain dict under kills and moves, until $(OPERATIONS) answers'
	@echo '             were judged (OPERATIONS=, SEED=)'
	@echo 'make isolation  the same keys in keyspaces of every strategy, none of which may see the others'
	@echo 'make geo     one of two zones is cut off: the other serves its keys, and no copy leaves its zone'
	@echo 'make rising  rising keys at full speed into a keyspace of ranges, for 4 minutes (MINUTES=): it splits by itself'
	@echo 'make tenant  a tenant of $(RECORDS) keys moves to another partition and back under its own load (RECORDS=)'
	@echo 'make compose-test  docker-compose.yml for real, with an engine that runs or one started for it (6 minutes)'
	@echo 'make bench   this cluster beside etcd and Redis under the same load, as a report in docs/benchmarks (25 minutes);'
	@echo "             BENCH='--quick': to try it, BENCH='--only kvstore,etcd': these, BENCH=--help: all options"
	@echo 'make bench-micro  microseconds of the parts: codec, routing, engine, RPC'
	@echo 'make ratio   GETs and PUTs of a gateway beside an aiohttp application that says hello: not far below what is usual'
	@echo 'make bench-recovery  how long a node that was away, or lost its disk, takes to be in sync again'
	@echo 'make bench-import  records per second that an import stores'
	@echo 'make export-import  an export, imported into another cluster, is the same (RECORDS=)'
	@echo 'make bench-scan  keys per second of a scan and a count, pages beside GETs, GETs beside a scan'
	@echo 'make bench-txn  transactions beside PUTs: latency, throughput, CPU, and 64 clients on one key'
	@echo 'make bench-handoff  records per second that one node hands to another, beside LMDB alone'
	@echo 'make ycsb    the workloads of YCSB by Locust, as a table (USERS=, SECONDS= of each, RECORDS=, GATEWAY= of a cluster that runs)'
	@echo 'make scale   what clusters of up to 1,000 nodes and 65,536 partitions would cost, by the code without I/O and a model (3 minutes);'
	@echo '             PLOTS=1: only draw docs/scaling again'
	@echo 'make advice  what each sharding strategy does with samples of real keys, into docs/SHARDING.md'
	@echo 'make clean   removes the environment and caches, not the data'

up: .venv/run.stamp
	@exec $(BIN)/kvstore up --data "$(DATA)" --listen 127.0.0.1:$(PORT)

test: lint
	$(PYTEST) $(FAST) tests/integration
	@$(MAKE) --jobs 2 --output-sync some-seeds some-seeds-of-controls some-requests

some-seeds: .venv/dev.stamp
	$(PY) tests/simulation/run.py --seeds 200 --first 1

some-seeds-of-controls: .venv/dev.stamp
	$(PY) tests/simulation/run.py --seeds 100 --first 1 --controls

some-requests: .venv/dev.stamp
	$(PY) tests/schema/run.py --examples 20 --fixed

check: lint
	$(PYTEST) $(FAST)

lint: .venv/dev.stamp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

sim: .venv/dev.stamp
	$(PY) tests/simulation/run.py $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST)) $(if $(CONTROLS),--controls) \
	  $(if $(SCRIPT),--script $(SCRIPT))

schema: .venv/dev.stamp
	$(PY) tests/schema/run.py --examples $(EXAMPLES) $(if $(ONLY),--only $(ONLY)) $(if $(SEED),--seed $(SEED))

planted: .venv/dev.stamp
	$(PY) tests/simulation/run.py --until-found --seeds $(SEEDS)

crash: .venv/dev.stamp
	$(PY) tests/probe/crash_points.py
	@$(MAKE) kill-all

kill-all: .venv/dev.stamp
	ROUNDS=$(ROUNDS) $(PY) tests/probe/crash_all.py

probe: .venv/dev.stamp
	$(PY) -m pytest tests/probe
	STANDSTILL_S=60 $(PY) -m pytest tests/integration/test_two_gateways.py -k stands_still

soak: .venv/dev.stamp
	$(PY) tests/probe/soak.py --minutes $(MINUTES) $(if $(ONLY),--only '$(ONLY)') $(if $(SINGLE),--single) \
	  $(if $(KEYSPACES),--keyspaces '$(KEYSPACES)')

power-loss: .venv/dev.stamp
	$(PY) tests/probe/power_loss.py --images $(IMAGES)

first-write: .venv/dev.stamp
	$(PY) tests/probe/first_write.py --kills $(KILLS)

stopped: .venv/dev.stamp
	$(PY) tests/probe/stopped.py

grow-shrink: .venv/dev.stamp
	$(PY) tests/probe/grow_shrink.py --records $(RECORDS)

kill-moves: .venv/dev.stamp
	$(PY) tests/probe/kill_moves.py --rounds $(ROUNDS)

kill-coordinator: .venv/dev.stamp
	$(PY) tests/probe/kill_coordinator.py --rounds $(ROUNDS)

retried: .venv/dev.stamp
	$(PY) tests/probe/retried.py --writes $(WRITES)

state-machine: .venv/dev.stamp
	$(PY) tests/probe/state_machine.py --operations $(OPERATIONS) $(if $(SEED),--seed $(SEED))

isolation: .venv/dev.stamp
	$(PY) tests/probe/isolation.py

geo: .venv/dev.stamp
	$(PY) tests/probe/geo.py

rising: MINUTES = 4
rising: .venv/dev.stamp
	$(PY) loadtest/rising.py --minutes $(MINUTES)

tenant: .venv/dev.stamp
	$(PY) loadtest/tenant.py --records $(RECORDS)

bench-recovery: .venv/dev.stamp
	$(PY) tests/probe/recovery.py away
	$(PY) tests/probe/recovery.py wiped

compose-test: .venv/dev.stamp
	$(PY) tests/compose/run.py

bench: .venv/dev.stamp .venv/load.stamp
	PYTHONPATH=loadtest $(PY) -m compare $(BENCH)

bench-micro: .venv/dev.stamp .venv/load.stamp
	$(PY) -m pytest loadtest/micro -p no:xdist --benchmark-only --benchmark-sort=name --benchmark-columns=min,median,iqr,ops

ratio: .venv/dev.stamp
	PYTHONPATH=loadtest $(PY) -m compare.ratio_check

bench-import: .venv/dev.stamp
	$(PY) loadtest/import_bench.py

export-import: .venv/dev.stamp
	$(PY) loadtest/export_import.py --records $(RECORDS)

bench-scan: .venv/dev.stamp
	$(PY) loadtest/scan_bench.py

bench-txn: .venv/dev.stamp
	$(PY) loadtest/txn_bench.py

bench-handoff: .venv/dev.stamp
	$(PY) loadtest/handoff_bench.py

ycsb: .venv/load.stamp
	$(PY) loadtest/ycsb.py --users $(USERS) --seconds $(SECONDS) --records $(RECORDS) $(if $(GATEWAY),--gateway $(GATEWAY))

scale: .venv/load.stamp
	PYTHONPATH=loadtest $(PY) -m scale $(if $(PLOTS),--plots-only)

advice: .venv/load.stamp
	PYTHONPATH=loadtest $(PY) -m advice

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/run.stamp

.venv/load.stamp: pyproject.toml | .venv/bin/python
	$(PIP) --editable '.[load]'
	@touch $@ .venv/run.stamp

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo 'Python is missing: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'The venv module is missing: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv .venv
