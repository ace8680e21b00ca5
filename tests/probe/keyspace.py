"""Keyspaces that a probe makes beside the default one, and clients of them.

Guarantees: of what a client of a keyspace asks, all that is about keys goes to that keyspace. Leaves to others: which
keys are asked for, and in which keyspace they are.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import aiohttp

from kvstore.client import Client
from kvstore.client.transport import Answer, Request, Sending, Transport

DEFAULT = "default"
VERSION_ROOT = "/v1"
CONNECTIONS_MAX = 64
_OF_KEYS = re.compile(r"/(?:(?:kv|locate)[/?]|(?:kv|batch|txn|import)(?:\?|$))")


@dataclass(frozen=True, slots=True)
class Keyspace:
    """`document` is what it is made of, as the API takes it; the default one is there already."""

    name: str = DEFAULT
    document: Mapping[str, Any] = field(default_factory=dict)

    @property
    def root(self) -> str:
        """What the paths of its keys begin with."""
        return VERSION_ROOT if self.name == DEFAULT else f"{VERSION_ROOT}/keyspaces/{self.name}"

    @property
    def strategy(self) -> str:
        return str(self.document.get("strategy", "consistent"))

    def client(self, url: str, timeout_s: float) -> Client:
        """A client of a gateway, whose calls on keys are on those of this keyspace."""
        return Client(url, timeout_s=timeout_s) if self.name == DEFAULT else _Within(self, url, timeout_s)

    def path(self, path: str) -> str:
        """Where what is at `path` of the default keyspace is in this one."""
        inner = path.removeprefix(VERSION_ROOT)
        return self.root + inner if _OF_KEYS.match(inner) else path


DEFAULT_KEYSPACE = Keyspace()
COPIES: Mapping[str, Any] = {"replicas": 2, "min_in_sync": 1}
# Those that a trial can make, by the strategy, which is their name too. A `range` one begins with one partition.
KEYSPACES = {
    keyspace.name: keyspace
    for keyspace in (
        Keyspace("range", {"strategy": "range", **COPIES}),
        Keyspace("directory", {"strategy": "directory", "partitions": 6, **COPIES}),
        Keyspace("hash", {"strategy": "hash", "partitions": 8, **COPIES}),
    )
}

# Where nodes have the zones `east` and `west`.
GEO = Keyspace(
    "geo",
    {
        "strategy": "geo",
        "partitions": 4,
        **COPIES,
        "regions": {"t0": "east", "t1": "west", "t2": "west"},
        "default_zone": "east",
    },
)
# So small that a range keyspace is split and merged all the time.
RESHAPING = {
    "KVSTORE_SPLIT_BYTES": str(192 * 1024),
    "KVSTORE_SPLIT_WRITES_PER_S": "20",
    "KVSTORE_PARTITIONS_MAX": "24",
}


class NotBuilt(AssertionError):
    """These gateways have no keyspaces."""


def pids_of(document: Mapping[str, Any]) -> list[int]:
    """The partitions that have the keys of a keyspace, as `GET /v1/keyspaces/NAME` tells, in their order."""
    return [one["id"] for one in document["partitions"]]


class _Within(Client):
    def __init__(self, keyspace: Keyspace, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout_s=timeout_s)
        self._transport = _Rerouted(keyspace, url, timeout_s)


class _Rerouted(Transport):
    def __init__(self, keyspace: Keyspace, url: str, timeout_s: float) -> None:
        super().__init__(url, timeout_s=timeout_s, connections_max=CONNECTIONS_MAX, token=None, cache=None)
        self._keyspace = keyspace

    async def send(self, request: Request) -> Answer:
        return await super().send(self._within(request))

    async def send_once(self, request: Request, timeout: aiohttp.ClientTimeout) -> Answer:
        return await super().send_once(self._within(request), timeout)

    def stream(self, request: Request, sending: Sending) -> AsyncGenerator[bytes, None]:
        return super().stream(self._within(request), sending)

    def _within(self, request: Request) -> Request:
        return replace(request, path=self._keyspace.path(request.path))
