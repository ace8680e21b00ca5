"""Redis behind webdis: plain HTTP in front of one process that keeps everything in memory and a log on disk.

Guarantees: nothing is set differently from the defaults but where the module says so. Leaves to others: when it runs.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare.system import Program, Promise, Running, ask, free_ports, processes, wait_for
from compare.wire import request

HTTP_THREADS = 2
HOST = "127.0.0.1"


def redis_config(data: Path, socket: Path, fsync: str) -> str:
    """Appends to a log and saves no snapshots; listens on a socket of Unix alone, which is the shorter way."""
    settings = {
        "port": "0",
        "unixsocket": str(socket),
        "dir": str(data),
        "save": '""',
        "appendonly": "yes",
        "appendfsync": fsync,
        "daemonize": "no",
    }
    return "".join(f"{name} {value}\n" for name, value in settings.items())


def webdis_config(port: int, socket: Path, log: Path) -> str:
    settings = {
        "redis_host": str(socket),
        "redis_port": 6379,
        "http_host": HOST,
        "http_port": port,
        "threads": HTTP_THREADS,
        "daemonize": False,
        "verbosity": 0,
        "logfile": str(log),
        "acl": [{"disabled": ["DEBUG"]}],
    }
    return json.dumps(settings)


PROMISES = {
    "everysec": Promise(
        copies="1",
        fsync="once a second, after the answer",
        reads="linearizable (one process, no copy)",
        crash="up to a second (or more where the disk lags) of acknowledged writes, all service until it is back, "
        "everything if its disk is lost",
        atomic="MULTI and scripts in Redis; webdis passes on single commands",
    ),
    "always": Promise(
        copies="1",
        fsync="before the answer",
        reads="linearizable (one process, no copy)",
        crash="nothing while its disk lives, all service until it is back, everything if its disk is lost",
        atomic="MULTI and scripts in Redis; webdis passes on single commands",
    ),
}


@dataclass(frozen=True)
class Webdis:
    """`fsync` is Redis's `appendfsync`."""

    fsync: str
    programs: Sequence[Program] = (Program("redis-server", "redis-server"), Program("webdis", "webdis"))
    port: int = field(default_factory=lambda: free_ports(1)[0])

    @property
    def name(self) -> str:
        return f"redis-{self.fsync}"

    @property
    def setup(self) -> str:
        return (
            f"one Redis with appendonly and `appendfsync {self.fsync}`, no snapshots; one webdis with {HTTP_THREADS} "
            "threads before it, joined by a socket of Unix; GET /GET/KEY.txt, which answers the plain value"
        )

    @property
    def promise(self) -> Promise:
        return PROMISES[self.fsync]

    @contextlib.contextmanager
    def run(self, data: Path) -> Iterator[Running]:
        data.mkdir(parents=True, exist_ok=True)
        socket, log = data / "socket", data / "log"
        (data / "redis.conf").write_text(redis_config(data, socket, self.fsync))
        (data / "webdis.json").write_text(webdis_config(self.port, socket, data / "webdis.log"))
        socket.unlink(missing_ok=True)
        with processes([["redis-server", str(data / "redis.conf")]], log) as redis:
            wait_for("redis", socket.exists, log)
            with processes([["webdis", str(data / "webdis.json")]], log) as webdis:
                address = (HOST, self.port)
                wait_for("webdis", lambda: _says_pong(ask(address, request("GET", "/PING.txt"))), log)
                yield Running(address, (*redis, *webdis))

    def get(self, key: str) -> bytes:
        return request("GET", f"/GET/{key}.txt")

    def put(self, key: str, value: bytes) -> bytes:
        return request("PUT", f"/SET/{key}", value)

    def value_of(self, body: bytes) -> bytes:
        return body


def _says_pong(body: bytes | None) -> bool:
    """Not while Redis is reading its log, nor while webdis has no connection to it."""
    return body is not None and b"PONG" in body
