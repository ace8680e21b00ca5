"""The map store of several gateways: rows in etcd.

Guarantees: the contract of `map_store`. Every transaction writes the head row and lands only if the head is the one
that this process read last, so all changes of all gateways stand in one order and a guard is judged by the very state
that it meets; a transaction that got no answer cannot land after another one did. What is read is what a majority of
etcd has, and only what changed since the last time. Leaves to others: sending (`etcd_client`), guards (`cluster_map`),
rows (`rows`). PROTOCOL "Control".
"""

from __future__ import annotations

import contextlib
import dataclasses
import secrets
from collections.abc import Sequence

import msgspec
import structlog

from cluster.cluster_map import Change, ClusterMap
from cluster.control.map_store import Applied, Outcome, StoreRefused, StoreUnavailable
from cluster.control.map_store.etcd_client import (
    Compare,
    EtcdClient,
    Operation,
    Put,
    Range,
    Row,
    Transaction,
)
from cluster.control.map_store.rows import CLUSTER_ID_BYTES, HEAD_KEY, Head, decode_rows, encode_rows
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.errors import OperatorError
from kvstore.messages import MapUpdate

MAP_PREFIX = b"kvstore/map/"
MAP_END = b"kvstore/map0"
PLANNER_KEY = b"kvstore/planner"
PLANNER_TTL_S = 5
SWAPS_MAX = 20
# etcd takes 128 operations a transaction, nested ones counted at each level.
OPERATIONS_MAX = 40

NOTHING = MapUpdate(0, [], [])

log = structlog.get_logger("control")


class EtcdMapStore:
    """Keeps the map in the etcd that `client` asks, and closes the client."""

    def __init__(self, client: EtcdClient) -> None:
        self._client = client
        self._head = Head.first(b"")
        self._map = ClusterMap.empty(b"")
        self._revision = 0
        self._lease = 0
        self._complaint = ""

    async def load(self) -> ClusterMap:
        """The map as it stands.

        Raises:
            StoreUnavailable: no member of etcd answered.
            OperatorError: it holds another map than before, an older one, or one that this version cannot read.
        """
        answer = await self._client.range(self._news())
        if answer.header.revision < self._revision:
            raise OperatorError("the map store went back in time: etcd was restored from a copy, or replaced")
        self._take(answer.kvs)
        while not self._head.cluster_id:
            await self._swap(Head.first(secrets.token_bytes(CLUSTER_ID_BYTES)), NOTHING)
        return self._map

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """Propose changes; their outcome is unknown where etcd gave no answer. Raises OperatorError as `load` does."""
        before = self._map
        reason = "others kept changing the map"
        try:
            for _ in range(SWAPS_MAX):
                after, landed = self._map.changed(changes)
                written = after.touched(change for change, lands in zip(changes, landed, strict=True) if lands)
                if await self._swap(msgspec.structs.replace(self._head, map_ver=after.map_ver), written):
                    self._complaint = ""
                    outcomes = tuple(Outcome.LANDED if lands else Outcome.CONFLICT for lands in landed)
                    return Applied(outcomes, _both(self._map.since(before), self._map.touched(changes)))
        except StoreUnavailable as error:
            reason = str(error)
        if reason != self._complaint:
            self._complaint = reason
            log.warning("map_change_unanswered", changes=len(changes), reason=reason)
        return Applied((Outcome.UNKNOWN,) * len(changes), MapUpdate(before.map_ver, [], []))

    async def allocate_pids(self, count: int) -> int:
        """Reserve `count` uids; raises as `load` does, and then they may be lost."""
        for _ in range(SWAPS_MAX):
            first = self._head.next_pid
            if await self._swap(msgspec.structs.replace(self._head, next_pid=first + count), NOTHING):
                return first
        raise StoreUnavailable("others kept changing the map")

    async def draw_incarnation(self) -> int:
        """A higher incarnation than any before; raises as `load` does, and then one may be lost."""
        for _ in range(SWAPS_MAX):
            drawn = self._head.next_incarnation
            if await self._swap(msgspec.structs.replace(self._head, next_incarnation=drawn + 1), NOTHING):
                return drawn
        raise StoreUnavailable("others kept changing the map")

    async def draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        """The next window for ids; raises as `load` does, and then one may be lost."""
        for _ in range(SWAPS_MAX):
            ids, window = self._head.ids.drawn(asked)
            if await self._swap(msgspec.structs.replace(self._head, ids=ids), NOTHING):
                return window
        raise StoreUnavailable("others kept changing the map")

    async def may_plan(self) -> bool:
        """Whether this gateway holds the planner's lease, or takes it now; raises as `load` does."""
        if self._lease and await self._client.keep_alive(self._lease):
            return True
        self._lease = 0
        if (await self._client.range(Range(PLANNER_KEY))).kvs:
            return False
        lease = await self._client.grant(PLANNER_TTL_S)
        claim = Operation(request_put=Put(PLANNER_KEY, b"gateway", lease))
        try:
            answer = await self._client.transact(Transaction([claim], [Compare(PLANNER_KEY, 0)]))
        except StoreRefused:
            return False  # The lease ended before it was used.
        if answer.succeeded:
            self._lease = lease
        return answer.succeeded

    async def close(self) -> None:
        """Give the planner's lease up, then close every connection."""
        lease, self._lease = self._lease, 0
        if lease:
            with contextlib.suppress(StoreUnavailable, OperatorError):
                await self._client.revoke(lease)
        await self._client.close()

    def _news(self) -> Range:
        return Range(MAP_PREFIX, MAP_END, self._revision + 1)

    async def _swap(self, head: Head, written: MapUpdate) -> bool:
        """Write what differs if the map is still the one that was read last; else read what changed, and say False."""
        rows = encode_rows(head, written) if head != self._head else {}
        puts = [Operation(request_put=Put(MAP_PREFIX + key, row)) for key, row in rows.items()]
        guard = Compare(MAP_PREFIX + HEAD_KEY, self._revision)
        answer = await self._client.transact(
            Transaction(_nested(puts), [guard], [Operation(request_range=self._news())])
        )
        if not answer.succeeded:
            self._take(answer.responses[0].response_range.kvs)
        elif rows:
            self._adopt(head, msgspec.structs.replace(written, map_ver=head.map_ver), answer.header.revision)
        return answer.succeeded

    def _take(self, rows: Sequence[Row]) -> None:
        """Take what others wrote since the last time, its head with it."""
        if not rows:
            return
        try:
            head, update = decode_rows((row.key.removeprefix(MAP_PREFIX), row.value) for row in rows)
        except ValueError as error:
            raise OperatorError(f"cannot read the cluster map in the map store: {error}") from error
        if head is None or self._head.cluster_id not in (b"", head.cluster_id):
            raise OperatorError("the map store holds another cluster's map than before")
        self._adopt(head, update, max(row.mod_revision for row in rows))

    def _adopt(self, head: Head, update: MapUpdate, revision: int) -> None:
        self._map = dataclasses.replace(self._map, cluster_id=head.cluster_id).updated(update)
        self._head, self._revision = head, revision


def _nested(operations: Sequence[Operation]) -> Sequence[Operation]:
    """The same operations in transactions within transactions, none of which is too long for etcd."""
    while len(operations) > OPERATIONS_MAX:
        cuts = range(0, len(operations), OPERATIONS_MAX)
        operations = [Operation(request_txn=Transaction(operations[start : start + OPERATIONS_MAX])) for start in cuts]
    return operations


def _both(first: MapUpdate, second: MapUpdate) -> MapUpdate:
    """All that either says; what both say stands twice."""
    return MapUpdate(
        second.map_ver,
        [*first.nodes, *second.nodes],
        [*first.entries, *second.entries],
        [*first.keyspaces, *second.keyspaces],
        [*first.moves, *second.moves],
        second.rebalance or first.rebalance,
        [*first.tenants, *second.tenants],
    )
