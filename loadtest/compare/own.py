"""This cluster: `kvstore up` with three nodes, two copies of everything, both on disk before an answer."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from own_cluster import running_cluster

from cluster.cli.up import default_partitions
from compare.system import Program, Promise, Running
from compare.wire import address_of, request
from kvstore.client import Get, Put
from kvstore.client.ops import Op, encode_batch

NODES = 3

PROMISE = Promise(
    copies="2 of 3 nodes",
    fsync="both copies, before the answer",
    reads="linearizable (leader under a lease)",
    crash="nothing acknowledged; writes to the partitions it led wait for some seconds",
    atomic="transactions over any keys (POST /v1/txn)",
)


@dataclass(frozen=True)
class Own:
    """`workers` is how many gateway processes `up` is told to start; None leaves that to it."""

    workers: int | None = None
    name: str = "kvstore"
    programs: Sequence[Program] = ()
    promise: Promise = PROMISE

    @property
    def setup(self) -> str:
        workers = "" if self.workers is None else f" --workers {self.workers}"
        held = f"{NODES} nodes, {default_partitions(NODES)} partitions, two copies of each"
        return f"`kvstore up --nodes {NODES}{workers}`: one address for clients, {held}"

    @contextlib.contextmanager
    def run(self, data: Path) -> Iterator[Running]:
        with running_cluster(data, NODES, self.workers) as cluster:
            yield Running(address_of(cluster.url), (cluster.pid,))

    def get(self, key: str) -> bytes:
        return request("GET", f"/v1/kv/{key}")

    def put(self, key: str, value: bytes) -> bytes:
        return request("PUT", f"/v1/kv/{key}", value)

    def value_of(self, body: bytes) -> bytes:
        return body

    def batch_of_gets(self, keys: Sequence[str]) -> bytes:
        return self._batch([Get(key) for key in keys])

    def batch_of_puts(self, keys: Sequence[str], value: bytes) -> bytes:
        return self._batch([Put(key, value) for key in keys])

    def _batch(self, ops: list[Op]) -> bytes:
        return request("POST", "/v1/batch", encode_batch(ops), "application/msgpack")
