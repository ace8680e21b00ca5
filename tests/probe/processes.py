"""Processes of the `kvstore` command under test: started, watched, killed.

Guarantees: a process ends with the test that started it; ports are chosen by the system; lines of standard output and
error gather while it runs. Leaves to others: what is done to them.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

START_S_MAX = 60.0
STOP_S_MAX = 30.0
KVSTORE = (sys.executable, "-m", "cluster.cli.main")


def wait_until(holds: Callable[[], bool], timeout_s: float = 30.0) -> None:
    """Wait for `holds`, and fail when it does not come true in time."""
    deadline = time.monotonic() + timeout_s
    while not holds():
        assert time.monotonic() < deadline, "it did not come true in time"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that ended and was not yet waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def children_of(pid: int) -> list[int]:
    """The process ids of the children that run of one that may have ended."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in text.split() if is_alive(int(child))]


class Process:
    """One process of the command. `address` is what its ready line tells, without the scheme.

    Args:
        before: a command that carries out the rest of its line in its own place, as `ip netns exec NAME` does.
    """

    def __init__(self, *arguments: str, before: Sequence[str] = (), **environment: str) -> None:
        self.out: list[str] = []
        self.err: list[str] = []
        self.address = ""
        self._said = threading.Event()
        self._process = subprocess.Popen(
            [*before, *KVSTORE, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        )
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._readers = [
            threading.Thread(target=self._read, args=(self._process.stdout, self.out), daemon=True),
            threading.Thread(target=self._read, args=(self._process.stderr, self.err), daemon=True),
        ]
        for reader in self._readers:
            reader.start()

    def _read(self, stream: IO[str], lines: list[str]) -> None:
        with stream:
            for line in stream:
                lines.append(line.rstrip("\n"))
                if line.startswith("ready ") and not self.address:
                    self.address = line.split()[1].partition("://")[2]
                    self._said.set()
        self._said.set()

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def is_running(self) -> bool:
        return self._process.poll() is None

    def wait_ready(self) -> Process:
        """Wait for the ready line."""
        assert self._said.wait(START_S_MAX), f"not ready: {self.err}"
        assert self.address, f"ended before it was ready: {self.err}"
        return self

    def wait(self) -> int:
        """Wait for the end and return the exit code."""
        try:
            code = self._process.wait(STOP_S_MAX)
        except subprocess.TimeoutExpired:
            raise AssertionError(f"it did not end: {self.out} {self.err}") from None
        for reader in self._readers:
            reader.join(STOP_S_MAX)
        return code

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal and wait for the end, that of its children too; returns the exit code."""
        children = self.children()
        self._process.send_signal(number)
        code = self.wait()
        wait_until(lambda: not any(map(is_alive, children)))
        return code

    def children(self) -> list[int]:
        """The process ids of its children that run, in the order of their starts."""
        return children_of(self.pid)

    @property
    def complaints(self) -> list[str]:
        """Lines of standard error that are no structured log."""
        return [line for line in self.err if not line.startswith("{")]


class Cluster:
    """A gateway and nodes as separate processes, with their data below `data`.

    Args:
        initial_nodes: with how many nodes partitions are placed.
        environment: settings of the gateway, and of nodes that are given none of their own.
    """

    def __init__(self, data: Path, initial_nodes: int, **environment: str) -> None:
        self.data = data
        self.nodes: dict[str, Process] = {}
        self._initial_nodes = initial_nodes
        self._environment = environment
        self._port = 0
        self.gateway = self.start_gateway()

    @property
    def url(self) -> str:
        return f"http://{self.gateway.address}"

    def start_gateway(self) -> Process:
        """Start the gateway, at the port that it had before."""
        self.gateway = Process(
            *("gateway", "--listen", f"127.0.0.1:{self._port}", "--data", str(self.data / "gateway")),
            *("--initial-nodes", str(self._initial_nodes), "--with-parent", str(os.getpid())),
            **self._environment,
        ).wait_ready()
        self._port = int(self.gateway.address.rpartition(":")[2])
        return self.gateway

    def start_node(self, name: str, *arguments: str, **environment: str) -> Process:
        """Start a node; returns before it is ready."""
        self.nodes[name] = Process(
            *("node", "--id", name, "--listen", "127.0.0.1:0", "--data", str(self.data / name)),
            *("--gateway", self.url, "--with-parent", str(os.getpid()), *arguments),
            **{**self._environment, **environment},
        )
        return self.nodes[name]

    def wait_ready(self) -> Cluster:
        """Wait until every partition has a leader."""
        for node in self.nodes.values():
            node.wait_ready()
        wait_until(lambda: self.ask("GET", "/readyz").status == 200)
        return self

    def ask(self, method: str, path: str, body: bytes | None = None) -> Answer:
        """One HTTP request to the gateway."""
        return ask(f"{self.url}{path}", method, body)

    def put(self, key: str, value: bytes) -> Answer:
        """PUT, and again for as long as it is refused with 503, by which nothing was applied."""
        deadline = time.monotonic() + START_S_MAX
        while (answer := self.ask("PUT", f"/v1/kv/{key}", value)).status == 503:
            assert time.monotonic() < deadline, answer.body
            time.sleep(0.05)
        return answer

    def status(self) -> dict[str, Any]:
        """`GET /v1/cluster`."""
        document: dict[str, Any] = json.loads(self.ask("GET", "/v1/cluster").body)
        return document

    def close(self) -> None:
        """Kill what still runs."""
        for process in (self.gateway, *self.nodes.values()):
            if process.is_running:
                process.end(signal.SIGKILL)


class Answer:
    """A status, lower-case headers, a body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        self.status = status
        self.headers = headers
        self.body = body

    @property
    def code(self) -> str:
        """The code of a problem, empty where the answer is none."""
        kind = self.headers.get("content-type", "")
        return str(json.loads(self.body)["code"]) if kind.startswith("application/problem+json") else ""


def ask(
    url: str,
    method: str,
    body: bytes | None = None,
    headers: Mapping[str, str] | None = None,
    timeout_s: float = 30.0,
) -> Answer:
    """One HTTP request on a connection of its own."""
    request = urllib.request.Request(url, data=body, method=method, headers=dict(headers or {}))
    try:
        with urllib.request.urlopen(request, timeout=timeout_s) as answer:
            return Answer(answer.status, {k.lower(): v for k, v in answer.headers.items()}, answer.read())
    except urllib.error.HTTPError as error:
        with error:
            return Answer(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())
