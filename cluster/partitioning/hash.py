"""Hash partitioning: equal arcs of a 64-bit hash space.

Guarantees: the arcs cover the space and differ in size by at most one hash; a key's partition depends on its shard key
and on the number of partitions only. Leaves to others: the hash itself (`kvstore.keys`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.partitioning import told
from cluster.partitioning.shared_tag import key_like_all
from kvstore.keys import key_hash, shard_key


class HashPartitioner:
    """Partition i of Q owns the hashes from i/Q to (i+1)/Q of the space.

    Args:
        pids: uids of the partitions in the order of their arcs, at least one.
    """

    def __init__(self, pids: Sequence[int]) -> None:
        if not pids:
            raise ValueError("a keyspace has at least one partition")
        self._pids = tuple(pids)
        self._count = len(self._pids)

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        return self._pids[(key_hash(key) * self._count) >> 64]

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """All, for a hash has no order; one where all keys of the range have the same hash tag."""
        like_all = key_like_all(start, end)
        return self._pids if like_all is None else (self.locate(like_all),)

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        shard = shard_key(key)
        digest = key_hash(key)
        index = (digest * self._count) >> 64
        whole = "the whole key" if shard == key else "the part of the key inside its first {...}"
        return [
            f"shard key: {whole}, {told(shard)}",
            f"hash: xxh3_64 of the shard key = {digest:016x}",
            f"arc: {index} of {self._count} equal arcs of the hash space (hash x {self._count} >> 64)",
            f"partition: {self._pids[index]} owns that arc",
        ]
