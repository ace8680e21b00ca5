"""Members of the cluster and candidates: who is asked for, connected, admitted.

Guarantees: a node becomes a member, and a member's new address, boot, zone or weight counts, only once the map says so;
a process whose boot counter is below the map's, or is there as another process's, is never let in, for its disk is an
older image; everybody who asked gets exactly one answer, and of a process whose node was removed only once it knows or
is gone; what another gateway wrote of a node is followed, unless somebody asks for something else here. Leaves to
others: proposing to the store (`controller`), dialling (`server`), when such a process is told (`parting`). Sans-IO.

A session is `AWAY` (dialled, no connection), `JOINING` (connected, the map does not yet say what it should) or `UP`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum

from cluster.cluster_map import ClusterMap, PutNode
from cluster.control.admission import check_admission
from cluster.control.events import (
    Complain,
    Connected,
    Cut,
    Dial,
    DialFailed,
    DialProblem,
    Disconnected,
    Effect,
    HangUp,
    Note,
    Refuse,
    Reply,
    Reported,
    Retired,
    Tell,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import AdmitNode, Admitted
from cluster.control.parting import Parting, is_former
from cluster.control.repair import Host
from cluster.control.view import NodeStatus
from kvstore.errors import BadParameter, Conflict, KvError, Overloaded
from kvstore.map_values import Entry, NodeInfo, Standing
from kvstore.messages import CopyReport, MapUpdate

SILENCE_S_MAX = 5.0
COMPLAINTS_MAX = 256

_REFUSALS: Mapping[DialProblem, type[KvError]] = {
    DialProblem.UNREACHABLE: BadParameter,
    DialProblem.SILENT: Overloaded,
    DialProblem.REFUSED: Conflict,
}


_EARLY = "node {} is being removed: it may join again when that is over"
_FORMER = "node {} was removed from this cluster: it may join again with an empty data directory"


class Phase(Enum):
    AWAY = "away"
    JOINING = "joining"
    UP = "up"


@dataclass
class Session:
    """What is known of one node besides the map; `asks` says for each open question whether it was a member then,
    `known` is its record in the map as it was looked at last, `own` the zone and weight that it asked for itself,
    `parting` is there while its process is one that was removed."""

    address: str
    zone: str
    weight: float
    own: tuple[str, float]
    known: NodeInfo | None = None
    phase: Phase = Phase.AWAY
    connection: int = 0
    boot: int = 0
    process: bytes = b""
    is_new: bool = False
    heard_s: float = 0.0
    is_proposed: bool = False
    asks: dict[int, bool] = field(default_factory=dict)
    copies: Mapping[int, CopyReport] = field(default_factory=dict)
    lost: frozenset[tuple[int, bytes]] = frozenset()
    parting: Parting | None = None


class Membership:
    """The sessions of all nodes.

    Args:
        loopback_nodes: whether a node may be admitted at a loopback address.
    """

    def __init__(self, loopback_nodes: bool) -> None:
        self._loopback_nodes = loopback_nodes
        self._sessions: dict[str, Session] = {}
        self._complaints: dict[str, str] = {}

    def up(self) -> dict[str, Session]:
        """The sessions of the connected members, by node."""
        return {node: session for node, session in self._sessions.items() if session.phase is Phase.UP}

    def is_up(self, node: str, connection: int) -> bool:
        """Whether this is the accepted connection of a member."""
        session = self._sessions.get(node)
        return session is not None and session.phase is Phase.UP and session.connection == connection

    def reached(self) -> set[str]:
        """The nodes that are connected, admitted or not."""
        return {node for node, session in self._sessions.items() if session.phase is not Phase.AWAY}

    def status(self) -> dict[str, NodeStatus]:
        """Connections and last reports."""
        return {node: NodeStatus(one.phase is Phase.UP, one.copies, one.lost) for node, one in self._sessions.items()}

    def hosts(self) -> dict[str, Host]:
        """Where copies can be made."""
        return {node: Host(session.connection, session.lost) for node, session in self.up().items()}

    def boot_floor(self, node: str, cluster: ClusterMap) -> int:
        """The highest boot counter that is known of the node; 0 for none. A process that connected counts even while
        the map does not name it yet: what is proposed for it may land after the dial."""
        known, session = cluster.nodes.get(node), self._sessions.get(node)
        return max(known.boot if known is not None else 0, session.boot if session is not None else 0)

    def follow(self, cluster: ClusterMap) -> list[Effect]:
        """Dial every member that has no session yet, and take what the map newly says of the others."""
        effects: list[Effect] = []
        for info in cluster.nodes.values():
            session = self._sessions.get(info.id)
            if info.standing is Standing.REMOVED:
                effects += self._part_from(info)
            elif session is None:
                self._sessions[info.id] = _session_of(info)
                effects.append(Dial(info.id, info.address))
            elif session.known != info:
                session.known = info
                effects += self._take_news(session, info)
        return effects

    def _part_from(self, info: NodeInfo) -> list[Effect]:
        """It is no member any more; somebody may ask to admit it again."""
        session = self._sessions.get(info.id)
        if session is None or session.known == info or session.asks:
            return []
        del self._sessions[info.id]
        return [HangUp(info.id)]

    def _take_news(self, session: Session, info: NodeInfo) -> list[Effect]:
        if session.asks:
            return []
        has_moved = session.address != info.address
        session.address, session.zone, session.weight = info.address, info.zone, info.weight
        session.own = info.own_zone, info.own_weight
        if has_moved or session.phase is Phase.AWAY:
            session.phase = Phase.AWAY
            return [Dial(info.id, info.address)]
        if info.boot > session.boot:
            session.phase = Phase.AWAY
            return [Cut(info.id, session.connection, "a newer process of this node was admitted")]
        return []

    def proposals(self, cluster: ClusterMap) -> tuple[list[PutNode], list[Effect]]:
        """Compare sessions with the map: what has to be proposed, and what follows where nothing has."""
        changes: list[PutNode] = []
        effects: list[Effect] = []
        for node, session in self._sessions.items():
            if session.phase is Phase.AWAY:
                continue
            known = cluster.nodes.get(node)
            boot, process = session.boot, session.process
            if known is not None and is_former(known, boot, process, session.is_new):
                changes += _questions(session, known)
                continue
            session.parting = None
            is_removed = known is not None and known.standing is Standing.REMOVED
            wanted = _wanted(node, session, None if is_removed else known)
            if known == wanted:
                effects += self._admit(node, session, cluster)
            elif known is not None and (known.boot > boot or (known.boot == boot and known.process != process)):
                effects += self._refuse(node, session, known, _old_disk(node, session, known))
            elif known is not None and _comes_too_early(session, known, cluster):
                effects += self._refuse(node, session, known, _EARLY.format(node), Overloaded)
            elif not session.is_proposed:
                session.is_proposed = True
                changes.append(PutNode(wanted, known))
        return changes, effects

    def settled(self, change: PutNode, outcomes: Sequence[Outcome]) -> list[Effect]:
        """The proposal about a node has met the store, whichever way."""
        session = self._sessions.get(change.node.id)
        if session is not None:
            session.is_proposed = False
            if session.parting is not None:
                session.parting.settled(change, outcomes)
        return []

    def ask(self, ask: int, request: AdmitNode, cluster: ClusterMap) -> list[Effect]:
        """Somebody asks to admit a node."""
        try:
            check_admission(request, self._loopback_nodes)
        except BadParameter as error:
            return [Refuse(ask, error)]
        node, own = request.id, (request.zone, request.weight)
        session = self._sessions.get(node)
        if session is None:
            session = self._sessions[node] = Session(request.address, request.zone, request.weight, own)
        elif request.address != session.address:
            if session.phase is not Phase.AWAY:
                return [Refuse(ask, Conflict(f"id: node {node} is connected at {session.address}"))]
            if session.asks:
                return [Refuse(ask, Conflict(f"id: node {node} is being admitted at {session.address}"))]
        session.address = request.address
        if session.own != own:
            session.zone, session.weight = session.own = own
        is_dialled = bool(session.asks)
        known = cluster.nodes.get(node)
        session.asks[ask] = known is not None and known.standing is not Standing.REMOVED
        if session.phase is Phase.AWAY and not is_dialled:
            return [Dial(node, session.address)]
        return []

    def connected(self, event: Connected, now_s: float) -> list[Effect]:
        """A node said welcome."""
        session = self._sessions.get(event.node)
        if session is None:
            return [HangUp(event.node)]
        session.phase = Phase.JOINING
        session.connection, session.heard_s = event.connection, now_s
        session.boot, session.process, session.is_new = event.boot, event.process, event.is_new
        session.copies, session.lost = {}, frozenset()
        self._complaints.pop(event.node, None)
        session.parting = None
        return []

    def dial_failed(self, event: DialFailed, cluster: ClusterMap) -> list[Effect]:
        """An attempt failed: who asked for this address is told, and a member is sought where it was before."""
        node = event.node
        session = self._sessions.get(node)
        if session is None:
            return []
        effects = self._complain_once(node, event.detail) if event.problem is DialProblem.REFUSED else []
        if not session.asks:
            return effects
        refusal = _REFUSALS[event.problem](f"address: no handshake with a node at {session.address}: {event.detail}")
        effects += [Refuse(ask, refusal) for ask in session.asks]
        session.asks.clear()
        known = cluster.nodes.get(node)
        if known is None or known.standing is Standing.REMOVED:
            del self._sessions[node]
            return [*effects, HangUp(node)]
        session.zone, session.weight, session.own = known.zone, known.weight, (known.own_zone, known.own_weight)
        if session.address != known.address:
            session.address = known.address
            effects.append(Dial(node, known.address))
        return effects

    def _complain_once(self, node: str, reason: str) -> list[Effect]:
        """Say why a node refused, until it connects or says another reason; a node of another cluster asks again and
        again, and has no session in between."""
        if self._complaints.get(node) == reason:
            return []
        while len(self._complaints) >= COMPLAINTS_MAX:
            del self._complaints[next(iter(self._complaints))]
        self._complaints[node] = reason
        return [Complain("node_refused", {"node": node, "reason": reason})]

    def disconnected(self, event: Disconnected) -> list[Effect]:
        """A connection is gone; another one is dialled."""
        session = self._sessions.get(event.node)
        if session is None or session.connection != event.connection or session.phase is Phase.AWAY:
            return []
        if session.parting is not None:
            return self._part(event.node, session)
        session.phase = Phase.AWAY
        return [Complain("node_lost", {"node": event.node, "address": session.address})]

    def retired(self, event: Retired) -> list[Effect]:
        """A process whose node was removed knows that now, and ends."""
        session = self._sessions.get(event.node)
        if session is None or session.parting is None or session.connection != event.connection:
            return []
        return [Note("removed_node_told", {"node": event.node}), *self._part(event.node, session)]

    def _part(self, node: str, session: Session) -> list[Effect]:
        del self._sessions[node]
        refusal = Conflict(_FORMER.format(node))
        return [*(Refuse(ask, refusal) for ask in session.asks), HangUp(node)]

    def reported(self, event: Reported, now_s: float) -> None:
        """A node told how it is."""
        if self.is_up(event.node, event.connection):
            session = self._sessions[event.node]
            session.heard_s = now_s
            session.copies = {copy.pid: copy for copy in event.report.copies}
            session.lost = frozenset(event.report.lost)

    def tick(self, now_s: float) -> list[Effect]:
        """Cut connections on which nothing was heard for too long, and tell those that were removed."""
        effects: list[Effect] = []
        for session in self._sessions.values():
            if session.parting is not None:
                effects += session.parting.tell(session.connection, now_s)
        for node, session in self.up().items():
            if now_s - session.heard_s > SILENCE_S_MAX:
                session.heard_s = now_s
                effects.append(Cut(node, session.connection, f"no report for {SILENCE_S_MAX:g} s"))
        return effects

    def _admit(self, node: str, session: Session, cluster: ClusterMap) -> list[Effect]:
        effects: list[Effect] = []
        if session.phase is Phase.JOINING:
            session.phase = Phase.UP
            effects.append(Tell(node, session.connection, node_update(node, cluster)))
        effects += [Reply(ask, Admitted(created=not was_member)) for ask, was_member in session.asks.items()]
        session.asks.clear()
        return effects

    def _refuse(
        self, node: str, session: Session, known: NodeInfo, reason: str, error: type[KvError] = Conflict
    ) -> list[Effect]:
        effects: list[Effect] = [Complain("node_refused", {"node": node, "reason": reason}), HangUp(node)]
        effects += [Refuse(ask, error(reason)) for ask in session.asks]
        session.phase = Phase.AWAY
        session.address, session.zone, session.weight = known.address, known.zone, known.weight
        session.own = known.own_zone, known.own_weight
        session.asks.clear()
        return effects


def _wanted(node: str, session: Session, known: NodeInfo | None) -> NodeInfo:
    """What the map should say of it: what an operator changed stands until the node itself asks for something else."""
    standing = known.standing if known is not None else Standing.MEMBER
    return NodeInfo(
        *(node, session.address, session.zone, session.weight, session.boot, session.process),
        *(standing, *session.own),
    )


def _session_of(info: NodeInfo) -> Session:
    return Session(info.address, info.zone, info.weight, (info.own_zone, info.own_weight), info)


def _questions(session: Session, known: NodeInfo) -> list[PutNode]:
    """What the store is asked before the process is told that its node was removed; nothing, if it was."""
    if session.parting is not None and session.parting.question.node == known:
        return []
    session.parting = Parting(known)
    return [session.parting.question]


def _comes_too_early(session: Session, known: NodeInfo, cluster: ClusterMap) -> bool:
    """Whether a process on an empty disk comes in the place of one that is about to be a member no more: let in now, it
    would be told that this is what it is."""
    is_another = session.is_new and session.boot > known.boot
    if not is_another or known.standing not in (Standing.LEAVING, Standing.DEAD):
        return False
    return all(entry.holds(known.id) is None for entry in cluster.entries.values())


def _old_disk(node: str, session: Session, known: NodeInfo) -> str:
    return (
        f"the disk of node {node} is older than the one that was admitted: its start number is {session.boot}, "
        f"the cluster has seen {known.boot}{' of another process' if known.boot == session.boot else ''}"
    )


def node_update(node: str, cluster: ClusterMap) -> MapUpdate:
    """All that a node gets to know when it connects: the members, and the entries that name it."""
    entries = [entry for entry in cluster.entries.values() if entry.holds(node) is not None]
    return MapUpdate(cluster.map_ver, list(cluster.nodes.values()), entries, rebalance=cluster.rebalance)


def entries_by_node(entries: Iterable[Entry], before: ClusterMap) -> Mapping[str, Sequence[Entry]]:
    """Of these new entries those that each node gets to know: it has a copy by them, or had one by the ones before."""
    told: dict[str, list[Entry]] = {}
    for entry in entries:
        copies = [*entry.replicas, *entry.adding]
        former = before.entries.get(entry.pid)
        if former is not None:
            copies += [*former.replicas, *former.adding]
        for node in {rid.node: None for rid in copies}:
            told.setdefault(node, []).append(entry)
    return told
