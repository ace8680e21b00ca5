"""Members of the cluster and candidates: who is asked for, connected, admitted.

Guarantees: a node becomes a member, and a member's new address, boot, zone or weight counts, only once the map says so;
a process whose boot counter is below the map's (its disk is an older image) is never let in; everybody who asked gets
exactly one answer. Leaves to others: proposing to the store (`controller`), dialling (`server`). Sans-IO.

A session is `AWAY` (dialled, no connection), `JOINING` (connected, the map does not yet say what it should) or `UP`.
"""

from __future__ import annotations

from collections.abc import Mapping
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
    Refuse,
    Reply,
    Reported,
    Tell,
)
from cluster.control.messages import AdmitNode, Admitted
from cluster.control.view import NodeStatus
from kvstore.errors import BadParameter, Conflict, KvError, Overloaded
from kvstore.messages import CopyReport, MapUpdate, NodeInfo

SILENCE_S_MAX = 5.0

_REFUSALS: Mapping[DialProblem, type[KvError]] = {
    DialProblem.UNREACHABLE: BadParameter,
    DialProblem.SILENT: Overloaded,
    DialProblem.REFUSED: Conflict,
}


class Phase(Enum):
    AWAY = "away"
    JOINING = "joining"
    UP = "up"


@dataclass
class Session:
    """What is known of one node besides the map; `asks` says for each open question whether it was a member then."""

    address: str
    zone: str
    weight: float
    phase: Phase = Phase.AWAY
    connection: int = 0
    boot: int = 0
    heard_s: float = 0.0
    is_proposed: bool = False
    asks: dict[int, bool] = field(default_factory=dict)
    copies: Mapping[int, CopyReport] = field(default_factory=dict)
    complaint: str = ""


class Membership:
    """The sessions of all nodes.

    Args:
        loopback_nodes: whether a node may be admitted at a loopback address.
    """

    def __init__(self, loopback_nodes: bool) -> None:
        self._loopback_nodes = loopback_nodes
        self._sessions: dict[str, Session] = {}

    def up(self) -> dict[str, Session]:
        """The sessions of the connected members, by node."""
        return {node: session for node, session in self._sessions.items() if session.phase is Phase.UP}

    def is_up(self, node: str, connection: int) -> bool:
        """Whether this is the accepted connection of a member."""
        session = self._sessions.get(node)
        return session is not None and session.phase is Phase.UP and session.connection == connection

    def status(self) -> dict[str, NodeStatus]:
        """Connections and last reports."""
        return {node: NodeStatus(one.phase is Phase.UP, one.copies) for node, one in self._sessions.items()}

    def follow(self, cluster: ClusterMap) -> list[Effect]:
        """Dial every member that has no session yet."""
        effects: list[Effect] = []
        for info in cluster.nodes.values():
            if info.id not in self._sessions:
                self._sessions[info.id] = Session(info.address, info.zone, info.weight)
                effects.append(Dial(info.id, info.address))
        return effects

    def proposals(self, cluster: ClusterMap) -> tuple[list[PutNode], list[Effect]]:
        """Compare sessions with the map: what has to be proposed, and what follows where nothing has."""
        changes: list[PutNode] = []
        effects: list[Effect] = []
        for node, session in self._sessions.items():
            if session.phase is Phase.AWAY:
                continue
            known = cluster.nodes.get(node)
            wanted = NodeInfo(node, session.address, session.zone, session.weight, session.boot)
            if known == wanted:
                effects += self._admit(node, session, cluster)
            elif known is not None and known.boot > session.boot:
                effects += self._refuse_old_disk(node, session, known)
            elif not session.is_proposed:
                session.is_proposed = True
                changes.append(PutNode(wanted, known))
        return changes, effects

    def settled(self, node: str) -> None:
        """The proposal about this node has met the store, whichever way."""
        session = self._sessions.get(node)
        if session is not None:
            session.is_proposed = False

    def ask(self, ask: int, request: AdmitNode, cluster: ClusterMap) -> list[Effect]:
        """Somebody asks to admit a node."""
        try:
            check_admission(request, self._loopback_nodes)
        except BadParameter as error:
            return [Refuse(ask, error)]
        node = request.id
        session = self._sessions.get(node)
        if session is None:
            session = self._sessions[node] = Session(request.address, request.zone, request.weight)
        elif request.address != session.address:
            if session.phase is not Phase.AWAY:
                return [Refuse(ask, Conflict(f"id: node {node} is connected at {session.address}"))]
            if session.asks:
                return [Refuse(ask, Conflict(f"id: node {node} is being admitted at {session.address}"))]
        session.address, session.zone, session.weight = request.address, request.zone, request.weight
        is_dialled = bool(session.asks)
        session.asks[ask] = node in cluster.nodes
        if session.phase is Phase.AWAY and not is_dialled:
            return [Dial(node, session.address)]
        return []

    def connected(self, event: Connected, now_s: float) -> list[Effect]:
        """A node said welcome."""
        session = self._sessions.get(event.node)
        if session is None:
            return [HangUp(event.node)]
        session.phase = Phase.JOINING
        session.connection, session.boot, session.heard_s = event.connection, event.boot, now_s
        session.copies, session.complaint = {}, ""
        return []

    def dial_failed(self, event: DialFailed, cluster: ClusterMap) -> list[Effect]:
        """An attempt failed: who asked for this address is told, and a member is sought where it was before."""
        node = event.node
        session = self._sessions.get(node)
        if session is None:
            return []
        if not session.asks:
            if event.problem is DialProblem.REFUSED and session.complaint != event.detail:
                session.complaint = event.detail
                return [Complain("node_refused", {"node": node, "reason": event.detail})]
            return []
        refusal = _REFUSALS[event.problem](f"address: no handshake with a node at {session.address}: {event.detail}")
        effects: list[Effect] = [Refuse(ask, refusal) for ask in session.asks]
        session.asks.clear()
        known = cluster.nodes.get(node)
        if known is None:
            del self._sessions[node]
            return [*effects, HangUp(node)]
        session.zone, session.weight = known.zone, known.weight
        if session.address != known.address:
            session.address = known.address
            effects.append(Dial(node, known.address))
        return effects

    def disconnected(self, event: Disconnected) -> list[Effect]:
        """A connection is gone; another one is dialled."""
        session = self._sessions.get(event.node)
        if session is None or session.connection != event.connection or session.phase is Phase.AWAY:
            return []
        session.phase = Phase.AWAY
        return [Complain("node_lost", {"node": event.node, "address": session.address})]

    def reported(self, event: Reported, now_s: float) -> None:
        """A node told how it is."""
        if self.is_up(event.node, event.connection):
            session = self._sessions[event.node]
            session.heard_s = now_s
            session.copies = {copy.pid: copy for copy in event.report.copies}

    def tick(self, now_s: float) -> list[Effect]:
        """Cut connections on which nothing was heard for too long."""
        effects: list[Effect] = []
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

    def _refuse_old_disk(self, node: str, session: Session, known: NodeInfo) -> list[Effect]:
        reason = (
            f"the disk of node {node} is older than the one that was admitted: its start number is {session.boot}, "
            f"the cluster has seen {known.boot}"
        )
        effects: list[Effect] = [Complain("node_refused", {"node": node, "reason": reason}), HangUp(node)]
        effects += [Refuse(ask, Conflict(reason)) for ask in session.asks]
        session.phase = Phase.AWAY
        session.address, session.zone, session.weight = known.address, known.zone, known.weight
        session.asks.clear()
        return effects


def node_update(node: str, cluster: ClusterMap) -> MapUpdate:
    """All that a node gets to know when it connects: the members, and the entries that name it."""
    entries = [entry for entry in cluster.entries.values() if entry.holds(node) is not None]
    return MapUpdate(cluster.map_ver, list(cluster.nodes.values()), entries)
