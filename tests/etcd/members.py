"""A real etcd for tests: as many members as asked for, each of which may be killed, stopped and started again.

Guarantees: an etcd of its own for each object, below a directory of the test; nothing runs on after `close`, nor after
the test process. Leaves to others: skipping where there is no etcd (`needs_etcd`).
"""

from __future__ import annotations

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

ETCD = shutil.which("etcd")
START_S_MAX = 30.0
TRIES_MAX = 3
PR_SET_PDEATHSIG = 1

needs_etcd = pytest.mark.skipif(ETCD is None, reason="etcd is not installed: apt-get install etcd-server")


class PortTaken(Exception):
    """Somebody else took a port between its choice and its use."""


class Etcd:
    """Starts `count` members and returns when all of them answer.

    Args:
        data: a directory that no other etcd uses.
        host: the address at which its members listen.
    """

    def __init__(self, data: Path, count: int = 1, host: str = "127.0.0.1") -> None:
        self._host = host
        self._processes: dict[int, subprocess.Popen[bytes]] = {}
        for attempt in range(TRIES_MAX):
            ports = _free_ports(host, 2 * count)
            self._clients, self._peers = ports[:count], ports[count:]
            self._run = data / str(attempt)
            try:
                for member in range(count):
                    self.start(member)
                self.wait_healthy()
                return
            except PortTaken:
                self.close()
        raise AssertionError("no free ports for etcd")

    @property
    def endpoints(self) -> list[str]:
        """`HOST:PORT` of every member."""
        return [f"{self._host}:{port}" for port in self._clients]

    @property
    def url(self) -> str:
        """What `--store` takes."""
        return f"etcd://{','.join(self.endpoints)}"

    def start(self, member: int) -> None:
        """Start a member, on the data that it has; returns at once."""
        client, peer = (f"http://{self._host}:{ports[member]}" for ports in (self._clients, self._peers))
        cluster = ",".join(f"m{number}=http://{self._host}:{port}" for number, port in enumerate(self._peers))
        self._run.mkdir(parents=True, exist_ok=True)
        with (self._run / f"m{member}.log").open("ab") as output:
            self._processes[member] = subprocess.Popen(
                [
                    *(str(ETCD), "--name", f"m{member}", "--data-dir", str(self._run / f"m{member}")),
                    *("--listen-client-urls", client, "--advertise-client-urls", client),
                    *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
                    *("--initial-cluster", cluster, "--log-level", "warn"),
                ],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                preexec_fn=_end_with_parent,
            )

    def kill(self, member: int) -> None:
        """kill -9."""
        process = self._processes.pop(member)
        process.kill()
        process.wait()

    def pause(self) -> None:
        """Have every member stand still, and wait until it does: a signal is sent before its threads have stopped."""
        self._send(signal.SIGSTOP)
        for process in self._processes.values():
            os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)

    def resume(self) -> None:
        """Let every member go on."""
        self._send(signal.SIGCONT)

    def wait_healthy(self) -> None:
        """Wait until every member that runs says that it can serve."""
        deadline = time.monotonic() + START_S_MAX
        for member, process in self._processes.items():
            while not self._is_healthy(member):
                if process.poll() is not None:
                    raise PortTaken((self._run / f"m{member}.log").read_text())
                assert time.monotonic() < deadline, (self._run / f"m{member}.log").read_text()
                time.sleep(0.05)

    def close(self) -> None:
        """Kill what runs."""
        for member in list(self._processes):
            self.kill(member)

    def _send(self, number: int) -> None:
        for process in self._processes.values():
            process.send_signal(number)

    def _is_healthy(self, member: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self.endpoints[member]}/health", timeout=2) as answer:
                return b'"true"' in answer.read()
        except (urllib.error.URLError, OSError):
            return False


def _end_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _free_ports(host: str, count: int) -> list[int]:
    """Ports that were free just now: etcd has to be told its members' ports before they start."""
    held = [socket.create_server((host, 0)) for _ in range(count)]
    ports = [int(one.getsockname()[1]) for one in held]
    for one in held:
        one.close()
    return ports
