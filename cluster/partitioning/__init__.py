"""How a key finds its partition: the contract of all partitioners.

Guarantees: a partitioner is a pure, immutable value that gives every key exactly one partition, the same one in every
process. Leaves to others: where a partition is (`cluster_map`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol


class UnknownTenant(LookupError):
    """No partition has the keys of this tenant, as far as the map says that was at hand: control may know better."""

    def __init__(self, tenant: bytes) -> None:
        super().__init__(tenant)
        self.tenant = tenant


class Partitioner(Protocol):
    """Maps keys to partitions of one keyspace."""

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to; UnknownTenant where the strategy needs one to be assigned."""
        ...

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """The partitions that may have keys from `start` up to but not including `end` (empty: no end), in order."""
        ...

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each, the last of which names the partition; raises as `locate`."""
        ...


def told(data: bytes) -> str:
    """Bytes of a key, as an explanation names them."""
    return repr(data.decode("utf-8", "backslashreplace"))
