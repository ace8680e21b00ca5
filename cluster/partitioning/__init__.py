"""How a key finds its partition: the contract of all partitioners.

Guarantees: a partitioner is a pure, immutable value that gives every key exactly one partition, the same one in every
process. Leaves to others: where a partition is (`cluster_map`). Sans-IO.
"""

from __future__ import annotations

from typing import Protocol


class Partitioner(Protocol):
    """Maps keys to partitions of one keyspace."""

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        ...

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        ...
