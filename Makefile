# Two targets are enough for most: `make up` runs a cluster on this machine, `make test` runs every test.

PORT ?= 8000
DATA ?= data
SEEDS ?= 500
FIRST ?= 1
ROUNDS ?= 20
PYTHON ?= python3

BIN := .venv/bin
PY := $(BIN)/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet install
PYTEST := $(PY) -m pytest -n 2 --dist worksteal
FAST := tests/unit tests/contract tests/architecture tests/simulation
SOURCES := kvstore cluster tests loadtest

.PHONY: help up test check lint sim planted crash probe bench clean

help:
	@echo 'make up      a gateway and three nodes on 127.0.0.1:$(PORT), data in ./$(DATA), until Ctrl-C (PORT=, DATA=)'
	@echo 'make test    every test but the crash and probe rounds (5 minutes)'
	@echo 'make check   the fast part of it: lint, types, unit, contract and architecture tests'
	@echo 'make sim     simulation of $(SEEDS) seeds (SEEDS=, FIRST=), or of one (SEED=)'
	@echo 'make planted break one rule of the protocol at a time: the simulation must find each'
	@echo 'make crash   kill -9 of a whole cluster under load, $(ROUNDS) times (ROUNDS=)'
	@echo 'make probe   tests with real processes that are killed'
	@echo 'make bench   requests per second, measured with wrk'
	@echo 'make clean   removes the environment and caches, not the data'

up: .venv/run.stamp
	@exec $(BIN)/kvstore up --data "$(DATA)" --listen 127.0.0.1:$(PORT)

test: lint
	$(PYTEST) $(FAST) tests/integration
	$(PY) tests/simulation/run.py --seeds 200 --first 1

check: lint
	$(PYTEST) $(FAST)

lint: .venv/dev.stamp
	$(BIN)/ruff check $(SOURCES)
	$(BIN)/ruff format --check $(SOURCES)
	$(BIN)/mypy

sim: .venv/dev.stamp
	$(PY) tests/simulation/run.py $(if $(SEED),--seed $(SEED),--seeds $(SEEDS) --first $(FIRST))

planted: .venv/dev.stamp
	$(PY) tests/simulation/run.py --planted ack_before_follower --until-found
	$(PY) tests/simulation/run.py --planted no_epoch_check --until-found
	$(PY) tests/simulation/run.py --planted fsync_off --until-found

crash: .venv/dev.stamp
	ROUNDS=$(ROUNDS) $(PY) tests/probe/crash_all.py

probe: .venv/dev.stamp
	$(PY) -m pytest tests/probe

bench: .venv/dev.stamp
	$(PY) loadtest/bench.py

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .hypothesis

.venv/run.stamp: pyproject.toml | .venv/bin/python
	$(PIP) --editable .
	@touch $@

.venv/dev.stamp: pyproject.toml | .venv/bin/python
	$(PIP) --editable '.[dev]'
	@touch $@ .venv/run.stamp

.venv/bin/python:
	@command -v $(PYTHON) >/dev/null || { echo 'Python is missing: apt-get install python3 python3-venv' >&2; exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo 'Python 3.11 or newer is needed: apt-get install python3.11 python3.11-venv, then make PYTHON=python3.11' >&2; exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  echo 'The venv module is missing: apt-get install python3-venv' >&2; exit 1; }
	@$(PYTHON) -m venv .venv
