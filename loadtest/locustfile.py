"""YCSB's workloads A to F for Locust, a user class each: `locust -f loadtest/locustfile.py WorkloadA`.

Guarantees: the records are there before the first user starts; each operation is one entry of the statistics, named by
workload and operation; what a workload expects (a 412 in F) has an entry of its own, and every other answer but a
success is a failure. Leaves to others: keys, values and choice of records (`records`, `distributions`), filling
(`load_records`), what a page of a scan must be (`scan_answers`). D and E count their inserts together, but in a
distributed run each process alone, so workers put the same new records.
"""

from __future__ import annotations

import logging
import random
import subprocess
import sys
import time
from argparse import Namespace
from pathlib import Path
from typing import Any, ClassVar

from distributions import DISTRIBUTIONS, Distribution
from gevent import GreenletExit  # type: ignore[import-untyped]
from locust import FastHttpUser, constant, events
from locust.argument_parser import LocustArgumentParser
from locust.contrib.fasthttp import FastResponse
from locust.env import Environment
from locust.runners import WorkerRunner
from records import OFFSETS, Inserts, Values, key_of
from scan_answers import fault_of

from kvstore.errors import OperatorError

logger = logging.getLogger(__name__)

OWN = "own"
# On the hottest record one write in dozens comes first, so a hundred vain attempts in a row are no fault.
ATTEMPTS_MAX = 1_000
SCANNED_MAX = 100


class YcsbUser(FastHttpUser):
    """One client that waits for each answer and then goes on at once."""

    abstract = True
    wait_time = constant(0)
    letter: ClassVar[str]
    distribution: ClassVar[str] = "zipfian"
    choice: ClassVar[Distribution]
    inserts: ClassVar[Inserts]
    values: ClassVar[Values]

    @classmethod
    def prepare(cls, options: Namespace, inserts: Inserts) -> None:
        """Take the options of the test that starts, and the new records that all workloads share."""
        name = cls.distribution if options.distribution == OWN else options.distribution
        cls.choice = DISTRIBUTIONS[name](random.random)
        cls.inserts = inserts
        cls.values = Values(random.randbytes(options.value_bytes + OFFSETS), options.value_bytes)

    def read(self) -> None:
        self.client.get(self._any_path(), name=f"{self.letter} read")

    def update(self) -> None:
        self.client.put(self._any_path(), data=self._value(), name=f"{self.letter} update")

    def insert(self) -> None:
        number = self.inserts.take()
        answer = self.client.put(_path(number), data=self._value(), name=f"{self.letter} insert")
        if _is_success(answer):
            self.inserts.acknowledge(number)
        else:
            self.inserts.give_back(number)

    def scan(self) -> None:
        """Ask for a number of records in the order of their keys, from one that is there."""
        start = key_of(self.choice.pick(self.inserts.count))
        limit = random.randint(1, SCANNED_MAX)
        path = f"/v1/kv?start={start}&limit={limit}"
        with self.client.get(path, name=f"{self.letter} scan", catch_response=True) as page:
            if _is_success(page):
                is_page = page.status_code == 200
                fault = fault_of(page.content or b"", start, limit) if is_page else f"answered {page.status_code}"
                if fault is not None:
                    page.failure(fault)

    def read_modify_write(self) -> None:
        """Read a record and replace the version that was read; again from the start while others are first."""
        path = self._any_path()
        name = f"{self.letter} read-modify-write"
        began, started_s = time.perf_counter(), time.time()
        refusal = self._replace(path, name)
        self.environment.events.request.fire(
            request_type="RMW",
            name=name,
            start_time=started_s,
            response_time=(time.perf_counter() - began) * 1000,
            response_length=0,
            exception=refusal,
            context={},
        )

    def _replace(self, path: str, name: str) -> Exception | None:
        for _ in range(ATTEMPTS_MAX):
            read = self.client.get(path, name=f"{name}: read")
            if not _is_success(read):
                return ValueError(f"the read was answered {read.status_code}")
            headers = {"If-Match": read.headers["ETag"] if read.headers else ""}
            with self.client.put(
                path, data=self._value(), headers=headers, name=f"{name}: write", catch_response=True
            ) as written:
                if written.status_code == 412:
                    written.request_meta["name"] = f"{name}: write refused, 412"
                    written.success()
            if _is_success(written):
                return None
            if written.status_code != 412:
                return ValueError(f"the write was answered {written.status_code}")
        return ValueError(f"another write was first {ATTEMPTS_MAX} times")

    def _any_path(self) -> str:
        return _path(self.choice.pick(self.inserts.count))

    def _value(self) -> Any:
        # Bytes, which Locust sends as they are and whose type its annotations leave out.
        return self.values.pick(random.random())


class WorkloadA(YcsbUser):
    """Half reads, half updates."""

    letter = "A"
    tasks = [YcsbUser.read, YcsbUser.update]


class WorkloadB(YcsbUser):
    """Mostly reads, 5 % updates."""

    letter = "B"
    tasks = [*[YcsbUser.read] * 19, YcsbUser.update]


class WorkloadC(YcsbUser):
    """Reads only."""

    letter = "C"
    tasks = [YcsbUser.read]


class WorkloadD(YcsbUser):
    """Reads of the latest records, 5 % inserts."""

    letter = "D"
    distribution = "latest"
    tasks = [*[YcsbUser.read] * 19, YcsbUser.insert]


class WorkloadE(YcsbUser):
    """Scans of 1 to 100 records, 5 % inserts."""

    letter = "E"
    tasks = [*[YcsbUser.scan] * 19, YcsbUser.insert]


class WorkloadF(YcsbUser):
    """Half reads, half read-modify-writes under If-Match."""

    letter = "F"
    tasks = [YcsbUser.read, YcsbUser.read_modify_write]


WORKLOADS: tuple[type[YcsbUser], ...] = (WorkloadA, WorkloadB, WorkloadC, WorkloadD, WorkloadE, WorkloadF)


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def add_options(parser: LocustArgumentParser, **_: Any) -> None:
    """Add ours to Locust's options, for the command line, the environment and the web UI."""
    parser.add_argument(
        "--records", env_var="YCSB_RECORDS", type=int, default=100_000, help="How many records there are"
    )
    parser.add_argument(
        "--value-bytes", env_var="YCSB_VALUE_BYTES", type=int, default=1_000, help="Bytes of each value"
    )
    parser.add_argument(
        "--distribution",
        env_var="YCSB_DISTRIBUTION",
        choices=[OWN, *DISTRIBUTIONS],
        default=OWN,
        help="Which records are asked for; own: as the workload has it",
    )


@events.init.add_listener  # type: ignore[untyped-decorator]
def fill_before_run(environment: Environment, **_: Any) -> None:
    """Fill the cluster before the run time of a headless run begins; a mistake ends the process with one line."""
    options = environment.parsed_options
    if options is not None and options.headless and not isinstance(environment.runner, WorkerRunner):
        try:
            _fill(environment, options)
        except OperatorError as error:
            sys.exit(f"locustfile: {error}")


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def prepare(environment: Environment, **_: Any) -> None:
    """Hand the options to the users, which the web UI may have changed; there a mistake is a line of the log."""
    options = environment.parsed_options
    assert options is not None
    if not options.headless and not isinstance(environment.runner, WorkerRunner):
        try:
            _fill(environment, options)
        except OperatorError as error:
            logger.error(error)
            raise GreenletExit from error
        environment.stats.clear_all()
    inserts = Inserts(options.records)
    for workload in WORKLOADS:
        workload.prepare(options, inserts)


def _fill(environment: Environment, options: Namespace) -> None:
    environment.host = host = (environment.host or "").rstrip("/")
    # In a process of its own: Locust replaces the sockets and threads that the client builds on.
    if not host:
        raise OperatorError("which gateway? --host http://127.0.0.1:8000, or LOCUST_HOST")
    command = [sys.executable, str(Path(__file__).with_name("load_records.py")), "--gateway", host]
    sizes = ["--records", str(options.records), "--value-bytes", str(options.value_bytes)]
    result = subprocess.run([*command, *sizes], capture_output=True, text=True, check=False)
    if result.returncode:
        raise OperatorError(result.stderr.strip().rpartition("\n")[2])
    logger.info(result.stdout.strip())


def _is_success(answer: FastResponse) -> bool:
    # Locust's own `ok` is true of status 0, by which it tells that no answer came.
    return 200 <= answer.status_code < 300


def _path(number: int) -> str:
    return f"/v1/kv/{key_of(number)}"
