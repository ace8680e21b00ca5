"""What control costs: the real controller among nodes that do what nodes do, with a map store that answers at once.

Guarantees: CPU is that of this process and of the product's code alone; the work of the map store's guards counts, its
disk or network does not. Leaves to others: what the map itself costs (`map_costs`).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cluster.cluster_map import ClusterMap
from cluster.control.controller import Controller
from cluster.control.events import (
    Asked,
    CasAsked,
    Connected,
    Disconnected,
    Effect,
    Event,
    Loaded,
    Propose,
    Publish,
    Reported,
    Stored,
    Tell,
    Ticked,
)
from cluster.control.map_store import Outcome
from cluster.control.messages import ClusterStatus
from cluster.control.settings import ControlSettings
from kvstore.codec import decode_frame, encode_frame
from kvstore.map_values import Entry
from scale.clusters import BOOT, held_by, process_of, report_of
from scale.map_costs import frame_of, wire_bytes


@dataclass(frozen=True)
class ControlCosts:
    """`*_s` are seconds of CPU: of a node that connects, of one report with its decoding, of the rounds of timers when
    nothing happens, of the first after a change of leaders, of the plan after a change of members, of the view that
    operators ask for, and of all that control does until others lead what a node led."""

    nodes: int
    partitions: int
    replicas: int
    connect_s: float
    report_bytes: int
    report_s: float
    quiet_tick_s: float
    tick_after_failover_s: float
    view_s: float
    failover_entries: int
    failover_asks: int
    failover_s: float
    failover_batched_s: float
    failover_told_bytes: int
    failover_told_nodes: int
    failover_published_bytes: int


class Stage:
    """A controller whose proposals are stored at once, and what it said."""

    def __init__(self, cluster: ClusterMap, replicas: int) -> None:
        settings = ControlSettings(partitions=len(cluster.entries), replicas=replicas)
        self.controller = Controller(settings)
        self.stored = cluster
        self.now_s = 0.0
        self.effects: list[Effect] = []
        self.connections = {node: number for number, node in enumerate(cluster.nodes, 1)}
        self.send(Loaded(cluster))

    def send(self, *events: Event) -> float:
        """Let events happen, and then all that was proposed meet the store in one transaction; the CPU that took."""
        began_s = time.process_time()
        self.effects = [effect for event in events for effect in self.controller.handle(event, self.now_s)]
        while proposals := [effect for effect in self.effects if isinstance(effect, Propose)]:
            rest = [effect for effect in self.effects if not isinstance(effect, Propose)]
            self.effects = [*rest, *self.controller.handle(self._store(proposals), self.now_s)]
        return time.process_time() - began_s

    def _store(self, proposals: Sequence[Propose]) -> Stored:
        changes = [change for proposal in proposals for change in proposal.changes]
        self.stored, landed = self.stored.changed(changes)
        outcomes = iter(Outcome.LANDED if lands else Outcome.CONFLICT for lands in landed)
        settled = tuple((one.proposal, tuple(next(outcomes) for _ in one.changes)) for one in proposals)
        return Stored(settled, self.stored.touched(changes))

    def calm(self, held: Mapping[str, Sequence[Entry]]) -> tuple[float, float]:
        """Connect every node and have it report; the CPU of one connection and of one report."""
        connect_s = sum(
            self.send(Connected(node, number, BOOT, process_of(node))) for node, number in self.connections.items()
        )
        report_s = 0.0
        for node, number in self.connections.items():
            encoded = encode_frame(frame_of(report_of(node, held[node])))
            began_s = time.process_time()
            body = decode_frame(encoded).messages[0].body
            decode_s = time.process_time() - began_s
            report_s += decode_s + self.send(Reported(node, number, body))
        return connect_s / len(self.connections), report_s / len(self.connections)

    def tick(self) -> float:
        """A second later; the CPU of one round of timers."""
        self.now_s += 1.0
        return self.send(Ticked())


def control_costs(cluster: ClusterMap, replicas: int) -> ControlCosts:
    """Measure all of it on a cluster in which all is well, until its first node dies."""
    held = held_by(cluster)
    stage = Stage(cluster, replicas)
    connect_s, report_s = stage.calm(held)
    for _ in range(4):
        stage.tick()
    quiet_s = min(stage.tick() for _ in range(3))
    view_s = stage.send(Asked(1, ClusterStatus()))
    dead = next(iter(cluster.nodes))
    asks = failover_asks(held[dead], dead, stage.connections)
    failover_s = stage.send(Disconnected(dead, stage.connections[dead]))
    told: list[Tell] = []
    published = 0
    for ask in asks:
        failover_s += stage.send(ask)
        told += [effect for effect in stage.effects if isinstance(effect, Tell)]
        published += sum(wire_bytes(effect.update) for effect in stage.effects if isinstance(effect, Publish))
    tick_s = stage.tick()
    another = next(reversed(cluster.nodes))
    standing = held_by(stage.stored)[another]
    batched_s = stage.send(
        Disconnected(another, stage.connections[another]), *failover_asks(standing, another, stage.connections)
    )
    return ControlCosts(
        *(len(cluster.nodes), len(cluster.entries), replicas, connect_s),
        report_bytes=wire_bytes(report_of(dead, held[dead])),
        report_s=report_s,
        quiet_tick_s=quiet_s,
        tick_after_failover_s=tick_s,
        view_s=view_s,
        failover_entries=sum(len(ask.entries) for ask in asks),
        failover_asks=len(asks),
        failover_s=failover_s,
        failover_batched_s=batched_s,
        failover_told_bytes=sum(wire_bytes(effect.update) for effect in told),
        failover_told_nodes=len({effect.node for effect in told}),
        failover_published_bytes=published,
    )


def failover_asks(held: Sequence[Entry], dead: str, connections: Mapping[str, int]) -> list[CasAsked]:
    """What the nodes ask for when `dead` dies, that holds these: each next copy in sync to lead, in one question a
    node."""
    wanted: dict[str, list[Entry]] = {}
    for entry in held:
        if entry.leader is not None and entry.leader.node == dead:
            stay = tuple(rid for rid in entry.in_sync if rid != entry.leader)
            if not stay:
                continue
            changed = msgspec.structs.replace(
                entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=stay[0], leader_boot=BOOT, in_sync=stay
            )
            wanted.setdefault(stay[0].node, []).append(changed)
    return [CasAsked(node, connections[node], 1, tuple(entries)) for node, entries in wanted.items()]
