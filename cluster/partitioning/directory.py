"""Directory partitioning: a table says which partition has the keys of each tenant.

Guarantees: all keys of a tenant are in one partition, whatever it is; who is not in the table, or there only with a
partition that is not of the keyspace, has none. Leaves to others: keeping the table (`directories`), assigning
newcomers (`control.tenants`), what a tenant is (`kvstore.keys`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.directories import Directory
from cluster.partitioning import UnknownTenant, told
from cluster.partitioning.shared_tag import key_like_all
from kvstore.keys import tenant_of


class DirectoryPartitioner:
    """Args:
    pids: uids of the partitions.
    directory: the tenants of its keyspace and of former ones of its name.
    """

    def __init__(self, pids: Sequence[int], directory: Directory) -> None:
        if not pids:
            raise ValueError("a keyspace has at least one partition")
        self._pids = tuple(pids)
        self._counted = frozenset(pids)
        self._directory = directory
        self._homes = directory.homes

    def locate(self, key: bytes) -> int:
        """The uid of the partition that `key` belongs to."""
        tenant = tenant_of(key)
        try:
            pid = self._homes[tenant]
        except KeyError:
            raise UnknownTenant(tenant) from None
        if pid not in self._counted:
            raise UnknownTenant(tenant)
        return pid

    def pids_within(self, start: bytes, end: bytes) -> Sequence[int]:
        """All, for any key may have any tenant by a hash tag; one where all keys of the range have the same tag, and
        its tenant is known."""
        like_all = key_like_all(start, end)
        pid = None if like_all is None else self._homes.get(tenant_of(like_all))
        return self._pids if pid is None or pid not in self._counted else (pid,)

    def explain(self, key: bytes) -> list[str]:
        """The steps of the choice, one sentence each."""
        tenant, pid = tenant_of(key), self.locate(key)
        return [
            f"tenant: {told(tenant)}, the shard key of {told(key)} up to its first '/'",
            f"directory: one of {self._directory.count_within(self._pids)} tenants that have a partition",
            f"partition: {pid} has that tenant's keys",
        ]
