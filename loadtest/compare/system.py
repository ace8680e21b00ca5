"""What can be compared: something that starts on a directory, keeps its data there, and speaks HTTP.

Guarantees: whatever is started ends with the block that started it, and with this process. Leaves to others: what each
system's requests look like, and what it promises.
"""

from __future__ import annotations

import contextlib
import http.client
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from compare.wire import Address, BadAnswer, Connection
from kvstore.errors import OperatorError

START_S_MAX = 60.0
STOP_S_MAX = 60.0
POLL_S = 0.1


@dataclass(frozen=True)
class Running:
    """Where wrk goes, and the processes that serve it (those below them too)."""

    address: Address
    pids: tuple[int, ...]

    @property
    def url(self) -> str:
        return "http://{}:{}".format(*self.address)


@dataclass(frozen=True)
class Program:
    """A program that has to be there, and the package of Debian that has it."""

    name: str
    package: str


@dataclass(frozen=True)
class Promise:
    """What a system guarantees by itself, as it is set up here."""

    copies: str
    fsync: str
    reads: str
    crash: str
    atomic: str


class System(Protocol):
    """One of those compared."""

    @property
    def name(self) -> str: ...
    @property
    def setup(self) -> str:
        """How it is set up, in a sentence."""

    @property
    def programs(self) -> Sequence[Program]: ...
    @property
    def promise(self) -> Promise: ...

    def run(self, data: Path) -> AbstractContextManager[Running]:
        """Start it on what `data` holds; raises OperatorError where it does not start."""

    def get(self, key: str) -> bytes: ...
    def put(self, key: str, value: bytes) -> bytes: ...
    def value_of(self, body: bytes) -> bytes:
        """The value in the body of the answer to a `get`."""


def missing(programs: Sequence[Program]) -> str:
    """What is not installed, as one line; empty when all are there."""
    absent = {program.package: program.name for program in programs if shutil.which(program.name) is None}
    return f"{', '.join(absent.values())} missing: apt-get install {' '.join(absent)}" if absent else ""


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody has at this moment."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in sockets]


@contextlib.contextmanager
def processes(commands: Sequence[Sequence[str]], log: Path) -> Iterator[tuple[int, ...]]:
    """Run them all, what they print going to `log`; yields their ids."""
    started: list[subprocess.Popen[bytes]] = []
    with log.open("ab") as output:
        try:
            for command in commands:
                # setpriv becomes the program: so it ends with this process even where that is killed.
                guarded = ["setpriv", "--pdeathsig", "TERM", *command]
                started.append(subprocess.Popen(guarded, stdin=subprocess.DEVNULL, stdout=output, stderr=output))
            yield tuple(process.pid for process in started)
        finally:
            for process in started:
                process.terminate()
            for process in started:
                try:
                    process.wait(STOP_S_MAX)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def wait_for(what: str, is_ready: Callable[[], bool], log: Path) -> None:
    """Ask until it is; raises OperatorError after `START_S_MAX`, with the end of the log."""
    deadline = time.monotonic() + START_S_MAX
    while not is_ready():
        if time.monotonic() > deadline:
            tail = log.read_text(errors="replace").strip()[-300:] if log.exists() else ""
            raise OperatorError(f"{what} did not start within {START_S_MAX:.0f} s: {tail}")
        time.sleep(POLL_S)


def ask(address: Address, sent: bytes) -> bytes | None:
    """The answer's body; None where there is none, or it is not 2xx."""
    try:
        with Connection(address) as connection:
            return connection.exchange(sent)
    except (OSError, http.client.HTTPException, BadAnswer):
        return None
