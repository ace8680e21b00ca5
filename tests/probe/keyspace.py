"""Keyspaces that a probe makes beside the default one, and clients of them.

Guarantees: of what a client of a keyspace asks, all that is about keys goes to that keyspace. Leaves to others: which
keys are asked for, and in which keyspace they are.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, cast

from kvstore.client import Client

DEFAULT = "default"
VERSION_ROOT = "/v1"


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

    @asynccontextmanager
    async def client(self, url: str, timeout_s: float) -> AsyncIterator[Client]:
        """A client of a gateway, whose calls on keys are on those of this keyspace; it may have no others."""
        async with Client(url, timeout_s=timeout_s) as client:
            yield client if self.name == DEFAULT else cast(Client, client.keyspace(self.name))


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
    "KVSTORE_MERGE_AFTER_S": "10",
    "KVSTORE_PARTITIONS_MAX": "24",
}


def pids_of(document: Mapping[str, Any]) -> list[int]:
    """The partitions that have the keys of a keyspace, as `GET /v1/keyspaces/NAME` tells, in their order."""
    return [one["id"] for one in document["placement"]]
