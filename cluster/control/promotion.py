"""Giving leadership to a copy that may lack acknowledged writes, on an operator's word.

Guarantees: only a partition of which no copy in sync is connected, and of which the operator has named every node that
has one as stopped, is touched; the copy that is promoted is the one whose log has come furthest, of those whose nodes
are connected; the former in-sync copies leave the map for good, and the entry counts what happened; one whose outcome
is open is not insisted on once an in-sync copy is connected again. Leaves to others: the compare-and-set
(`controller`), leading, which the copy asks for in an epoch of its own. Sans-IO. PROTOCOL "Promotion by force".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import msgspec

from cluster.cluster_map import Change, ClusterMap, PutEntry
from cluster.control.messages import ForcePromote, ForcePromoted, Promoted, Unpromoted
from cluster.control.view import NEVER_SEEN, NodeStatus
from kvstore.candidate import PASSED_ON
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import Entry, Rid
from kvstore.messages import CopyReport


@dataclass(frozen=True, slots=True)
class Promotion:
    """What to propose, and which partitions stay as they are."""

    changes: tuple[PutEntry, ...]
    refused: tuple[Unpromoted, ...]


def plan_promotion(
    request: ForcePromote, cluster: ClusterMap, status: Mapping[str, NodeStatus], connected: Collection[str]
) -> Promotion:
    """Find what the request changes.

    Args:
        status: the last reports of nodes.
        connected: the nodes that are connected, admitted or not.

    Raises:
        BadParameter: the request names nothing, or what there is not.
        NotFound: there is no such partition, or none that has its last in-sync copy on the node.
        Conflict: no partition may be promoted; says of the first one why.
    """
    changes: list[PutEntry] = []
    refused: list[Unpromoted] = []
    for entry in _asked(request, cluster, connected):
        try:
            changes.append(PutEntry(_promoted(entry, request.confirmed_stopped, status, connected)))
        except Conflict as error:
            refused.append(Unpromoted(entry.pid, error.detail))
    if not changes:
        raise Conflict(f"partition {refused[0].partition}: {refused[0].detail}")
    return Promotion(tuple(changes), tuple(refused))


def still_allowed(
    changes: Iterable[Change], cluster: ClusterMap, status: Mapping[str, NodeStatus], connected: Collection[str]
) -> tuple[Change, ...]:
    """What to propose in the place of `changes` whose outcome is open, at the same guards: where an in-sync copy has
    come back meanwhile, nothing but the next `ver`, for only that keeps the promotion from landing late."""
    return tuple(_allowed(change, cluster, status, connected) for change in changes)


def _allowed(
    change: Change, cluster: ClusterMap, status: Mapping[str, NodeStatus], connected: Collection[str]
) -> Change:
    if not isinstance(change, PutEntry):
        return change
    stands = cluster.entries[change.entry.pid]
    if not _connected_in_sync(stands, status, connected):
        return change
    return PutEntry(msgspec.structs.replace(stands, ver=change.entry.ver))


def outcome(promotion: Promotion, cluster: ClusterMap) -> ForcePromoted:
    """What became of it, in the map in which it has met its guards."""
    promoted: list[Promoted] = []
    refused = list(promotion.refused)
    for change in promotion.changes:
        asked, stands = change.entry, cluster.entries[change.entry.pid]
        if stands.unclean_count >= asked.unclean_count:
            leader = stands.leader.node if stands.leader is not None else None
            promoted.append(Promoted(stands.pid, leader, stands.epoch, stands.unclean_count))
        else:
            refused.append(Unpromoted(stands.pid, "its entry in the map has changed meanwhile"))
    return ForcePromoted(tuple(promoted), tuple(refused))


def _asked(request: ForcePromote, cluster: ClusterMap, connected: Collection[str]) -> Iterable[Entry]:
    if (request.partition is None) == (not request.all_of):
        raise BadParameter("partition, all_of: one of them, not both")
    for node in (*request.confirmed_stopped, *([request.all_of] if request.all_of else [])):
        if node not in cluster.nodes:
            raise BadParameter(f"confirmed_stopped, all_of: there is no node {node!r}")
    if not request.confirmed_stopped:
        raise BadParameter(
            "confirmed_stopped: name the nodes of the in-sync copies once you know that they are stopped"
        )
    if request.partition is not None:
        if request.partition not in cluster.living:
            raise NotFound(f"there is no partition {request.partition}")
        return [cluster.entries[request.partition]]
    held = [
        entry
        for _, entry in sorted(cluster.entries.items())
        if any(rid.node == request.all_of for rid in entry.in_sync)
        and not any(rid.node != request.all_of and rid.node in connected for rid in entry.in_sync)
    ]
    if not held:
        raise NotFound(f"no partition has its last in-sync copy on node {request.all_of}")
    return held


def _promoted(
    entry: Entry, stopped: Collection[str], status: Mapping[str, NodeStatus], connected: Collection[str]
) -> Entry:
    unnamed = [rid.node for rid in entry.in_sync if rid.node not in stopped]
    if unnamed:
        raise Conflict(f"node {unnamed[0]} has an in-sync copy of it and was not confirmed as stopped")
    standing = _connected_in_sync(entry, status, connected)
    if standing:
        raise Conflict(f"node {standing[0]} has an in-sync copy of it and is connected")
    others = [rid for rid in (*entry.replicas, *entry.adding) if rid not in entry.in_sync]
    reports = {rid: report for rid in others if (report := _whole(entry.pid, rid, status)) is not None}
    if not reports:
        raise Conflict("no other copy of it is there that could lead")
    chosen = max(reports, key=lambda rid: (reports[rid].log_epoch, reports[rid].log_end, -others.index(rid)))
    return msgspec.structs.replace(
        entry,
        ver=entry.ver + 1,
        epoch=entry.epoch + 1,
        leader=chosen,
        leader_boot=PASSED_ON,
        in_sync=(chosen,),
        replicas=(chosen, *(rid for rid in entry.replicas if rid in others and rid != chosen)),
        adding=tuple(rid for rid in entry.adding if rid in others and rid != chosen),
        removing=tuple(rid for rid in entry.removing if rid in others and rid != chosen),
        unclean_count=entry.unclean_count + 1,
    )


def _connected_in_sync(entry: Entry, status: Mapping[str, NodeStatus], connected: Collection[str]) -> list[str]:
    """The connected nodes that have an in-sync copy, as far as they do not report it as lost."""
    return [
        rid.node
        for rid in entry.in_sync
        if rid.node in connected and (entry.pid, rid.store) not in status.get(rid.node, NEVER_SEEN).lost
    ]


def _whole(pid: int, rid: Rid, status: Mapping[str, NodeStatus]) -> CopyReport | None:
    """The last report of a copy whose node is connected and whose data is complete."""
    node = status.get(rid.node, NEVER_SEEN)
    report = node.copies.get(pid)
    is_whole = report is not None and report.complete and (pid, rid.store) not in node.lost
    return report if node.is_up and is_whole else None
