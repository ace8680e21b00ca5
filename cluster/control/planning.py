"""What should move: from the map to a list of moves, and what an operator is shown of it.

Guarantees: a plan follows from its arguments alone; what moves already counts as where it goes; nodes that leave, or
are away for good, are planned to hold nothing. Leaves to others: when to plan and what is started (`rebalancing`), how
each move is made (`moving`), where copies should be (`placement`). Sans-IO. PROTOCOL "Moves".
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec
import xxhash

from cluster.cluster_map import ClusterMap
from cluster.control.admission import check_member
from cluster.control.messages import NodeBalance, PlannedMove, PlanView
from cluster.control.view import NEVER_SEEN, NodeStatus
from cluster.placement import Assignment, Member
from cluster.placement.of_keyspace import District, Placements, districts
from cluster.placement.relocation import Load, Relocation, loads, relocations
from kvstore.errors import BadParameter
from kvstore.map_values import Entry, KeyspaceInfo, Move, MoveState
from kvstore.messages import CopyReport

CHANGES_TOLD_MAX = 5


@dataclass(frozen=True, slots=True)
class Plan:
    """What would move, and the inputs from which that follows."""

    id: str
    members: tuple[Member, ...]
    current: Assignment
    desired: Assignment
    relocations: tuple[Relocation, ...]


def members_of(cluster: ClusterMap, gone: Collection[str]) -> list[Member]:
    """The nodes that copies belong on, by id."""
    nodes = (node for _, node in sorted(cluster.nodes.items()))
    return [Member(one.id, one.zone, one.weight) for one in nodes if one.may_host and one.id not in gone]


def members_after(
    members: Sequence[Member], add: Sequence[Member], remove: Collection[str], known: Collection[str]
) -> list[Member]:
    """The members with some more and some less.

    Raises:
        BadParameter: one to add is there or cannot be, one to remove is not there, or nobody is left.
    """
    ids = {member.id for member in members}
    for member in add:
        check_member(member.id, member.zone, member.weight)
        if member.id in ids:
            raise BadParameter(f"add: node {member.id} is a member already")
    for node in remove:
        if node not in known:
            raise BadParameter(f"remove: there is no node {node}")
    if len({member.id for member in add}) != len(add):
        raise BadParameter("add: a node is named twice")
    after = [member for member in (*members, *add) if member.id not in remove]
    if not after:
        raise BadParameter("remove: no node would be left")
    return sorted(after, key=lambda member: member.id)


def assignment(keyspace: KeyspaceInfo, cluster: ClusterMap, without: Collection[int] = ()) -> Assignment:
    """Where the copies of a keyspace stand once all moves that go on are done, but those of the partitions `without`;
    who should lead comes first."""
    entries = (cluster.entries[pid] for pid in keyspace.pids if pid in cluster.entries)
    return {
        entry.pid: _after(entry, None if entry.pid in without else cluster.moves.get(entry.pid)) for entry in entries
    }


def _after(entry: Entry, move: Move | None) -> tuple[str, ...]:
    names = [rid.node for rid in (*entry.replicas, *entry.adding) if rid not in entry.removing]
    if move is None or not move.is_active:
        return tuple(names)
    goes, comes = (move.source, move.target) if move.state is MoveState.MOVING else (move.target, move.source)
    if comes in names:
        return tuple(name for name in names if name != goes)
    return tuple(comes if name == goes else name for name in names)


def make_plan(
    cluster: ClusterMap, members: Sequence[Member], placements: Placements, without: Collection[int] = ()
) -> Plan:
    """Plan all keyspaces; `without` as for `assignment`. Copies that each node is to have do not move: a node that
    comes is given its own, and one that leaves gives them up."""
    current: dict[int, tuple[str, ...]] = {}
    desired: dict[int, tuple[str, ...]] = {}
    found: list[Relocation] = []
    for keyspace in _placed(cluster):
        now = assignment(keyspace, cluster, without)
        then = placements.place(keyspace, members, now) if members else now
        current |= now
        desired |= then
        found += relocations(now, then) if keyspace.replicas else []
    told = msgspec.json.encode([[member.id for member in members], [[r.pid, r.source, r.target] for r in found]])
    return Plan(xxhash.xxh3_64_hexdigest(told), tuple(members), current, desired, tuple(found))


def what_changed(before: Plan, now: Plan) -> list[str]:
    """In words, what a plan rests on that is not so any more; the first few things."""
    was, now_are = {one.id: one for one in before.members}, {one.id: one for one in now.members}
    told = [f"node {node} is not to hold copies now" for node in sorted(was.keys() - now_are.keys())]
    told += [f"node {node} is to hold copies now" for node in sorted(now_are.keys() - was.keys())]
    told += [
        f"node {node} has zone {now_are[node].zone} and weight {now_are[node].weight:g} now"
        for node in sorted(was.keys() & now_are.keys())
        if was[node] != now_are[node]
    ]
    told += [
        f"partition {pid} has its copies on {', '.join(now.current[pid])} now"
        for pid in sorted(now.current)
        if set(before.current.get(pid, ())) != set(now.current[pid])
    ]
    told += [
        f"partition {pid} should be led by {now.current[pid][0]} now"
        for pid in sorted(now.current)
        if before.current.get(pid, ("",))[:1] != now.current[pid][:1] and pid in before.current and now.current[pid]
    ]
    more = len(told) - CHANGES_TOLD_MAX
    return [*told[:CHANGES_TOLD_MAX], f"and {more} more"] if more > 0 else told


def plan_view(made: Plan, cluster: ClusterMap, status: Mapping[str, NodeStatus]) -> PlanView:
    """What a plan moves, and how even it leaves the nodes."""
    moves = []
    for one in made.relocations:
        copy = largest_copy(cluster.entries[one.pid], status)
        keys, size_bytes = (copy.keys, copy.size_bytes) if copy is not None else (0, 0)
        keyspace = cluster.entries[one.pid].keyspace
        moves.append(PlannedMove(one.pid, keyspace, one.source, one.target, keys, size_bytes))
    return PlanView(
        id=made.id,
        map_version=cluster.map_ver,
        partitions=len({move.partition for move in moves}),
        keys=sum(move.keys for move in moves),
        size_bytes=sum(move.size_bytes for move in moves),
        moves=tuple(moves),
        balance=tuple(_balance(made, cluster)),
    )


def _balance(made: Plan, cluster: ClusterMap) -> Iterator[NodeBalance]:
    before: dict[str, Load] = {}
    after: dict[str, Load] = {}
    for keyspace in _placed(cluster):
        for district in districts(keyspace, made.members):
            _add(before, {pid: made.current[pid] for pid in district.pids}, district)
            _add(after, {pid: made.desired[pid] for pid in district.pids}, district)
    nothing = Load(0, 0, 0.0, 0)
    for node in sorted(before.keys() | after.keys()):
        was, will_be = before.get(node, nothing), after.get(node, nothing)
        yield NodeBalance(
            *(node, was.copies, will_be.copies, was.leads, will_be.leads), round(will_be.share, 2), will_be.most
        )


def _add(sums: dict[str, Load], assigned: Assignment, district: District) -> None:
    for node, load in loads(assigned, district.members, district.copies).items():
        was = sums.get(node, Load(0, 0, 0.0, 0))
        sums[node] = Load(
            was.copies + load.copies, was.leads + load.leads, was.share + load.share, was.most + load.most
        )


def largest_copy(entry: Entry, status: Mapping[str, NodeStatus]) -> CopyReport | None:
    """What is known of the partition's data: the report of its leader, or of a copy in sync."""
    rids = ([entry.leader] if entry.leader is not None else []) + list(entry.in_sync)
    reports = (status.get(rid.node, NEVER_SEEN).copies.get(entry.pid) for rid in rids)
    return next((report for report in reports if report is not None), None)


def _placed(cluster: ClusterMap) -> list[KeyspaceInfo]:
    return [one for one in cluster.whole_keyspaces if all(pid in cluster.entries for pid in one.pids)]
