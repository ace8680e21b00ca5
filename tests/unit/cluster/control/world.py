"""A controller among scripted nodes and a map store whose answers a test may hold back."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

import msgspec

from cluster.cluster_map import ClusterMap
from cluster.control.controller import Controller
from cluster.control.events import (
    AllocatePids,
    AskCopies,
    Asked,
    Connected,
    CopiesMade,
    Effect,
    Event,
    Loaded,
    LookAtStore,
    Looked,
    PidsAllocated,
    Propose,
    Refuse,
    Reply,
    Reported,
    Stored,
    Tell,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import AdmitNode, Request
from cluster.control.settings import ControlSettings
from kvstore.map_values import Entry, Rid
from kvstore.messages import CopyReport, MapUpdate, NodeReport

T = TypeVar("T")


@dataclass
class World:
    """Answers the store's part by itself unless `store_is_held`; records every effect."""

    settings: ControlSettings = field(default_factory=lambda: ControlSettings(partitions=8))
    stored: ClusterMap = field(default_factory=lambda: ClusterMap.empty(b"cluster1"))
    now_s: float = 0.0
    store_is_held: bool = False
    makes_copies: bool = True
    effects: list[Effect] = field(default_factory=list)
    held: list[Propose] = field(default_factory=list)
    last_connection: int = 0
    last_ask: int = 0
    next_pid: int = 1

    def __post_init__(self) -> None:
        self.controller = Controller(self.settings)
        self.send(Loaded(self.stored))

    def send(self, event: Event) -> list[Effect]:
        """Let an event happen, and all that follows from it by itself."""
        start = len(self.effects)
        for effect in self.controller.handle(event, self.now_s):
            self.effects.append(effect)
            match effect:
                case AllocatePids(count, ask):
                    self.next_pid += count
                    self.send(PidsAllocated(self.next_pid - count, ask))
                case LookAtStore(ask):
                    self.send(Loaded(self.stored))
                    self.send(Looked(ask))
                case Propose() if self.store_is_held:
                    self.held.append(effect)
                case Propose():
                    self.store(effect)
                case AskCopies(node, connection, pids) if self.makes_copies:
                    rids = tuple((pid, rid_of(node, pid)) for pid in pids)
                    self.send(CopiesMade(node, connection, rids))
        return self.effects[start:]

    def store(self, *proposals: Propose, outcome: Outcome | None = None) -> list[Effect]:
        """Let proposals meet the store, in one transaction; `outcome` hides what came of them."""
        changes = [change for proposal in proposals for change in proposal.changes]
        self.stored, landed = self.stored.changed(changes)
        known = iter(Outcome.LANDED if lands else Outcome.CONFLICT for lands in landed)
        outcomes = tuple((one.proposal, tuple(outcome or next(known) for _ in one.changes)) for one in proposals)
        current = self.stored.touched(changes) if outcome is None else MapUpdate(0, [], [])
        return self.send(Stored(outcomes, current))

    def release(self) -> list[Effect]:
        """Let everything that was held back meet the store at once."""
        self.store_is_held = False
        held, self.held = self.held, []
        return self.store(*held)

    def ask_admission(self, node: str, port: int = 7000, zone: str = "default", weight: float = 1.0) -> int:
        self.last_ask += 1
        self.send(Asked(self.last_ask, AdmitNode(node, f"127.0.0.1:{port}", zone, weight)))
        return self.last_ask

    def connect(self, node: str, boot: int = 1, process: bytes = b"") -> int:
        self.last_connection += 1
        self.send(Connected(node, self.last_connection, boot, process))
        return self.last_connection

    def join(self, *nodes: str) -> dict[str, int]:
        """Admit nodes one after the other; returns their connections."""
        connections = {}
        for port, node in enumerate(nodes, 7001):
            self.ask_admission(node, port)
            connections[node] = self.connect(node)
        return connections

    def report(self, node: str, connection: int, serving: bool = True, lost: Sequence[tuple[int, bytes]] = ()) -> None:
        entries = [entry for entry in self.stored.entries.values() if entry.holds(node)]
        copies = [
            CopyReport(one.pid, one.epoch, serving and one.leader is not None and one.leader.node == node, 1, 10)
            for one in entries
        ]
        self.send(Reported(node, connection, NodeReport(copies, list(lost))))

    def ask(self, request: Request) -> int:
        self.last_ask += 1
        self.send(Asked(self.last_ask, request))
        return self.last_ask

    def answer(self, ask: int) -> Any:
        """What was answered to that question, the refusal where it was one, None while nothing was."""
        for effect in self.effects:
            if isinstance(effect, Reply) and effect.ask == ask:
                return effect.answer
            if isinstance(effect, Refuse) and effect.ask == ask:
                return effect.error
        return None

    def told(self, node: str) -> list[MapUpdate]:
        return [effect.update for effect in self.effects if isinstance(effect, Tell) and effect.node == node]


def of_kind(effects: list[Effect], kind: type[T]) -> list[T]:
    return [effect for effect in effects if isinstance(effect, kind)]


def rid_of(node: str, pid: int) -> Rid:
    return Rid(node, f"{node}/{pid}".encode().ljust(16, b"."))


def leading(entry: Entry, node: str, boot: int = 1) -> Entry:
    """What `node` asks for to lead the partition of `entry`."""
    return msgspec.structs.replace(
        entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=entry.holds(node), leader_boot=boot
    )
