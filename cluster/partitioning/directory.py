"""Directory partitioning: a table says which partition has the keys of each tenant.

Guarantees: all keys of a tenant are in one partition, whatever it is; who is not in the table has no partition. Leaves
to others: keeping the table and assigning newcomers (`control.tenants`), what a tenant is (`kvstore.keys`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.partitioning import UnknownTenant, told
from cluster.partitioning.shared_tag import key_like_all
from kvstore.keys import tenant_of


class DirectoryPartitioner:
    """Args:
    pids: uids of the partitions.
    tenants: which of them has each tenant's keys; not to be changed afterwards.
    """

    def __init__(self, pids: Sequence[int], tenants: Mapping[bytes, int]) -> None:
        if not pids:
            raise ValueError("a keyspace has at least one partition")
        self._pids = tuple(pids)
        self._tenants = tenants

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        tenant = tenant_of(key)
        pid = self._tenants.get(tenant)
        if pid is None:
            raise UnknownTenant(tenant)
        return pid

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """All, for any key may have any tenant by a hash tag; one where all keys of the range have the same tag, and
        its tenant is known."""
        like_all = key_like_all(start, end)
        pid = None if like_all is None else self._tenants.get(tenant_of(like_all))
        return self._pids if pid is None else (pid,)

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        tenant, pid = tenant_of(key), self.locate(key)
        return [
            f"tenant: {told(tenant)}, the shard key of {told(key)} up to its first '/'",
            f"directory: one of {len(self._tenants)} tenants that have a partition",
            f"partition: {pid} has that tenant's keys",
        ]
