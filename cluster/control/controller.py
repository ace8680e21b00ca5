"""Control's decisions: members, the first placement, leadership, and who is told what.

Guarantees: `handle` alone changes its state, and the same events give the same effects; nobody is told of a change
before the map store said that it landed; every compare-and-set of a node gets one answer, which comes before any news
of the same entries; a proposal whose outcome is unknown is repeated until it is known. Leaves to others: everything
outside (`server`). Sans-IO. PROTOCOL "Cluster map".
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.cluster_map import Change, ClusterMap, PlaceKeyspace, PutEntry, PutKeyspace
from cluster.control.events import (
    AllocatePids,
    AnswerCas,
    AskCopies,
    Asked,
    CasAsked,
    Complain,
    Connected,
    CopiesFailed,
    CopiesMade,
    DialFailed,
    Disconnected,
    Effect,
    Event,
    Loaded,
    PidsAllocated,
    Propose,
    Publish,
    Reply,
    Reported,
    Stored,
    Tell,
    Ticked,
)
from cluster.control.leadership import objection
from cluster.control.map_store import Outcome
from cluster.control.membership import Membership
from cluster.control.messages import AdmitNode, ClusterStatus
from cluster.control.placing import Placing
from cluster.control.settings import ControlSettings
from cluster.control.view import cluster_view, readiness
from cluster.placement import Member, Placement
from kvstore.messages import CasResult, Entry, Failed, Fault, KeyspaceInfo, MapUpdate

DEFAULT_KEYSPACE = "default"
DEFAULT_STRATEGY = "consistent"


@dataclass(frozen=True, slots=True)
class _Proposal:
    """Changes under way; `cas` is the question of a node that they answer, `node` the member that they are about."""

    changes: tuple[Change, ...]
    cas: CasAsked | None = None
    node: str = ""


class Controller:
    """One control; `handle` every event in the order in which it happened.

    Args:
        settings: how the default keyspace is placed.
        placement: where copies should be.
    """

    def __init__(self, settings: ControlSettings, placement: Placement) -> None:
        self.map = ClusterMap.empty(b"")
        self._settings = settings
        self._placement = placement
        self._members = Membership(settings.loopback_nodes)
        self._placing: Placing | None = None
        self._is_allocating = False
        self._proposals: dict[int, _Proposal] = {}
        self._unsettled: list[int] = []
        self._next_proposal = 1

    def handle(self, event: Event, now_s: float) -> list[Effect]:
        """Take one event.

        Args:
            event: what happened.
            now_s: a clock that never goes back.
        """
        return [*self._react(event, now_s), *self._advance()]

    def _react(self, event: Event, now_s: float) -> list[Effect]:
        match event:
            case Loaded(cluster):
                self.map = cluster
                return []
            case Ticked():
                return [*self._members.tick(now_s), *self._repeat_unsettled(), *self._ask_copies()]
            case Asked(ask, AdmitNode() as request):
                return self._members.ask(ask, request, self.map)
            case Asked(ask, ClusterStatus()):
                return [Reply(ask, cluster_view(self.map, self._members.status()))]
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
                return []
            case CasAsked():
                return self._cas_asked(event)
            case CopiesMade(node, connection, rids):
                if self._placing is not None and self._members.is_up(node, connection):
                    self._placing.made(node, rids)
                return []
            case CopiesFailed(node, connection, detail):
                if self._placing is not None and self._members.is_up(node, connection):
                    self._placing.ask_again(node)
                return [Complain("copies_not_made", {"node": node, "reason": detail})]
            case Stored():
                return self._stored(event)
            case PidsAllocated(first):
                return self._create_default_keyspace(first)

    # ---- what follows from any event ----------------------------------------------------------------------------

    def _advance(self) -> list[Effect]:
        effects = self._members.follow(self.map)
        changes, consequences = self._members.proposals(self.map)
        effects += [self._propose((change,), node=change.node.id) for change in changes]
        effects += consequences
        if DEFAULT_KEYSPACE in self.map.keyspaces:
            effects += self._place()
        elif self.map.cluster_id and not self._is_allocating:
            self._is_allocating = True
            effects.append(AllocatePids(self._settings.partitions))
        return effects

    def _create_default_keyspace(self, first_pid: int) -> list[Effect]:
        settings = self._settings
        keyspace = KeyspaceInfo(
            name=DEFAULT_KEYSPACE,
            strategy=DEFAULT_STRATEGY,
            pids=tuple(range(first_pid, first_pid + settings.partitions)),
            replicas=settings.replicas,
            min_in_sync=settings.min_in_sync,
        )
        return [self._propose((PutKeyspace(keyspace, None),))]

    def _place(self) -> list[Effect]:
        """Bring the first unplaced keyspace nearer to its entries."""
        unplaced = (one for one in self.map.keyspaces.values() if one.pids[0] not in self.map.entries)
        keyspace = next(unplaced, None)
        if keyspace is None:
            self._placing = None
            return []
        up = self._members.up()
        placing = self._placing
        if placing is not None and placing.is_proposed:
            return []
        if placing is None or placing.keyspace != keyspace or not placing.nodes <= set(up):
            self._placing = None
            if len(up) < max(1, self._settings.initial_nodes):
                return []
            members = [Member(node, session.zone, session.weight) for node, session in sorted(up.items())]
            self._placing = placing = Placing(keyspace, members, self._placement)
            return self._ask_copies()
        entries = placing.entries()
        if entries is None:
            return []
        placing.is_proposed = True
        return [self._propose((PlaceKeyspace(entries),))]

    def _ask_copies(self) -> list[Effect]:
        if self._placing is None:
            return []
        up = self._members.up()
        asks = self._placing.take_asks()
        return [AskCopies(node, up[node].connection, pids) for node, pids in asks.items() if node in up]

    # ---- proposals ----------------------------------------------------------------------------------------------

    def _propose(self, changes: tuple[Change, ...], cas: CasAsked | None = None, node: str = "") -> Propose:
        number = self._next_proposal
        self._next_proposal += 1
        self._proposals[number] = _Proposal(changes, cas, node)
        return Propose(number, changes)

    def _repeat_unsettled(self) -> list[Effect]:
        unsettled, self._unsettled = self._unsettled, []
        return [Propose(number, self._proposals[number].changes) for number in unsettled]

    def _stored(self, event: Stored) -> list[Effect]:
        before, self.map = self.map, self.map.updated(event.current)
        effects: list[Effect] = []
        answered: set[tuple[str, int]] = set()
        for number, outcomes in event.outcomes:
            if Outcome.UNKNOWN in outcomes:
                self._unsettled.append(number)
                continue
            proposal = self._proposals.pop(number)
            if proposal.node:
                self._members.settled(proposal.node)
            asked = proposal.cas
            if asked is not None and self._members.is_up(asked.node, asked.connection):
                effects.append(self._cas_result(asked))
                answered.update((asked.node, entry.pid) for entry in asked.entries)
        return [*effects, *self._spread(before, answered)]

    def _spread(self, before: ClusterMap, answered: set[tuple[str, int]]) -> list[Effect]:
        """Tell nodes and subscribers what is new since `before`; who got an entry as an answer is not told twice."""
        now = self.map
        nodes = [node for node in now.nodes.values() if before.nodes.get(node.id) != node]
        entries = [entry for entry in now.entries.values() if before.entries.get(entry.pid) != entry]
        keyspaces = [one for one in now.keyspaces.values() if before.keyspaces.get(one.name) != one]
        effects: list[Effect] = []
        for node, session in self._members.up().items():
            concerned = [
                entry
                for entry in entries
                if (node, entry.pid) not in answered and _names(node, entry, before.entries.get(entry.pid))
            ]
            if nodes or concerned:
                effects.append(Tell(node, session.connection, MapUpdate(now.map_ver, nodes, concerned)))
        if nodes or entries or keyspaces:
            effects.append(Publish(MapUpdate(now.map_ver, nodes, entries, keyspaces)))
        return effects

    # ---- leadership ---------------------------------------------------------------------------------------------

    def _cas_asked(self, event: CasAsked) -> list[Effect]:
        session = self._members.up().get(event.node)
        if session is None or session.connection != event.connection:
            return [_cas_failed(event, "conflict", f"node {event.node} is not admitted on this connection")]
        unknown = [entry.pid for entry in event.entries if entry.pid not in self.map.entries]
        if unknown:
            return [_cas_failed(event, "not_found", f"there is no partition {unknown[0]}")]
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
        effects.append(self._propose(tuple(changes), cas=event) if changes else self._cas_result(event))
        return effects

    def _cas_result(self, event: CasAsked) -> AnswerCas:
        standing = [self.map.entries[entry.pid] for entry in event.entries]
        return AnswerCas(event.node, event.connection, event.call, CasResult(standing))


def _cas_failed(event: CasAsked, code: str, detail: str) -> AnswerCas:
    return AnswerCas(event.node, event.connection, event.call, Failed(Fault(code, detail)))


def _names(node: str, entry: Entry, before: Entry | None) -> bool:
    return entry.holds(node) is not None or (before is not None and before.holds(node) is not None)
