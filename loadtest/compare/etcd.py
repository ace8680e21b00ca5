"""An etcd of three members, asked through the JSON gateway that each of them has.

Guarantees: its ports stay the same over restarts, for its members keep each other's addresses with their data; wrk goes
to the leader, where neither reads nor writes are passed on: etcd's best case. Leaves to others: when it runs.
"""

from __future__ import annotations

import contextlib
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from compare.system import Program, Promise, Running, ask, free_ports, processes, wait_for
from compare.wire import Address, request

MEMBERS = 3
HOST = "127.0.0.1"
# The default of 2 GiB is soon full of old revisions of 64 KiB, and etcd then refuses writes.
QUOTA_BYTES = 8 << 30
STATUS = request("POST", "/v3/maintenance/status", b"{}")


def commands(data: Path, ports: Sequence[int]) -> list[list[str]]:
    """The members' command lines; `ports` are those of clients, then those of peers."""
    clients, peers = ([f"http://{HOST}:{port}" for port in half] for half in (ports[:MEMBERS], ports[MEMBERS:]))
    cluster = ",".join(f"m{number}={peer}" for number, peer in enumerate(peers))
    return [
        [
            *("etcd", "--name", f"m{number}", "--data-dir", str(data / f"m{number}")),
            *("--listen-client-urls", clients[number], "--advertise-client-urls", clients[number]),
            *("--listen-peer-urls", peers[number], "--initial-advertise-peer-urls", peers[number]),
            *("--initial-cluster", cluster, "--quota-backend-bytes", str(QUOTA_BYTES), "--log-level", "error"),
        ]
        for number in range(MEMBERS)
    ]


def is_leader(status: bytes) -> bool:
    """Whether a member's answer to STATUS says that it leads."""
    answer = json.loads(status)
    return bool(answer.get("leader")) and answer["leader"] == answer["header"]["member_id"]


PROMISE = Promise(
    copies="3 of 3 members, 2 before the answer",
    fsync="a majority (2), before the answer",
    reads="linearizable (the leader asks a majority)",
    crash="nothing acknowledged; all writes wait for an election where it led",
    atomic="transactions over any keys (/v3/kv/txn)",
)


@dataclass(frozen=True)
class Etcd:
    name: str = "etcd"
    programs: Sequence[Program] = (Program("etcd", "etcd-server"),)
    setup: str = (
        "three members; JSON gateway, keys and values in base64; all connections to the leader, its best case; "
        "linearizable reads (the default); no compaction; the quota of its store raised to 8 GiB"
    )
    promise: Promise = PROMISE
    ports: list[int] = field(default_factory=lambda: free_ports(2 * MEMBERS))

    @contextlib.contextmanager
    def run(self, data: Path) -> Iterator[Running]:
        data.mkdir(parents=True, exist_ok=True)
        with processes(commands(data, self.ports), data / "log") as pids:
            wait_for("etcd", lambda: self._leader() is not None and self._all_answer(), data / "log")
            leader = self._leader()
            assert leader is not None, "it led a moment ago"
            yield Running(leader, pids)

    def get(self, key: str) -> bytes:
        return request("POST", "/v3/kv/range", json.dumps({"key": _base64(key.encode())}).encode())

    def put(self, key: str, value: bytes) -> bytes:
        body = {"key": _base64(key.encode()), "value": _base64(value)}
        return request("POST", "/v3/kv/put", json.dumps(body).encode())

    def value_of(self, body: bytes) -> bytes:
        return b64decode(json.loads(body)["kvs"][0]["value"])

    def _addresses(self) -> list[Address]:
        return [(HOST, port) for port in self.ports[:MEMBERS]]

    def _leader(self) -> Address | None:
        for address in self._addresses():
            status = ask(address, STATUS)
            if status is not None and is_leader(status):
                return address
        return None

    def _all_answer(self) -> bool:
        return all(ask(address, self.get("ready")) is not None for address in self._addresses())


def _base64(data: bytes) -> str:
    return b64encode(data).decode()
