"""What a member is asked to become: drained, removed, of another zone or weight; and how a removal ends.

Guarantees: nobody is removed where fewer nodes than copies would be left, whoever else is removed at the same time and
by whichever control, nor while the map names a copy of it or a move is about it; who is removed is told first, unless
it is away. Leaves to others: leading it away (`preference`),
moving its copies (`rebalancing`), replacing those of a dead one (`repair`), writing the record (`controller`). Sans-IO.
PROTOCOL "Moves".
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from cluster.cluster_map import ClusterMap, PutNode
from cluster.control.admission import check_member
from cluster.control.events import Effect, Refuse, Reply, RetireNode
from cluster.control.map_store import Outcome
from cluster.control.messages import ChangeNode, NodeChanged, RemoveNode
from cluster.control.proposals import Proposals
from cluster.control.repair import Hosts
from kvstore.errors import Conflict, KvError, NotFound
from kvstore.map_values import NodeInfo, Standing

AWAY_S = 10.0
TELL_AGAIN_S = 2.0
NAMED_MAX = 5


def removal(request: RemoveNode, cluster: ClusterMap, connected: Collection[str]) -> PutNode:
    """The change that begins a removal, guarded by all members: what is checked here holds when it lands.

    Raises:
        NotFound: there is no such member.
        Conflict: copies would fall below what is asked for, or `force` does not fit whether it is connected.
    """
    info = _member(request.id, cluster)
    if request.force and request.id in connected:
        raise Conflict(f"node {request.id} is connected: remove it without force, so that it gives up nothing early")
    if not request.force and request.id not in connected:
        raise Conflict(f"node {request.id} is away: start it again, or say with force that it is dead")
    _check_left(info, cluster)
    if request.force:
        _check_not_alone(request.id, cluster, connected)
    standing = Standing.DEAD if request.force else Standing.LEAVING
    beside = tuple(one for one in cluster.nodes.values() if one.id != info.id and one.standing is not Standing.REMOVED)
    return PutNode(msgspec.structs.replace(info, standing=standing), info, beside)


def _check_left(leaves: NodeInfo, cluster: ClusterMap) -> None:
    """Check that without that node there are as many as copies are asked for: of all keyspaces, and with `geo` in its
    zone. Copies that each node is to have ask for none in particular."""
    left = [node for node in cluster.nodes.values() if node.may_host and node.id != leaves.id]
    others = [one for one in cluster.keyspaces.values() if not one.is_deleted and one.strategy != "geo"]
    copies = max((one.replicas for one in others), default=1)
    if len(left) < copies:
        raise Conflict(f"without node {leaves.id} {len(left)} nodes would be left, for {copies} copies of everything")
    there = sum(node.zone == leaves.zone for node in left)
    for _, keyspace in sorted(cluster.keyspaces.items()):
        if leaves.zone in dict(keyspace.zones) and there < keyspace.replicas:
            raise Conflict(
                f"without node {leaves.id} {there} nodes would be left in zone {leaves.zone}, for {keyspace.replicas} "
                f"copies of keyspace {keyspace.name}"
            )


def _check_not_alone(node: str, cluster: ClusterMap, connected: Collection[str]) -> None:
    """Check that of every partition that it has a copy in sync of another one in sync is on a connected node that is
    not dead: else nothing could take its place, and its removal would never end."""
    alive = frozenset(connected) - dead_nodes(cluster)
    alone = [
        entry
        for _, entry in sorted(cluster.entries.items())
        if node in (held := {rid.node for rid in entry.in_sync}) and held.isdisjoint(alive)
    ]
    if not alone:
        return
    others = sorted({rid.node for entry in alone for rid in entry.in_sync} - dead_nodes(cluster) - {node})
    again = f"start it again, or {' and '.join(others)}," if others else "start it again,"
    raise Conflict(
        f"node {node} has the last in-sync copy of {_named([entry.pid for entry in alone])}: {again} or promote other "
        f"copies by force (kvstore force-promote --all-of {node})"
    )


def _named(pids: Sequence[int]) -> str:
    """Some partitions, the first few by name."""
    told = ", ".join(map(str, pids[:NAMED_MAX]))
    more = f" and {len(pids) - NAMED_MAX} more" if len(pids) > NAMED_MAX else ""
    return f"{'partition' if len(pids) == 1 else 'partitions'} {told}{more}"


def change(request: ChangeNode, cluster: ClusterMap) -> PutNode:
    """The change of a member's record.

    Raises:
        NotFound: there is no such member.
        BadParameter: zone or weight cannot be.
    """
    info = _member(request.id, cluster)
    zone = info.zone if request.zone is None else request.zone
    weight = info.weight if request.weight is None else request.weight
    check_member(info.id, zone, weight)
    standing = info.standing
    if request.draining is not None:
        standing = Standing.DRAINING if request.draining else Standing.MEMBER
    return PutNode(msgspec.structs.replace(info, zone=zone, weight=weight, standing=standing), info)


def _member(node: str, cluster: ClusterMap) -> NodeInfo:
    info = cluster.nodes.get(node)
    if info is None or info.standing is Standing.REMOVED:
        raise NotFound(f"there is no node {node}")
    return info


def dead_nodes(cluster: ClusterMap) -> frozenset[str]:
    """The nodes that an operator said are dead."""
    return frozenset(node for node, info in cluster.nodes.items() if info.standing is Standing.DEAD)


class Standings:
    """Requests about members, and those that leave and hold nothing any more, on their last step.

    Args:
        proposals: takes what is proposed.
    """

    def __init__(self, proposals: Proposals) -> None:
        self._proposals = proposals
        self._told_s: dict[str, float] = {}
        self._away_s: dict[str, float] = {}
        self._proposed: set[str] = set()

    def ask(
        self, ask: int, request: RemoveNode | ChangeNode, cluster: ClusterMap, connected: Collection[str]
    ) -> list[Effect]:
        """Carry out a request of an operator's."""
        try:
            wanted = (
                removal(request, cluster, connected) if isinstance(request, RemoveNode) else change(request, cluster)
            )
        except KvError as error:
            return [Refuse(ask, error)]

        def settled(outcomes: Sequence[Outcome], now: ClusterMap) -> list[Effect]:
            if Outcome.CONFLICT in outcomes:
                return self.ask(ask, request, now, connected)
            info = wanted.node
            return [Reply(ask, NodeChanged(info.id, info.zone, info.weight, info.standing.value))]

        return [self._proposals.propose([wanted], settled, ask=ask)]

    def tick(self, cluster: ClusterMap, hosts: Hosts, now_s: float) -> list[Effect]:
        """Tell those that are there that they are members no more, and give up those that are not."""
        effects: list[Effect] = []
        empty = {info.id: info for info in self._empty(cluster)}
        self._told_s = {node: told_s for node, told_s in self._told_s.items() if node in empty}
        self._away_s = {node: since_s for node, since_s in self._away_s.items() if node in empty}
        for info in empty.values():
            host = hosts.get(info.id)
            if host is None:
                since_s = self._away_s.setdefault(info.id, now_s)
                if info.standing is Standing.DEAD or now_s - since_s > AWAY_S:
                    effects += self.retired(info.id, cluster)
                continue
            self._away_s.pop(info.id, None)
            if now_s - self._told_s.get(info.id, -TELL_AGAIN_S) >= TELL_AGAIN_S:
                self._told_s[info.id] = now_s
                effects.append(RetireNode(info.id, host.connection))
        return effects

    def retired(self, node: str, cluster: ClusterMap) -> list[Effect]:
        """It is a member no more; again: nothing."""
        info = cluster.nodes[node]
        if node in self._proposed or info not in self._empty(cluster):
            return []
        self._proposed.add(node)

        def settled(*_: object) -> list[Effect]:
            self._proposed.discard(node)
            return []

        removed = msgspec.structs.replace(info, standing=Standing.REMOVED)
        return [self._proposals.propose([PutNode(removed, info)], settled)]

    def _empty(self, cluster: ClusterMap) -> list[NodeInfo]:
        """The nodes that leave, and of which neither the map names a copy nor a move goes on."""
        leaving = [one for one in cluster.nodes.values() if one.standing in (Standing.LEAVING, Standing.DEAD)]
        if not leaving:
            return []
        named = {rid.node for entry in cluster.entries.values() for rid in (*entry.replicas, *entry.adding)}
        named |= {node for move in cluster.active_moves for node in (move.source, move.target)}
        return [one for one in leaving if one.id not in named]
