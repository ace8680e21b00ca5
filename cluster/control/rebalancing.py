"""When copies move: plans on request, moves by themselves, and how those that go on are steered and shown.

Guarantees: what is started is a plan of the map as it stands, or exactly the one that was asked for; all of its moves
are in the map before the first of them begins; by itself nothing is planned while moves are paused, nor for partitions
that lack anything; moves that have not begun make way for a better plan when members change; an operator's abort undoes
its move and pauses the others, or does neither. Leaves to others: what a plan is (`planning`), the steps of a move
(`moving`). Sans-IO. PROTOCOL "Moves".
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence

import msgspec

from cluster.cluster_map import Change, ClusterMap, PutEntry, PutMove, PutRebalance, StartMoves
from cluster.control.events import Compared, Effect, Propose, Refuse, Reply
from cluster.control.map_store import Outcome
from cluster.control.messages import AbortMove, MakePlan, MoveView, RebalanceStatus, SetRebalance, StartPlan
from cluster.control.moving import Mover, Scene, Wishes, is_past_switch
from cluster.control.planning import Plan, make_plan, members_after, members_of, plan_view, what_changed
from cluster.control.progress import Progress
from cluster.control.proposals import Proposals
from cluster.control.repair import Hosts
from cluster.placement import Member
from cluster.placement.of_keyspace import Placements
from cluster.placement.relocation import Relocation
from kvstore.errors import Conflict, KvError, NotFound
from kvstore.map_values import Entry, Move, MoveState, Rid

PLAN_S = 1.0
SETTLE_S = 2.0
PLANS_KEPT = 16

Request = MakePlan | StartPlan | RebalanceStatus | SetRebalance | AbortMove


class Rebalancing:
    """Args:
    proposals: takes what is proposed.
    at_once: as for `Mover`.
    is_manual: nothing moves by itself but what is on nodes that leave.
    """

    def __init__(self, proposals: Proposals, at_once: int, is_manual: bool) -> None:
        self._placements = Placements()
        self._proposals = proposals
        self._is_manual = is_manual
        self._mover = Mover(at_once)
        self._progress = Progress(is_manual)
        self._plans: OrderedDict[str, Plan] = OrderedDict()
        self._members: tuple[Member, ...] | None = None
        self._planned_for: tuple[Member, ...] | None = None
        self._quiet: tuple[ClusterMap, Hosts, tuple[Member, ...]] | None = None
        self._settled_s = 0.0
        self._next_plan_s = 0.0
        self._is_starting = False

    # ---- requests -----------------------------------------------------------------------------------------------

    def ask(self, ask: int, request: Request, scene: Scene) -> list[Effect]:
        """Carry out a request of an operator's; refused as `messages` says."""
        try:
            match request:
                case MakePlan(add, remove):
                    known = {node for node, info in scene.cluster.nodes.items() if info.may_host}
                    more = [Member(one.id, one.zone, one.weight) for one in add]
                    members = members_after(members_of(scene.cluster, scene.gone), more, remove, known)
                    return [Reply(ask, plan_view(self._make_plan(scene, members), scene.cluster, scene.status))]
                case StartPlan(plan_id):
                    return [self._start_asked(ask, plan_id, scene)]
                case RebalanceStatus():
                    return [Reply(ask, self._progress.view(scene))]
                case SetRebalance():
                    return [self._set(ask, request, scene)]
                case AbortMove(number):
                    return [self._abort(ask, number, scene)]
        except KvError as error:
            return [Refuse(ask, error)]

    def _make_plan(self, scene: Scene, members: Sequence[Member]) -> Plan:
        made = make_plan(scene.cluster, members, self._placements)
        self._plans[made.id] = made
        while len(self._plans) > PLANS_KEPT:
            self._plans.popitem(last=False)
        return made

    def _start_asked(self, ask: int, plan_id: str, scene: Scene) -> Propose:
        asked = self._plans.get(plan_id)
        if asked is None:
            raise NotFound(f"this gateway knows no plan {plan_id}: make one and start that")
        now = make_plan(scene.cluster, members_of(scene.cluster, scene.gone), self._placements)
        changes = what_changed(asked, now)
        if changes or now.relocations != asked.relocations:
            raise Conflict(f"that plan is not what would be planned now: {'; '.join(changes) or 'moves went on'}")
        start = _start(scene.cluster, now.relocations, ())

        def answer(outcomes: Sequence[Outcome], after: Scene) -> Effect:
            if Outcome.CONFLICT in outcomes:
                return Refuse(ask, Conflict("moves were changed at the same time: make the plan again"))
            return Reply(ask, self._progress.view(after))

        return self._propose_for(ask, scene, [start], answer)

    def _set(self, ask: int, request: SetRebalance, scene: Scene) -> Propose:
        stands = scene.cluster.rebalance
        paused, limit = request.paused, request.max_bytes_per_second
        changed = msgspec.structs.replace(
            stands,
            ver=stands.ver + 1,
            is_paused=stands.is_paused if paused is None else paused,
            max_bytes_per_second=stands.max_bytes_per_second if limit is None else limit,
        )

        def answer(outcomes: Sequence[Outcome], after: Scene) -> Effect:
            if Outcome.CONFLICT in outcomes:
                return self._set(ask, request, after)
            return Reply(ask, self._progress.view(after))

        return self._propose_for(ask, scene, [PutRebalance(changed)], answer)

    def _abort(self, ask: int, number: int, scene: Scene) -> Propose:
        move = next((one for one in scene.cluster.active_moves if one.id == number), None)
        if move is None:
            raise NotFound(f"there is no move {number} that goes on")
        entry = scene.cluster.entries[move.pid]
        if is_past_switch(move, entry):
            raise Conflict(f"move {number} is past its switch and only goes forward")
        stands = scene.cluster.rebalance
        paused = msgspec.structs.replace(stands, ver=stands.ver + 1, is_paused=True)
        aborting = msgspec.structs.replace(move, state=MoveState.ABORTING, reason="an operator asked for it")

        def answer(outcomes: Sequence[Outcome], after: Scene) -> Effect:
            if Outcome.CONFLICT in outcomes and not _is_undone(move, after.cluster):
                (again,) = self.ask(ask, AbortMove(number), after)
                return again
            return Reply(ask, self._progress.view(after))

        change = StartMoves(paused, (), (PutMove(aborting, move, entry.ver),))
        return self._propose_for(ask, scene, [change], answer)

    def _propose_for(
        self, ask: int, scene: Scene, changes: Sequence[Change], answer: Callable[[Sequence[Outcome], Scene], Effect]
    ) -> Propose:
        """Propose, and answer with what the map then says."""

        def settled(outcomes: Sequence[Outcome], cluster: ClusterMap) -> list[Effect]:
            return [answer(outcomes, Scene(cluster, scene.hosts, scene.status, scene.gone))]

        return self._proposals.propose(changes, settled, ask=ask)

    def moves(self, scene: Scene) -> tuple[MoveView, ...]:
        """What is shown of the moves that are not over."""
        return self._progress.moves(scene)

    # ---- events -------------------------------------------------------------------------------------------------

    def made(self, node: str, connection: int, rids: Sequence[tuple[int, Rid]]) -> None:
        """A node made copies."""
        self._mover.made(node, connection, rids)

    def failed(self, node: str, connection: int, pids: Sequence[int]) -> None:
        """A node did not make copies."""
        self._mover.failed(node, connection, pids)

    def compared(self, event: Compared, cluster: ClusterMap, now_s: float) -> list[Effect]:
        """A leader compared a copy that moves with its own."""
        return self._carried(self._mover.compared(event, cluster, now_s))

    def watch(self, scene: Scene, now_s: float) -> None:
        """See how far moves have come, whoever takes them further; several times a second."""
        self._progress.tick(scene, now_s)

    def tick(self, scene: Scene, now_s: float) -> list[Effect]:
        """Take every move a step further that can go, and plan where it is time; several times a second."""
        effects = self._carried(self._mover.tick(scene, now_s))
        start = self._plan_by_itself(scene, now_s)
        if start is not None:
            self._is_starting = True
            effects.append(self._proposals.propose([start], self._started))
        return effects

    def _started(self, _outcomes: Sequence[Outcome], _cluster: ClusterMap) -> list[Effect]:
        self._is_starting = False
        return []

    def _carried(self, wishes: Wishes) -> list[Effect]:
        if not wishes.changes:
            return wishes.effects
        pids = [_pid_of(change) for change in wishes.changes]

        def settled(_outcomes: Sequence[Outcome], _cluster: ClusterMap) -> list[Effect]:
            self._mover.settled(pids)
            return []

        return [*wishes.effects, self._proposals.propose(wishes.changes, settled)]

    # ---- by itself ----------------------------------------------------------------------------------------------

    def _plan_by_itself(self, scene: Scene, now_s: float) -> StartMoves | None:
        cluster = scene.cluster
        members = tuple(members_of(cluster, scene.gone))
        if members != self._members:
            self._settled_s = now_s + (SETTLE_S if self._members is not None else 0.0)
            self._members = members
        if self._is_starting or cluster.rebalance.is_paused or now_s < max(self._settled_s, self._next_plan_s):
            return None
        self._next_plan_s = now_s + PLAN_S
        if self._quiet == (cluster, scene.hosts, members):
            return None
        waiting = [move for move in cluster.active_moves if self._may_be_dropped(move, cluster)]
        if waiting and (self._planned_for is None or self._planned_for == members):
            self._planned_for = members
            return None
        without = {move.pid for move in waiting}
        made = make_plan(cluster, members, self._placements, without)
        self._planned_for = members
        chosen = [one for one in made.relocations if self._may_start(one, scene, without)]
        if not chosen and not waiting:
            self._quiet = cluster, scene.hosts, members
            return None
        return _start(cluster, chosen, waiting)

    def _may_be_dropped(self, move: Move, cluster: ClusterMap) -> bool:
        """Whether nothing was done for it yet."""
        entry = cluster.entries[move.pid]
        target = cluster.nodes.get(move.target)
        if self._is_manual and target is not None and target.may_host:
            # An operator started it, and nothing would take its place.
            return False
        is_unbegun = move.state is MoveState.MOVING and entry.holds(move.target) is None
        return is_unbegun and entry.holds(move.source) is not None and not self._mover.has_begun(move.pid)

    def _may_start(self, one: Relocation, scene: Scene, without: set[int]) -> bool:
        cluster, entry = scene.cluster, scene.cluster.entries[one.pid]
        if self._is_manual and cluster.nodes[one.source].may_host:
            return False
        move = cluster.moves.get(one.pid)
        if move is not None and move.is_active and one.pid not in without:
            return False
        return one.target in scene.hosts and _is_calm(entry, cluster.keyspaces[entry.keyspace].replicas)


def _is_undone(move: Move, cluster: ClusterMap) -> bool:
    """Whether the move is undone, or will be, and all others wait, as one asks for who aborts it."""
    now = cluster.moves.get(move.pid, move)
    is_ended = now.id == move.id and now.state in (MoveState.ABORTING, MoveState.ABORTED)
    return is_ended and cluster.rebalance.is_paused


def _is_calm(entry: Entry, replicas: int) -> bool:
    """Whether the partition lacks nothing, and nothing of it changes."""
    is_still = entry.leader is not None and not entry.adding and not entry.removing and entry.transfer is None
    return is_still and len(entry.replicas) >= replicas and set(entry.in_sync) == set(entry.replicas)


def _start(cluster: ClusterMap, chosen: Sequence[Relocation], dropped: Sequence[Move]) -> StartMoves:
    stands = cluster.rebalance
    first = stands.next_move
    moves = tuple(Move(first + place, one.pid, one.source, one.target) for place, one in enumerate(chosen))
    rebalance = msgspec.structs.replace(stands, ver=stands.ver + 1, next_move=first + len(moves))
    over = tuple(
        PutMove(
            msgspec.structs.replace(move, state=MoveState.ABORTED, reason="another plan took its place"),
            move,
            cluster.entries[move.pid].ver,
        )
        for move in dropped
    )
    return StartMoves(rebalance, moves, over)


def _pid_of(change: PutEntry | PutMove) -> int:
    return change.entry.pid if isinstance(change, PutEntry) else change.move.pid
