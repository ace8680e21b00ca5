"""A real controller among nodes that make, fill, take in, pass on, let go and delete copies as they are told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from math import ceil
from typing import Any

import msgspec
from unit.cluster.control.world import World

from cluster.control.controller import Controller
from cluster.control.events import (
    AllocatePids,
    AskCopies,
    Asked,
    CasAsked,
    Compare,
    Compared,
    Connected,
    CopiesMade,
    Disconnected,
    DropOrphans,
    Effect,
    Loaded,
    LookAtStore,
    Looked,
    PidsAllocated,
    Propose,
    Refuse,
    Reply,
    Reported,
    Retired,
    RetireNode,
    Ticked,
)
from cluster.control.settings import ControlSettings
from kvstore.candidate import PASSED_ON
from kvstore.map_values import Entry, Rid
from kvstore.messages import CopyReport, NodeReport

TURN_S = 0.5
FILL_TURNS = 2
PARTITIONS = 12
SETTINGS = ControlSettings(initial_nodes=3, partitions=PARTITIONS, replace_after_s=20.0)


class Crashed(Exception):
    """Control ended in the middle of something."""


class MovingWorld(World):
    """Nodes that joined are connected until they are stopped. `crash_at(effect)` may end control before an effect;
    while `retires` is false nodes do not hear that they are members no more."""

    def __init__(
        self, *nodes: str, settings: ControlSettings = SETTINGS, zones: Mapping[str, str] | None = None
    ) -> None:
        self.connections: dict[str, int] = {}
        self.boots: Counter[str] = Counter()
        self.held_copies: dict[tuple[str, int], Rid] = {}
        self.vers: dict[Rid, int] = {}
        self.filled: Counter[Rid] = Counter()
        self.differing: set[str] = set()
        self.damaged: set[Rid] = set()
        self.began_anew: set[Rid] = set()
        self.ended: list[str] = []
        self.is_slow = False
        self.retires = True
        self.most_moves: Counter[str] = Counter()
        self.crash_at: Callable[[Effect], bool] = lambda effect: False
        super().__init__(settings, makes_copies=False)
        for node in nodes:
            self.add(node, (zones or {}).get(node, "default"))
        self.run()

    # ---- control ------------------------------------------------------------------------------------------------

    def send(self, event: Any) -> list[Effect]:
        start = len(self.effects)
        for effect in self.controller.handle(event, self.now_s):
            if self.crash_at(effect):
                raise Crashed
            self.effects.append(effect)
            self._react(effect)
        return self.effects[start:]

    def _react(self, effect: Effect) -> None:
        match effect:
            case Propose() if not self.store_is_held:
                self.store(effect)
            case Propose():
                self.held.append(effect)
            case AskCopies(node, connection, pids):
                rids = tuple((pid, self._make(node, pid)) for pid in pids)
                self.send(CopiesMade(node, connection, rids))
            case DropOrphans(node, _, entries):
                for entry in entries:
                    rid = self.held_copies.get((node, entry.pid))
                    assert rid not in (*entry.replicas, *entry.adding)
                    self.held_copies.pop((node, entry.pid), None)
            case Compare(node, _, move, pid, _, rid, epoch):
                self.began_anew.discard(rid)
                different = ("key k",) if rid.node in self.differing else ()
                self.send(Compared(move, pid, epoch, different))
            case RetireNode(node, connection) if self.retires:
                assert not any(entry.holds(node) for entry in self.stored.entries.values())
                self.ended.append(node)
                self.send(Retired(node, connection))
                self.stop(node)
            case AllocatePids(count, ask):
                self.next_pid += count
                self.send(PidsAllocated(self.next_pid - count, ask))
            case LookAtStore(ask):
                self.send(Loaded(self.stored))
                self.send(Looked(ask))

    def restart(self) -> None:
        """Another control goes on with what stands in the store."""
        self.controller = Controller(self.settings)
        self.send(Loaded(self.stored))
        for node in self.connections:
            self._connect(node)

    def ask_for(self, request: Any) -> Any:
        """What an operator is answered, or the kind of refusal."""
        self.last_ask += 1
        for effect in self.send(Asked(self.last_ask, request)):
            if isinstance(effect, Reply) and effect.ask == self.last_ask:
                return effect.answer
            if isinstance(effect, Refuse) and effect.ask == self.last_ask:
                return effect.error
        raise AssertionError("no answer")

    # ---- nodes --------------------------------------------------------------------------------------------------

    def add(self, node: str, zone: str = "default", weight: float = 1.0) -> None:
        """A node starts and asks to be admitted."""
        self.ask_admission(node, 7000 + int(node[1:]), zone, weight)
        self.boots[node] += 1
        self._connect(node)

    def _connect(self, node: str, is_new: bool = False) -> None:
        self.last_connection += 1
        self.connections[node] = self.last_connection
        is_new = is_new or self.boots[node] == 1
        self.send(Connected(node, self.last_connection, self.boots[node], node.encode(), is_new))

    def stop(self, node: str) -> None:
        self.send(Disconnected(node, self.connections.pop(node)))

    def start(self, node: str) -> None:
        """The process of a member starts again on its disk."""
        self.boots[node] += 1
        self._connect(node)

    def start_new(self, node: str) -> None:
        """A process of that name starts on an empty disk; it counts on from the starts that are known of it."""
        self.boots[node] += 1
        self.held_copies = {one: rid for one, rid in self.held_copies.items() if one[0] != node}
        self._connect(node, is_new=True)

    def damage(self, rid: Rid) -> None:
        """A copy is found damaged when its node starts: what the node knew of it is lost, and its rows stay."""
        self.damaged.add(rid)
        self.vers[rid] = 0

    def _is_there(self, rid: Rid) -> bool:
        return rid.node in self.connections and rid not in self.damaged

    def _make(self, node: str, pid: int) -> Rid:
        if (node, pid) not in self.held_copies:
            number = len(self.vers) + 1
            rid = Rid(node, f"{node}/{pid}/{number}".encode().ljust(16, b"."))
            self.held_copies[node, pid] = rid
            self.vers[rid] = 0
        return self.held_copies[node, pid]

    def turn(self) -> None:
        """Half a second goes by: leaders act, nodes report, control looks."""
        self.now_s += TURN_S
        for pid in list(self.stored.entries):
            self._lead(pid)
        for node, connection in list(self.connections.items()):
            lost = [(pid, rid.store) for (_, pid), rid in self.held_copies.items() if rid in self.damaged]
            self.send(Reported(node, connection, NodeReport(self._reports(node), lost)))
        self.send(Ticked())
        filling = [entry for entry in self.stored.entries.values() if entry.moving in entry.adding and entry.moving]
        self.most_moves |= Counter(entry.moving.node for entry in filling if entry.moving)

    def _reports(self, node: str) -> list[CopyReport]:
        reports = []
        for (holder, pid), rid in self.held_copies.items():
            if holder != node:
                continue
            entry = self.stored.entries.get(pid)
            if entry is None:
                continue
            if entry.holds(node) == rid and rid not in self.damaged:
                self.vers[rid] = entry.ver
            leads = entry.leader == rid
            is_old = self.is_whole(rid, entry)
            keys = 10 if is_old else 10 * self.filled[rid] // FILL_TURNS
            end = 5 if is_old else 0
            reports.append(
                CopyReport(pid, entry.epoch, leads, keys, 10 * keys, self.vers[rid], entry.epoch, end, is_old)
            )
        return reports

    def is_whole(self, rid: Rid, entry: Entry) -> bool:
        return rid in entry.in_sync or self.filled[rid] >= FILL_TURNS

    def _lead(self, pid: int) -> None:
        entry = self.stored.entries[pid]
        if entry.leader is None:
            first = next(filter(self._is_there, entry.in_sync), None)
            if first is not None:
                self._ask(first.node, entry, epoch=entry.epoch + 1, leader=first, leader_boot=self.boots[first.node])
            return
        leader = entry.leader
        if not self._is_there(leader) or entry.leader_boot not in (PASSED_ON, self.boots[leader.node]):
            stay = tuple(rid for rid in entry.in_sync if rid != leader or self._is_there(leader))
            heir = leader if self._is_there(leader) else next(filter(self._is_there, stay), None)
            if heir is not None:
                self._ask(
                    heir.node,
                    entry,
                    epoch=entry.epoch + 1,
                    leader=heir,
                    leader_boot=self.boots[heir.node],
                    in_sync=stay,
                )
            return
        if entry.leader_boot == PASSED_ON:
            self._ask(leader.node, entry, epoch=entry.epoch + 1, leader_boot=self.boots[leader.node])
            return
        first = entry.replicas[0]
        if first != leader and first in entry.in_sync and self._is_there(first):
            self._ask(leader.node, entry, epoch=entry.epoch + 1, leader=first, leader_boot=PASSED_ON)
            return
        self._keep_in_sync(entry, leader)

    def _keep_in_sync(self, entry: Entry, leader: Rid) -> None:
        stay = list(filter(self._is_there, entry.in_sync))
        staying = {rid for rid in (*entry.replicas, *entry.adding) if rid not in entry.removing}
        if len(stay) == len(entry.in_sync) and entry.removing and staying <= set(entry.in_sync):
            stay = [rid for rid in stay if rid == leader or rid not in entry.removing]
        for rid in (*entry.replicas, *entry.adding):
            if rid not in entry.in_sync and self._is_there(rid):
                self.filled[rid] += not self.is_slow
                if self.is_whole(rid, entry) and entry.admits(rid) and rid not in self.began_anew:
                    stay.append(rid)
        placed = tuple(rid for rid in entry.adding if rid in stay)
        changes = {
            "in_sync": tuple(stay),
            "replicas": (*entry.replicas, *placed),
            "adding": tuple(rid for rid in entry.adding if rid not in placed),
        }
        if changes["in_sync"] != entry.in_sync:
            self._ask(leader.node, entry, **changes)

    def _ask(self, node: str, entry: Entry, **changes: Any) -> None:
        asked = msgspec.structs.replace(entry, ver=entry.ver + 1, **changes)
        self.send(CasAsked(node, self.connections[node], 1, (asked,)))

    # ---- time ---------------------------------------------------------------------------------------------------

    @property
    def is_at_rest(self) -> bool:
        """Whether nothing moves, and everything is placed, led, in sync and as many times there as it should be."""
        nodes = sum(node.may_host for node in self.stored.nodes.values())
        copies = {name: one.replicas or nodes for name, one in self.stored.keyspaces.items()}
        living = self.stored.living
        return (
            bool(self.stored.entries)
            and not self.stored.active_moves
            and all(pid in living for one in self.stored.keyspaces.values() for pid in one.pids)
            and all(
                entry.leader is not None
                and len(entry.replicas) == copies[entry.keyspace]
                and set(entry.in_sync) == set(entry.replicas)
                and not entry.adding
                and not entry.removing
                for entry in living.values()
            )
        )

    def run(self, turns: int = 400) -> None:
        """Until all has been at rest for ten seconds."""
        quiet = 0
        for _ in range(turns):
            self.turn()
            quiet = quiet + 1 if self.is_at_rest else 0
            if quiet > 20:
                return
        raise AssertionError(f"no rest after {turns} turns: {self.stored.active_moves}")

    def until(self, holds: Callable[[], bool], turns: int = 400) -> None:
        for _ in range(turns):
            if holds():
                return
            self.turn()
        raise AssertionError("it did not come true")

    def copies(self) -> Counter[str]:
        return Counter(rid.node for entry in self.stored.entries.values() for rid in entry.replicas)

    def leads(self) -> Counter[str]:
        return Counter(entry.leader.node for entry in self.stored.entries.values() if entry.leader is not None)

    def check_even(self, nodes: int) -> None:
        """Nobody holds or leads more than 5 % above its share, and nobody holds what the map does not name."""
        share = self.settings.partitions / nodes
        assert max(self.copies().values()) <= ceil(1.05 * share * self.settings.replicas)
        assert max(self.leads().values()) <= ceil(1.05 * share)
        named = {(rid.node, entry.pid) for entry in self.stored.entries.values() for rid in entry.replicas}
        assert set(self.held_copies) - {one for one in self.held_copies if one[0] not in self.connections} == named

    def notes(self, what: str) -> list[Any]:
        return [one for one in self.effects if getattr(one, "what", "") == what]
