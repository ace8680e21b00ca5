"""The steps of moves: what is to be done next for each copy that goes from one node to another.

Guarantees: where a move stands follows from the map and the nodes' reports alone, so any control goes on where another
one ended; every change is guarded by the entry's `ver` and by the move itself; a copy that a move brings gets in sync
only after it was compared with its leader and found equal; the copy that goes is given up only when as many others as
are asked for are in sync; until then a move may be undone; no node sends, or takes, more copies at a time than allowed.
Leaves to others: which moves there are (`rebalancing`), filling a copy, taking it in sync, passing leadership on and
letting a copy go (its leader), taking one that was let go out of the entry (`repair`). Sans-IO. PROTOCOL "Moves".

    planned ─made, added─▶ backfill ─▶ catch_up ─▶ verify ─equal─▶ join ─▶ switch ─▶ leave ─▶ clean_up ─▶ done
       └───────────────────────────────┴─────────────┴───────────────┴─────┴──undone or different──▶ abort ─▶ aborted
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

import msgspec

from cluster.cluster_map import ClusterMap, PutEntry, PutMove
from cluster.control.events import AskCopies, Compare, Compared, Complain, Effect, Note
from cluster.control.repair import Hosts
from cluster.control.view import NEVER_SEEN, NodeStatus
from kvstore.map_values import Entry, Move, MoveState, Rid

NEAR_RECORDS = 1000
COMPARE_AGAIN_S = 1.0
NOT_EQUAL = "the new copy is not equal to its leader's"
NOT_THERE = "its target is not there any more"
NEEDED = "another copy was lost while moves are paused"


class Step(StrEnum):
    """Where a move stands; in brackets the steps of the design that it has taken."""

    PLANNED = "planned"
    BACKFILL = "backfill"
    CATCH_UP = "catch_up"
    VERIFY = "verify"
    JOIN = "join"
    SWITCH = "switch"
    LEAVE = "leave"
    CLEAN_UP = "clean_up"
    ABORT = "abort"
    DONE = "done"


UNVERIFIED = (Step.BACKFILL, Step.CATCH_UP, Step.VERIFY)
FILLING = (*UNVERIFIED, Step.JOIN)


@dataclass(frozen=True, slots=True)
class Scene:
    """What moves are seen in: the map, the connected members, the last reports, and who is away for good."""

    cluster: ClusterMap
    hosts: Hosts
    status: Mapping[str, NodeStatus]
    gone: Collection[str] = ()


@dataclass
class Wishes:
    """What is to be done; what became of `changes` is told by `Mover.settled`."""

    effects: list[Effect] = field(default_factory=list)
    changes: list[PutEntry | PutMove] = field(default_factory=list)


def step_of(move: Move, scene: Scene) -> Step:
    """Where a move that is not over stands."""
    entry = scene.cluster.entries[move.pid]
    if move.state is MoveState.ABORTING:
        return Step.ABORT
    source, target = entry.holds(move.source), entry.holds(move.target)
    if target is None:
        return Step.DONE if source is None else Step.PLANNED
    if target not in entry.in_sync:
        return _step_to_sync(entry, target, scene.status)
    if source is None:
        return Step.CLEAN_UP if _is_to_delete(move, scene) else Step.DONE
    return Step.SWITCH if source not in entry.removing or entry.leader == source else Step.LEAVE


def _is_to_delete(move: Move, scene: Scene) -> bool:
    """Whether the source still has a copy that it deletes when it hears that nobody needs it. One that no entry ever
    named, as far as its node knows, is not deleted for that: it was damaged when the node started."""
    holder = scene.status.get(move.source, NEVER_SEEN)
    copy = holder.copies.get(move.pid)
    return holder.is_up and copy is not None and copy.ver > 0


def _step_to_sync(entry: Entry, target: Rid, status: Mapping[str, NodeStatus]) -> Step:
    if entry.admits(target):
        return Step.JOIN
    copy = status.get(target.node, NEVER_SEEN).copies.get(entry.pid)
    leader = None if entry.leader is None else status.get(entry.leader.node, NEVER_SEEN).copies.get(entry.pid)
    if copy is None or leader is None or not copy.complete or not copy.log_end or copy.epoch != entry.epoch:
        return Step.BACKFILL
    return Step.CATCH_UP if leader.log_end - copy.log_end >= NEAR_RECORDS else Step.VERIFY


def is_past_switch(move: Move, entry: Entry) -> bool:
    """Whether a move can only go forward: the copy that goes is being given up, or the new one leads."""
    source = entry.holds(move.source)
    leads = entry.leader is not None and entry.leader.node == move.target
    return source is None or source in entry.removing or leads


@dataclass(frozen=True, slots=True)
class _Asked:
    """A question that is open; one to a process that is gone is forgotten."""

    move: int
    node: str
    connection: int
    epoch: int = 0
    again_s: float = 0.0


@dataclass(frozen=True, slots=True)
class _Made:
    """A copy that was made for a move. It is of no use to another one, even of the same partition."""

    move: int
    rid: Rid
    connection: int


class Mover:
    """Args: at_once: how many copies each node may send, and how many it may take, at a time."""

    def __init__(self, at_once: int) -> None:
        self._at_once = at_once
        self._asked: dict[int, _Asked] = {}
        self._made: dict[int, _Made] = {}
        self._comparing: dict[int, _Asked] = {}
        self._equal: dict[int, tuple[int, int]] = {}
        self._proposed: set[int] = set()
        self._seen: dict[int, Step] = {}

    # ---- what happened ------------------------------------------------------------------------------------------

    def made(self, node: str, connection: int, rids: Iterable[tuple[int, Rid]]) -> None:
        """A node made copies; those that were not asked for here do not count."""
        for pid, rid in rids:
            asked = self._asked.get(pid)
            if asked is not None and (asked.node, asked.connection) == (node, connection):
                del self._asked[pid]
                if rid.node == node:
                    self._made[pid] = _Made(asked.move, rid, connection)

    def failed(self, node: str, connection: int, pids: Iterable[int]) -> None:
        """A node did not make these copies: they are asked for again."""
        for pid in pids:
            asked = self._asked.get(pid)
            if asked is not None and (asked.node, asked.connection) == (node, connection):
                del self._asked[pid]

    def compared(self, event: Compared, cluster: ClusterMap, now_s: float) -> Wishes:
        """A leader compared a copy: it is taken in sync, thrown away, or compared again."""
        wishes = Wishes()
        asked, move = self._comparing.get(event.pid), cluster.moves.get(event.pid)
        if asked is None or (asked.move, asked.epoch) != (event.move, event.epoch):
            return wishes
        if event.failed:
            self._comparing[event.pid] = _asked_again(asked, now_s + COMPARE_AGAIN_S)
            return wishes
        # Its leader takes it in without another word; where it has begun anew by then, it waits to be compared again.
        self._comparing[event.pid] = _asked_again(asked, now_s + COMPARE_AGAIN_S)
        if move is None or move.id != event.move or move.state is not MoveState.MOVING:
            return wishes
        if not event.differences:
            self._equal[event.pid] = event.move, event.epoch
            return wishes
        fields: dict[str, str | int] = {"move": move.id, "partition": move.pid, "to": move.target}
        wishes.effects.append(Complain("copies_differ", fields | {"differences": "; ".join(event.differences)}))
        self._end(move, cluster.entries[move.pid], MoveState.ABORTING, NOT_EQUAL, wishes)
        return wishes

    def settled(self, pids: Iterable[int]) -> None:
        """What was proposed for these partitions met the store, whichever way."""
        self._proposed.difference_update(pids)

    def has_begun(self, pid: int) -> bool:
        """Whether a copy was asked for, for the move of this partition."""
        return pid in self._asked or pid in self._made or pid in self._proposed

    # ---- what is next -------------------------------------------------------------------------------------------

    def tick(self, scene: Scene, now_s: float) -> Wishes:
        """Look at all moves that are not over; several times a second."""
        wishes = Wishes()
        moves = scene.cluster.active_moves
        self._forget(moves, scene)
        steps = {move.pid: step_of(move, scene) for move in moves}
        wishes.effects += self._told(moves, steps)
        filling = [move for move in moves if steps[move.pid] in FILLING or self.has_begun(move.pid)]
        sending, taking = Counter(move.source for move in filling), Counter(move.target for move in filling)
        for move in moves:
            if move.pid in self._proposed:
                continue
            step = steps[move.pid]
            if step is Step.PLANNED and not self.has_begun(move.pid):
                is_free = sending[move.source] < self._at_once and taking[move.target] < self._at_once
                if not is_free or not self._begin(move, scene, wishes):
                    continue
                sending[move.source] += 1
                taking[move.target] += 1
            else:
                self._take_step(move, step, scene, now_s, wishes)
        return wishes

    def _take_step(self, move: Move, step: Step, scene: Scene, now_s: float, wishes: Wishes) -> None:
        entry = scene.cluster.entries[move.pid]
        may_end = step in (Step.PLANNED, *FILLING) and not (step is Step.JOIN and is_past_switch(move, entry))
        if may_end and _is_away_for_good(move.target, scene):
            self._end(move, entry, MoveState.ABORTING, NOT_THERE, wishes)
        elif step in UNVERIFIED and scene.cluster.rebalance.is_paused and _lacks_a_copy(move, entry, scene):
            self._end(move, entry, MoveState.ABORTING, NEEDED, wishes)
        elif step is Step.PLANNED:
            self._add(move, entry, scene, wishes)
        elif step is Step.VERIFY or (step is Step.JOIN and entry.moving in entry.adding):
            self._verify(move, entry, scene, now_s, wishes)
        elif step is Step.SWITCH:
            self._switch(move, entry, scene, wishes)
        elif step is Step.ABORT:
            self._abort(move, entry, scene, wishes)
        elif step is Step.DONE:
            self._end(move, entry, MoveState.DONE, "", wishes)

    def _begin(self, move: Move, scene: Scene, wishes: Wishes) -> bool:
        entry, host = scene.cluster.entries[move.pid], scene.hosts.get(move.target)
        if _is_away_for_good(move.target, scene):
            self._end(move, entry, MoveState.ABORTING, NOT_THERE, wishes)
            return False
        is_calm = entry.leader is not None and entry.leader.node in scene.hosts and not entry.adding
        if scene.cluster.rebalance.is_paused or host is None or not is_calm or entry.removing:
            return False
        self._asked[move.pid] = _Asked(move.id, move.target, host.connection)
        wishes.effects.append(AskCopies(move.target, host.connection, (move.pid,)))
        return True

    def _add(self, move: Move, entry: Entry, scene: Scene, wishes: Wishes) -> None:
        """The copy that was made is to be filled."""
        if move.pid not in self._made or scene.cluster.rebalance.is_paused:
            return
        made = self._made.pop(move.pid)
        if not entry.adding and not entry.removing:
            self._change(move, entry, wishes, adding=(made.rid,), moving=made.rid, verified_epoch=0)

    def _verify(self, move: Move, entry: Entry, scene: Scene, now_s: float, wishes: Wishes) -> None:
        if self._equal.get(move.pid) == (move.id, entry.epoch) and entry.verified_epoch != entry.epoch:
            self._change(move, entry, wishes, verified_epoch=entry.epoch)
            return
        asked = self._comparing.get(move.pid)
        is_open = asked is not None and asked.epoch == entry.epoch and (not asked.again_s or now_s < asked.again_s)
        leader, target = entry.leader, entry.holds(move.target)
        if is_open or leader is None or target is None or leader.node not in scene.hosts:
            return
        if scene.cluster.rebalance.is_paused:
            return
        connection = scene.hosts[leader.node].connection
        self._comparing[move.pid] = _Asked(move.id, leader.node, connection, entry.epoch)
        wishes.effects.append(Compare(leader.node, connection, move.id, move.pid, entry.ver, target, entry.epoch))

    def _switch(self, move: Move, entry: Entry, scene: Scene, wishes: Wishes) -> None:
        """Everything is there: the copy that goes gives way, and leadership with it."""
        source, target = entry.holds(move.source), entry.holds(move.target)
        assert source is not None
        assert target is not None
        if scene.cluster.rebalance.is_paused and source not in entry.removing:
            return
        self._let_go(move, entry, source, target, scene, wishes)

    def _abort(self, move: Move, entry: Entry, scene: Scene, wishes: Wishes) -> None:
        """The new copy gives way again, whatever it has become."""
        source, target = entry.holds(move.source), entry.holds(move.target)
        self._made.pop(move.pid, None)
        if target is None:
            self._end(move, entry, MoveState.ABORTED, move.reason, wishes)
        elif target not in entry.in_sync:
            self._change(
                move,
                entry,
                wishes,
                replicas=tuple(rid for rid in entry.replicas if rid != target),
                adding=tuple(rid for rid in entry.adding if rid != target),
                removing=tuple(rid for rid in entry.removing if rid != target),
                moving=None,
            )
        else:
            self._let_go(move, entry, target, source, scene, wishes)

    def _let_go(self, move: Move, entry: Entry, leaving: Rid, heir: Rid | None, scene: Scene, wishes: Wishes) -> None:
        """Mark `leaving`, once as many others as are asked for are in sync; `heir` takes its place in the order. Where
        too few others are left it is needed, and the move is over."""
        wanted = scene.cluster.keyspaces[entry.keyspace].replicas
        is_marked = leaving in entry.removing
        copies = (*entry.replicas, *entry.adding)
        others = [rid for rid in copies if rid != leaving and rid not in entry.removing]
        if not is_marked and len(others) < wanted:
            state = MoveState.DONE if move.state is MoveState.MOVING else MoveState.ABORTED
            self._end(move, entry, state, "another copy was lost meanwhile, so this one stays", wishes)
            return
        if not set(entry.in_sync).issuperset(others):
            return
        replicas = entry.replicas if is_marked else _in_place_of(entry.replicas, leaving, heir)
        if replicas[0] in (leaving, *entry.removing) or replicas[0].node not in scene.hosts:
            able = [rid for rid in others if rid in replicas and rid.node in scene.hosts]
            replicas = tuple(sorted(replicas, key=lambda rid: rid != able[0])) if able else replicas
        removing = entry.removing if is_marked else (*entry.removing, leaving)
        if (replicas, removing) != (entry.replicas, entry.removing):
            self._change(move, entry, wishes, replicas=replicas, removing=removing)

    # ---- proposals ----------------------------------------------------------------------------------------------

    def _change(self, move: Move, entry: Entry, wishes: Wishes, **changes: object) -> None:
        self._proposed.add(move.pid)
        changed = msgspec.structs.replace(entry, ver=entry.ver + 1, **changes)
        wishes.changes.append(PutEntry(changed, move))

    def _end(self, move: Move, entry: Entry, state: MoveState, reason: str, wishes: Wishes) -> None:
        self._proposed.add(move.pid)
        changed = msgspec.structs.replace(move, state=state, reason=reason)
        wishes.changes.append(PutMove(changed, move, entry.ver))

    def _told(self, moves: Sequence[Move], steps: Mapping[int, Step]) -> list[Effect]:
        """A line for each move that has come to another step."""
        seen, self._seen = self._seen, {move.id: steps[move.pid] for move in moves}
        news = [move for move in moves if seen.get(move.id, Step.PLANNED) is not self._seen[move.id]]
        return [Note("move", {**_fields(move), "step": self._seen[move.id].value}) for move in news]

    def _forget(self, moves: Sequence[Move], scene: Scene) -> None:
        """What is about moves that are over, or was asked of processes that are gone."""
        active = {move.pid: move for move in moves}
        connections = {host.connection for host in scene.hosts.values()}

        def holds(asked: _Asked | _Made, pid: int) -> bool:
            return asked.connection in connections and pid in active and active[pid].id == asked.move

        self._asked = {pid: one for pid, one in self._asked.items() if holds(one, pid)}
        self._comparing = {pid: one for pid, one in self._comparing.items() if holds(one, pid)}
        self._made = {pid: one for pid, one in self._made.items() if holds(one, pid)}
        self._equal = {pid: one for pid, one in self._equal.items() if pid in active}


def _asked_again(asked: _Asked, again_s: float) -> _Asked:
    return _Asked(asked.move, asked.node, asked.connection, asked.epoch, again_s)


def _fields(move: Move) -> dict[str, str | int]:
    return {"move": move.id, "partition": move.pid, "from": move.source, "to": move.target}


def _is_away_for_good(node: str, scene: Scene) -> bool:
    info = scene.cluster.nodes.get(node)
    return info is None or not info.may_host or (node in scene.gone and node not in scene.hosts)


def _lacks_a_copy(move: Move, entry: Entry, scene: Scene) -> bool:
    """Whether fewer copies than are asked for are reckoned with beside the one that the move brings."""
    others = [rid for rid in entry.replicas if rid.node != move.target and rid not in entry.removing]
    there = [rid for rid in others if rid.node in scene.hosts or rid.node not in scene.gone]
    return len(there) < scene.cluster.keyspaces[entry.keyspace].replicas


def _in_place_of(replicas: Sequence[Rid], leaving: Rid, heir: Rid | None) -> tuple[Rid, ...]:
    """The order in which `heir` stands where `leaving` stood, if both are there, and `leaving` last."""
    if heir is None or heir not in replicas or leaving not in replicas:
        return (*(rid for rid in replicas if rid != leaving), *(rid for rid in replicas if rid == leaving))
    ordered = [heir if rid == leaving else rid for rid in replicas if rid != heir]
    return (*ordered, leaving)
