"""Control's decisions: members, keyspaces, missing copies, leadership, and who is told what.

Guarantees: `handle` alone changes its state, and the same events give the same effects; nobody is told of a change
before the map store said that it landed; every compare-and-set of a node gets one answer, which comes before any news
of the same entries; any other proposal whose outcome is unknown is repeated until it is known, or nobody waits for it
any more. With several controls on one store each is right by itself, for all they do is guarded; only one should plan.
Leaves to others: everything outside (`server`). Sans-IO. PROTOCOL "Cluster map".
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.cluster_map import Change, ClusterMap, PutEntry, PutNode
from cluster.control.absences import Absences
from cluster.control.events import (
    AnswerCas,
    AskCopies,
    Asked,
    CasAsked,
    Compared,
    Complain,
    Connected,
    CopiesFailed,
    CopiesMade,
    DialFailed,
    Disconnected,
    Draw,
    Drawn,
    DropOrphans,
    Effect,
    Event,
    GivenUp,
    Loaded,
    LookAtStore,
    Looked,
    PidsAllocated,
    PlannerChosen,
    Propose,
    Publish,
    Refuse,
    Reply,
    Reported,
    Retired,
    SplitTold,
    Stored,
    Tell,
    Ticked,
    Withdrawn,
)
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, LearnKeyspaces, MoveTenant, ResolveTenant
from cluster.control.keyspaces import Keyspaces
from cluster.control.leadership import objection
from cluster.control.map_store import Outcome
from cluster.control.membership import Membership, entries_by_node
from cluster.control.messages import (
    AbortMove,
    AdmitNode,
    ChangeNode,
    ClusterStatus,
    DrawIdWindow,
    DrawIncarnation,
    ForcePromote,
    MakePlan,
    RebalanceStatus,
    RemoveNode,
    SetRebalance,
    StartPlan,
)
from cluster.control.moving import Scene
from cluster.control.placing import FirstPlacements
from cluster.control.preference import Preference
from cluster.control.promotion import Promotion, outcome, plan_promotion, still_allowed
from cluster.control.proposals import Proposals
from cluster.control.rebalancing import Rebalancing
from cluster.control.repair import Repair
from cluster.control.reshaping import Reshaping
from cluster.control.settings import ControlSettings
from cluster.control.standing import Standings, dead_nodes
from cluster.control.tenants import Tenants
from cluster.control.view import cluster_view, readiness
from kvstore.errors import KvError
from kvstore.messages import CasResult, Failed, Fault, MapUpdate


class Controller:
    """One control; `handle` every event in the order in which it happened."""

    def __init__(self, settings: ControlSettings) -> None:
        self.map = ClusterMap.empty(b"")
        self._settings = settings
        self._members = Membership(settings.loopback_nodes)
        self._absences = Absences(settings.replace_after_s)
        self._repair = Repair()
        self._preference = Preference()
        self._is_planner = True
        self._gone: frozenset[str] = frozenset()
        self._proposals = Proposals()
        self._keyspaces = Keyspaces(self._proposals, settings)
        self._tenants = Tenants(self._proposals)
        self._placements = FirstPlacements(self._proposals, settings.initial_nodes)
        self._standings = Standings(self._proposals)
        # What another control made a moment ago is there for who asks to change it: it is looked at first.
        self._operators: dict[int, RemoveNode | ChangeNode | ForcePromote | AbortMove | MoveTenant] = {}
        self._reshaping = Reshaping(settings, self._proposals)
        self._rebalancing = Rebalancing(self._proposals, settings.moves_per_node, is_manual=settings.manual_rebalance)

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event.

        Args:
            event: what happened.
            now_s: a clock that never goes back.
        """
        effects = self._react(event, now_s)
        # What follows from any event looks at every node. Nothing follows from a report, and they are by far the most.
        return effects if isinstance(event, Reported) else [*effects, *self._advance(now_s)]

    def boot_floor(self, node: str) -> int:
        """The highest boot counter that is known of the node, for the hello of a dial that begins now; 0 for none."""
        return self._members.boot_floor(node, self.map)

    def _react(self, event: Event, now_s: float) -> list[Effect]:
        match event:
            case Loaded(cluster):
                before, self.map = self.map, cluster
                return self._spread(before, set())
            case PlannerChosen(is_mine):
                self._is_planner = is_mine
                return []
            case Ticked():
                return self._tick(now_s)
            case Asked(ask, AdmitNode() as request):
                return self._members.ask(ask, request, self.map)
            case Asked(ask, ClusterStatus()):
                scene = self._scene()
                return [Reply(ask, cluster_view(self.map, scene.status, self._rebalancing.moves(scene), scene.gone))]
            case Asked(ask, MakePlan() | StartPlan() | RebalanceStatus() | SetRebalance() as request):
                return self._rebalancing.ask(ask, request, self._scene())
            case Asked(ask, RemoveNode() | ChangeNode() | ForcePromote() | AbortMove() | MoveTenant() as request):
                self._operators[ask] = request
                return [LookAtStore(ask)]
            case Asked(ask, DrawIncarnation() | DrawIdWindow() as request):
                return [Draw(ask, request)]
            case Drawn(ask, drawn):
                return [Reply(ask, drawn)]
            case Asked(ask, CreateKeyspace() | DeleteKeyspace() | LearnKeyspaces() as request):
                return self._keyspaces.ask(ask, request)
            case Asked(ask, ResolveTenant() as request):
                return self._tenants.ask(ask, request, self.map)
            case Looked(ask):
                return self._looked(ask)
            case GivenUp() | Withdrawn():
                return self._forget(event)
            case Asked(ask):
                return [Reply(ask, readiness(self.map, self._members.status(), self._settings.initial_nodes))]
            case Connected():
                return self._members.connected(event, now_s)
            case DialFailed():
                return self._members.dial_failed(event, self.map)
            case Disconnected():
                return self._members.disconnected(event)
            case Reported():
                self._members.reported(event, now_s)
                return self._drop_orphans(event)
            case CasAsked():
                return self._cas_asked(event)
            case CopiesMade():
                return self._copies_made(event)
            case CopiesFailed():
                return self._copies_failed(event)
            case Stored():
                return self._stored(event)
            case Compared():
                return self._rebalancing.compared(event, self.map, now_s)
            case Retired(node, connection) if self._members.is_up(node, connection):
                return self._standings.retired(node, self.map)
            case Retired():
                return self._members.retired(event)
            case SplitTold():
                return self._reshaping.told(event, self._scene())
            case PidsAllocated(first, keyspace=keyspace) if keyspace:
                return self._reshaping.allocated(keyspace, first, self._scene())
            case PidsAllocated():
                return self._keyspaces.allocated(event, self.map)

    def _looked(self, ask: int) -> list[Effect]:
        """What the store says is known now, and what was asked is judged by that."""
        match self._operators.pop(ask, None):
            case RemoveNode() | ChangeNode() as request:
                return self._standings.ask(ask, request, self.map, self._members.reached())
            case ForcePromote() as request:
                return self._force_promote(ask, request)
            case AbortMove() as request:
                return self._rebalancing.ask(ask, request, self._scene())
            case MoveTenant() as request:
                return self._reshaping.move_tenant(ask, request, self._scene())
            case None:
                resolved = self._tenants.looked(ask, self.map, self._members.status())
                return [*self._keyspaces.looked(ask, self.map), *resolved]

    def _forget(self, event: GivenUp | Withdrawn) -> list[Effect]:
        """Nobody waits for something any more."""
        if isinstance(event, Withdrawn):
            self._proposals.withdraw(event.proposal)
        else:
            self._operators.pop(event.ask, None)
            self._keyspaces.forget(event.ask)
            self._tenants.forget(event.ask)
        return []

    def _tick(self, now_s: float) -> list[Effect]:
        self._gone = self._absences.tick(self.map, self._members.up(), now_s) | dead_nodes(self.map)
        self._rebalancing.watch(self._scene(), now_s)
        effects = [*self._members.tick(now_s), *self._proposals.repeat()]
        effects += self._placements.ask_copies(self._members.hosts())
        return [*effects, *self._plan(now_s)] if self._is_planner else effects

    # ---- what follows from any event ----------------------------------------------------------------------------

    def _advance(self, now_s: float) -> list[Effect]:
        effects = self._members.follow(self.map)
        changes, consequences = self._members.proposals(self.map)
        effects += [self._propose_member(change) for change in changes]
        effects += [*consequences, *self._reshaping.advance(self.map, now_s)]
        if not self._is_planner:
            return effects
        effects += self._keyspaces.make_default(self.map)
        if self._placements.has_work(self.map):
            effects += self._placements.advance(self.map, self._members.hosts())
        return effects

    def _propose_member(self, change: PutNode) -> Propose:
        return self._proposals.propose([change], lambda outcomes, _: self._members.settled(change, outcomes))

    # ---- missing copies -----------------------------------------------------------------------------------------

    def _plan(self, now_s: float) -> list[Effect]:
        """Look at what is missing, what moves, who should lead, and who leaves."""
        scene = self._scene()
        hosts = scene.hosts
        asks, changes = self._repair.tick(self.map, hosts, now_s, self._gone)
        effects: list[Effect] = [AskCopies(node, hosts[node].connection, pids) for node, pids in asks.items()]
        preferred = self._preference.tick(self.map, hosts, self._gone)
        if preferred:
            effects.append(self._proposals.propose(preferred, self._preferred))
        effects += [*self._propose_repair(changes), *self._rebalancing.tick(scene, now_s)]
        effects += self._reshaping.tick(scene, now_s)
        return [*effects, *self._standings.tick(self.map, hosts, now_s)]

    def _scene(self) -> Scene:
        return Scene(self.map, self._members.hosts(), self._members.status(), self._gone)

    def _preferred(self, *_: object) -> list[Effect]:
        self._preference.settled()
        return []

    def _drop_orphans(self, event: Reported) -> list[Effect]:
        """Tell a node which of its copies the map named once and names no more: they went to others, and those have all
        copies in sync; or an operator gave them up, or the partition."""
        if not self._members.is_up(event.node, event.connection):
            return []
        orphans = []
        for copy in event.report.copies:
            entry = self.map.entries.get(copy.pid)
            if entry is None or not 0 < copy.ver < entry.ver or entry.holds(event.node) is not None:
                continue
            is_over = entry.unclean_count or not entry.replicas
            if is_over or len(entry.in_sync) >= self.map.keyspaces[entry.keyspace].replicas:
                orphans.append(entry)
        return [DropOrphans(event.node, event.connection, tuple(orphans))] if orphans else []

    def _copies_made(self, event: CopiesMade) -> list[Effect]:
        """Each of the two takes what it asked for: the placement for partitions without an entry, repair for others."""
        node, connection, rids = event.node, event.connection, event.rids
        if not self._members.is_up(node, connection):
            return []
        self._placements.made(node, rids)
        self._rebalancing.made(node, connection, rids)
        begun = self._reshaping.made(node, rids, self._scene())
        return begun + self._propose_repair(self._repair.made(node, connection, rids, self.map, self._members.hosts()))

    def _copies_failed(self, event: CopiesFailed) -> list[Effect]:
        node, connection, pids = event.node, event.connection, event.pids
        self._repair.failed(node, connection, pids)
        self._rebalancing.failed(node, connection, pids)
        if self._members.is_up(node, connection):
            self._placements.failed(node, pids)
        return [Complain("copies_not_made", {"node": node, "reason": event.detail})]

    def _propose_repair(self, changes: Sequence[PutEntry]) -> list[Effect]:
        def settled(*_: object) -> list[Effect]:
            self._repair.settled(change.entry.pid for change in changes)
            return []

        return [self._proposals.propose(changes, settled)] if changes else []

    # ---- proposals ----------------------------------------------------------------------------------------------

    def _stored(self, event: Stored) -> list[Effect]:
        before, self.map = self.map, self.map.updated(event.current)
        effects = self._proposals.settle(event, self.map)
        answered = {
            (effect.node, entry.pid)
            for effect in effects
            if isinstance(effect, AnswerCas) and isinstance(effect.answer, CasResult)
            for entry in effect.answer.entries
        }
        return [*effects, *self._spread(before, answered)]

    def _spread(self, before: ClusterMap, answered: set[tuple[str, int]]) -> list[Effect]:
        """Tell nodes and subscribers what is new since `before`; who got an entry as an answer is not told twice."""
        news = self.map.since(before)
        entries = entries_by_node(news.entries, before)
        effects: list[Effect] = []
        for node, session in self._members.up().items():
            concerned = [entry for entry in entries.get(node, ()) if (node, entry.pid) not in answered]
            if news.nodes or concerned or news.rebalance is not None:
                update = MapUpdate(news.map_ver, news.nodes, concerned, rebalance=news.rebalance)
                effects.append(Tell(node, session.connection, update))
        if news.nodes or news.entries or news.keyspaces or news.tenants:
            effects.append(Publish(news))
        return effects

    # ---- leadership ---------------------------------------------------------------------------------------------

    def _force_promote(self, ask: int, request: ForcePromote) -> list[Effect]:
        try:
            promotion = plan_promotion(request, self.map, self._members.status(), self._members.reached())
        except KvError as error:
            return [Refuse(ask, error)]

        def settled(*_: object) -> list[Effect]:
            return self._tell_promoted(ask, promotion)

        return [self._proposals.propose(promotion.changes, settled, self._still_allowed, ask)]

    def _still_allowed(self, changes: tuple[Change, ...]) -> tuple[Change, ...]:
        return still_allowed(changes, self.map, self._members.status(), self._members.reached())

    def _tell_promoted(self, ask: int, promotion: Promotion) -> list[Effect]:
        answer = outcome(promotion, self.map)
        effects: list[Effect] = [Reply(ask, answer)]
        for one in answer.promoted:
            fields: dict[str, str | int] = {"partition": one.partition, "leader": one.leader or ""}
            fields["unclean_count"] = one.unclean_count
            effects.append(Complain("force_promoted_and_writes_may_be_lost", fields))
        return effects

    def _cas_asked(self, event: CasAsked) -> list[Effect]:
        session = self._members.up().get(event.node)
        if session is None or session.connection != event.connection:
            return [_cas_failed(event, "conflict", f"node {event.node} is not admitted on this connection")]
        unknown = [entry.pid for entry in event.entries if entry.pid not in self.map.entries]
        if unknown:
            return [_cas_failed(event, "not_found", f"there is no partition {unknown[0]}")]
        ahead = [entry.pid for entry in event.entries if entry.ver - 1 > self.map.entries[entry.pid].ver]
        if ahead:
            # What stands here would tell the node nothing, and it would never ask a control that sees the store.
            return [_cas_failed(event, "conflict", f"this control's map is behind in partition {ahead[0]}")]
        effects: list[Effect] = []
        changes: list[Change] = []
        for entry in event.entries:
            stored = self.map.entries[entry.pid]
            if stored.ver != entry.ver - 1:
                continue
            reason = objection(stored, entry, event.node, session.boot)
            if reason is None:
                changes.append(PutEntry(entry))
            else:
                fields: dict[str, str | int] = {"node": event.node, "partition": entry.pid, "reason": reason}
                effects.append(Complain("compare_and_set_refused", fields))
        if changes:
            effects.append(
                self._proposals.propose(changes, lambda outcomes, _: self._cas_settled(event, outcomes), again=None)
            )
        else:
            effects.append(self._cas_result(event))
        return effects

    def _cas_settled(self, event: CasAsked, outcomes: Sequence[Outcome]) -> list[Effect]:
        if not self._members.is_up(event.node, event.connection):
            return []
        if Outcome.UNKNOWN in outcomes:
            return [_cas_failed(event, "outcome_unknown", "the map store did not answer")]
        return [self._cas_result(event)]

    def _cas_result(self, event: CasAsked) -> AnswerCas:
        standing = [self.map.entries[entry.pid] for entry in event.entries]
        return AnswerCas(event.node, event.connection, event.call, CasResult(standing))


def _cas_failed(event: CasAsked, code: str, detail: str) -> AnswerCas:
    return AnswerCas(event.node, event.connection, event.call, Failed(Fault(code, detail)))
