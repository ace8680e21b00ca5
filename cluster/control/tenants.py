"""Which partition of a `directory` keyspace has a tenant's keys, and which one gets those of a new tenant.

Guarantees: that a tenant has none is said only of the map as it stood after the question; two that ask for a new one at
the same time, of whichever control, are answered alike; a new one goes to the partition with the fewest tenants, of
those to the one with the fewest keys. Leaves to others: moving tenants. Sans-IO. PROTOCOL "Keyspaces and layout".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from cluster.cluster_map import ClusterMap, PutTenant
from cluster.control.events import Effect, LookAtStore, Refuse, Reply
from cluster.control.keyspace_messages import ResolveTenant, TenantResolved
from cluster.control.planning import largest_copy
from cluster.control.proposals import Proposals
from cluster.control.view import NodeStatus
from kvstore.errors import Conflict, KvError, NotFound
from kvstore.map_values import KeyspaceInfo, Tenant

Status = Mapping[str, NodeStatus]
_Name = tuple[str, bytes]


class Tenants:
    """Args: proposals: takes what is proposed."""

    def __init__(self, proposals: Proposals) -> None:
        self._proposals = proposals
        self._asked: dict[int, ResolveTenant] = {}
        self._assigning: dict[_Name, list[tuple[int, ResolveTenant]]] = {}
        self._coming = Counter[int]()

    def ask(self, ask: int, request: ResolveTenant, cluster: ClusterMap) -> list[Effect]:
        """Somebody asks. What is known can be told at once: who goes by what has changed since is turned away by the
        partition."""
        pid = known_pid(request.keyspace, request.tenant, cluster)
        if pid is not None:
            return [Reply(ask, TenantResolved(pid))]
        self._asked[ask] = request
        return [LookAtStore(ask)]

    def looked(self, ask: int, cluster: ClusterMap, status: Status) -> list[Effect]:
        """What the store says is known now."""
        request = self._asked.pop(ask, None)
        return [] if request is None else self._resolve(ask, request, cluster, status)

    def forget(self, ask: int) -> None:
        """Nobody waits for the answer any more."""
        self._asked.pop(ask, None)

    def _resolve(self, ask: int, request: ResolveTenant, cluster: ClusterMap, status: Status) -> list[Effect]:
        try:
            keyspace = directory(request.keyspace, cluster)
        except KvError as error:
            return [Refuse(ask, error)]
        pid = known_pid(request.keyspace, request.tenant, cluster)
        if pid is not None or not request.assign:
            return [Reply(ask, TenantResolved(pid))]
        name = request.keyspace, request.tenant
        if name in self._assigning:
            self._assigning[name].append((ask, request))
            return []
        chosen = self._least_loaded(keyspace, cluster, status)
        self._assigning[name] = [(ask, request)]
        self._coming[chosen] += 1

        def settled(_: Sequence[object], after: ClusterMap) -> list[Effect]:
            waiting = self._assigning.pop(name)
            self._coming[chosen] -= 1
            return [effect for ask, request in waiting for effect in self._resolve(ask, request, after, status)]

        change = PutTenant(Tenant(*name, chosen), cluster.tenants.get(name))
        return [self._proposals.propose([change], settled)]

    def _least_loaded(self, keyspace: KeyspaceInfo, cluster: ClusterMap, status: Status) -> int:
        counts, coming = cluster.tenants.of(keyspace.name).counts, self._coming
        tenants = {pid: counts.get(pid, 0) + coming.get(pid, 0) for pid in keyspace.pids}
        fewest = min(tenants.values())
        least = [pid for pid, count in tenants.items() if count == fewest]
        return min(least, key=lambda pid: _keys(pid, cluster, status))


def directory(name: str, cluster: ClusterMap) -> KeyspaceInfo:
    """The keyspace of that name that has a directory; raises NotFound or Conflict."""
    keyspace = cluster.keyspaces.get(name)
    if keyspace is None or keyspace.is_deleted:
        raise NotFound(f"there is no keyspace {name!r}")
    if keyspace.strategy != "directory":
        raise Conflict(f"keyspace {name!r} has no directory, its strategy is {keyspace.strategy}")
    return keyspace


def known_pid(keyspace: str, name: bytes, cluster: ClusterMap) -> int | None:
    """The partition that has a tenant's keys, as this map says; what is left of a former keyspace does not count."""
    info, tenant = cluster.keyspaces.get(keyspace), cluster.tenants.get((keyspace, name))
    if info is None or tenant is None or tenant.pid not in info.pids:
        return None
    return tenant.pid


def _keys(pid: int, cluster: ClusterMap, status: Status) -> int:
    entry = cluster.entries.get(pid)
    copy = None if entry is None else largest_copy(entry, status)
    return 0 if copy is None else copy.keys
