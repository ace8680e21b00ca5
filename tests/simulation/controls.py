"""Two real controllers on one map store in the simulation, both of which may plan, and a scenario around them.

What they say and hear is late, and their compare-and-sets may land late, unheard or never. Nodes that stay away are
replaced, and delete what they still hold when they are back.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from simulation.control import CONTROL, SimControl, run_now
from simulation.network import Network
from simulation.scenario import COPIES, NODES, PARTITIONS, Scenario
from simulation.sim_node import SimNode
from simulation.violation import Violation
from simulation.world import World

from cluster.cluster_map import Change, PutKeyspace, PutNode
from cluster.control.controller import Controller
from cluster.control.events import (
    AnswerCas,
    AskCopies,
    Asked,
    CasAsked,
    Compare,
    Compared,
    Connected,
    CopiesFailed,
    CopiesMade,
    Cut,
    Disconnected,
    DropOrphans,
    Effect,
    Event,
    HangUp,
    Loaded,
    LookAtStore,
    Looked,
    PlannerChosen,
    Propose,
    Reported,
    Retired,
    RetireNode,
    Stored,
    Tell,
    Ticked,
)
from cluster.control.messages import AdmitNode, Request
from cluster.control.node_link import MOVE_NAME_BYTES
from cluster.control.settings import ControlSettings
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid, Standing
from kvstore.messages import CasResult, Verified, Verify
from kvstore.verification import CLEAN, DIFFERENT, RUNNING

CONTROLS = (CONTROL, "control2")
LOOK_MS = 250
PLANNER_MS = 1000
COPIES_TIMEOUT_MS = 5000
COMPARE_TIMEOUT_MS = 20_000
COMPARE_POLL_MS = 100
LAST_WORD_MS = 200
SETTINGS = ControlSettings(replicas=COPIES, replace_after_s=4.0)


class OneControl:
    """A controller, its connections, and its view of the map store. Args: name: by which the network knows it."""

    def __init__(self, controls: SimControls, name: str) -> None:
        self.name = name
        self.links: dict[str, tuple[int, int]] = {}
        self._controls = controls
        self._world = controls.world
        self._controller = Controller(SETTINGS)
        self._connections = 0

    def start(self) -> None:
        self._world.at(self._world.rng.uniform(0, LOOK_MS), self._look)
        self._world.at(self._world.rng.uniform(0, PLANNER_MS), self._choose_planner)

    def emit(self, event: Event) -> None:
        for effect in self._controller.handle(event, self._world.now_ms / 1000):
            self._perform(effect)

    def _look(self) -> None:
        self.emit(Loaded(self._controls.map))
        for name, node in self._controls.nodes.items():
            self._keep_link(name, node)
        for name, (number, _) in list(self.links.items()):
            partitions = self._controls.nodes[name].partitions
            if partitions is not None:
                self.emit(Reported(name, number, partitions.report()))
        self.emit(Ticked())
        self._world.at(LOOK_MS, self._look)

    def _keep_link(self, name: str, node: SimNode) -> None:
        """A link is lost with its process or with either direction, and dialled again at the next look."""
        link = self.links.get(name)
        partitions = node.partitions
        boot = 0 if partitions is None or not self._controls.can_talk(self.name, name) else partitions.state.boot
        if link is not None and link[1] != boot:
            self._lose(name)
        if boot and name not in self.links:
            self._connections += 1
            self.links[name] = self._connections, boot
            if self._is_removed(name):
                self.emit(Asked(0, AdmitNode(name, "127.0.0.1:1")))
            self.emit(Connected(name, self._connections, boot, b"", node.is_new))

    def _is_removed(self, name: str) -> bool:
        return self._controls.map.nodes[name].standing is Standing.REMOVED

    def _lose(self, name: str) -> None:
        number, _ = self.links.pop(name)
        self.emit(Disconnected(name, number))

    def _choose_planner(self) -> None:
        """The lease that chooses one is only a hint: two may hold it for a while, or none."""
        self.emit(PlannerChosen(self._world.rng.random() < 0.7 or not self._controls.is_faulty))
        self._world.at(PLANNER_MS, self._choose_planner)

    # ---- effects ------------------------------------------------------------------------------------------------

    def _perform(self, effect: Effect) -> None:
        match effect:
            case Propose():
                self._later(lambda: self._apply(effect))
            case LookAtStore(ask):
                self._later(lambda: self._look_for(ask))
            case Tell(node, number, update):
                self._to_node(node, number, lambda: self._controls.tell(node, list(update.entries)))
            case AnswerCas(node, number, _, CasResult(entries)):
                self._to_node(node, number, lambda: self._controls.tell(node, entries))
            case AskCopies(node, number, pids):
                self._to_node(node, number, lambda: self._make_copies(node, number, pids))
                failed = CopiesFailed(node, number, pids, "no answer in time")
                self._world.at(COPIES_TIMEOUT_MS, lambda: self.emit(failed))
            case Compare(_, _, move, pid, _, _, epoch):
                self._compare(effect)
                failed_to = Compared(move, pid, epoch, failed="no answer in time")
                self._world.at(COMPARE_TIMEOUT_MS, lambda: self.emit(failed_to))
            case RetireNode(node, number):
                told = Retired(node, number)
                noted = lambda: self._from_node(node, number, told)  # noqa: E731
                self._to_node(node, number, lambda: self._controls.retire(node, noted))
            case DropOrphans(node, number, entries):
                self._to_node(node, number, lambda: self._controls.drop(node, list(entries)))
            case HangUp(node) if node in self.links and self._is_removed(node):
                # Its link is made anew at the next look: a node that no control talks to asks again.
                self.links.pop(node)
            case Cut(node, number) if self.links.get(node, (0, 0))[0] == number:
                self._lose(node)

    def _look_for(self, ask: int) -> None:
        self.emit(Loaded(self._controls.map))
        self.emit(Looked(ask))

    def _apply(self, proposal: Propose) -> None:
        applied = self._controls.apply(list(proposal.changes))
        stored = Stored(((proposal.proposal, applied.outcomes),), applied.current)
        self._later(lambda: self.emit(stored))

    def _make_copies(self, node: str, number: int, pids: tuple[int, ...]) -> None:
        def made(pid: int) -> Callable[[Rid], None]:
            return lambda rid: self._from_node(node, number, CopiesMade(node, number, ((pid, rid),)))

        for pid in pids:
            self._controls.nodes[node].create_copy(pid, made(pid))

    def _compare(self, asked: Compare) -> None:
        """Ask the leader until it has an outcome."""
        question = Verify(asked.pid, asked.ver, asked.move.to_bytes(MOVE_NAME_BYTES, "big"), [asked.rid])
        leader = self._controls.nodes[asked.node]
        ask = lambda: leader.verify(question, lambda answer: self._compared(asked, answer))  # noqa: E731
        self._to_node(asked.node, asked.connection, ask)

    def _compared(self, asked: Compare, answer: Any) -> None:
        if isinstance(answer, Verified) and answer.state == RUNNING:
            self._world.at(COMPARE_POLL_MS, lambda: self._compare(asked))
            return
        is_clean = isinstance(answer, Verified) and (answer.state, answer.epoch) == (CLEAN, asked.epoch)
        is_different = isinstance(answer, Verified) and answer.state == DIFFERENT
        compared = Compared(asked.move, asked.pid, asked.epoch, ("keys",) if is_different else ())
        failed = "" if is_clean or is_different else "no verdict"
        self._from_node(asked.node, asked.connection, replace(compared, failed=failed))

    def _to_node(self, node: str, number: int, action: Callable[[], None]) -> None:
        self._later(lambda: action() if self._stands(node, number) else None)

    def _from_node(self, node: str, number: int, event: Event) -> None:
        self._later(lambda: self.emit(event) if self._stands(node, number) else None)

    def ask(self, node: str, entry: Entry) -> None:
        """A node's compare-and-set is on its way to this control."""
        number, _ = self.links[node]
        self._from_node(node, number, CasAsked(node, number, 1, (entry,)))

    def _stands(self, node: str, number: int) -> bool:
        return self.links.get(node, (0, 0))[0] == number and self._controls.can_talk(self.name, node)

    def _later(self, action: Callable[[], None]) -> None:
        self._world.at(self._controls.delay_ms(), action)


class SimControls(SimControl):
    """Both controls and the map store that they share."""

    def __init__(self, world: World, network: Network, tell: Callable[[str, list[Entry]], None]) -> None:
        super().__init__(world, network, tell)
        self.world = world
        self.nodes: dict[str, SimNode] = {}
        self.dropped = 0
        self._asks = 0
        self.given_up: set[Rid] = set()
        self.on_retired: Callable[[str], None] = lambda node: None
        self._both = [OneControl(self, name) for name in CONTROLS]

    def begin(self, nodes: dict[str, SimNode]) -> None:
        """The partitions are placed: the controls may start."""
        self.nodes = nodes
        pids = tuple(range(1, PARTITIONS + 1))
        keyspace = KeyspaceInfo("default", "consistent", pids, COPIES, 1)
        members = [NodeInfo(name, "127.0.0.1:1", "default", 1.0, 0) for name in nodes]
        run_now(self.store.apply([PutKeyspace(keyspace, None), *(PutNode(member, None) for member in members)]))
        for one in self._both:
            one.start()

    def request(self, request: Request) -> None:
        """Somebody asks one of them for something; the answer is of no interest."""
        self._asks += 1
        self.world.rng.choice(self._both).emit(Asked(self._asks, request))

    def retire(self, node: str, noted: Callable[[], None]) -> None:
        """A node hears that it is a member no more: it notes that, says so, and ends; later it begins anew."""
        named = [pid for pid, entry in self.map.entries.items() if entry.holds(node) is not None]
        if named:
            raise Violation(f"{node} is told that it is no member, and the map names its copies of {named}")

        def both() -> None:
            noted()
            self.world.at(LAST_WORD_MS, lambda: self.on_retired(node))

        self.nodes[node].retire(both)

    def can_talk(self, control: str, node: str) -> bool:
        return self._network.can_reach(control, node) and self._network.can_reach(node, control)

    def delay_ms(self) -> float:
        return self._delay_ms()

    def tell(self, node: str, entries: list[Entry]) -> None:
        self._deliver(node, entries)

    def push(self, node: str) -> None:
        """Each control tells all there is when it connects."""

    def ask(self, node: str, entry: Entry) -> None:
        """A node asks one of those that it is connected to."""
        linked = [one for one in self._both if node in one.links and self.can_talk(one.name, node)]
        if linked:
            self.asked += 1
            self.world.rng.choice(linked).ask(node, entry)

    def apply(self, changes: list[Change]) -> Any:
        """Changes meet the store, or not."""
        before = self.map
        applied = run_now(self.store.apply(changes))
        for pid, entry in self.map.entries.items():
            stood = before.entries[pid]
            if stood.leader is not None and entry.leader is not None:
                self.failovers += stood.leader.node != entry.leader.node
            joined = {rid for rid in entry.in_sync if rid not in stood.in_sync and rid in stood.adding}
            if stood.moving in joined and stood.verified_epoch != entry.epoch:
                raise Violation(f"partition {pid} took in a copy that was not compared in its epoch: {stood}, {entry}")
            named = {*stood.replicas, *stood.adding} - {*entry.replicas, *entry.adding}
            self.given_up |= named
            is_forced = entry.unclean_count > stood.unclean_count
            if named & set(stood.in_sync) and not is_forced:
                raise Violation(f"I11: partition {pid} lost {named} of its in-sync set {stood.in_sync}")
        return applied

    def drop(self, name: str, entries: list[Entry]) -> None:
        """A node hears which copies nobody needs; I11: none that it gives up is named by the map, and who says so saw
        all copies in sync without it."""
        seen = {entry.pid: entry for entry in entries}
        held = self._rids(name)
        self.nodes[name].drop_copies(entries)
        for pid, rid in (held - self._rids(name)) if self.nodes[name].is_up else ():
            entry = self.map.entries[pid]
            if rid in (*entry.replicas, *entry.adding, *entry.in_sync):
                raise Violation(f"I11: {name} deletes its copy of partition {pid}, which the map names: {entry}")
            if len(seen[pid].in_sync) < COPIES:
                raise Violation(f"I11: {name} deletes its copy of partition {pid}, copies are missing in {seen[pid]}")
            self.dropped += 1

    def _rids(self, name: str) -> set[tuple[int, Rid]]:
        partitions = self.nodes[name].partitions
        return set() if partitions is None else {(one.pid, one.copy.name.rid) for one in partitions}


class ControlledScenario(Scenario):
    """The scenario with the real control: no repair but its own."""

    def _new_control(self) -> SimControls:
        self.controls = SimControls(self.world, self.network, self._tell)
        return self.controls

    def _place(self) -> None:
        super()._place()
        self.controls.begin(self.nodes)

    def _repair(self) -> None:
        """Left to the controls."""

    def _cut(self) -> None:
        """Now and then also one control from one node, which the other one still reaches."""
        rng = self.world.rng
        super()._cut()
        if rng.random() < 0.5:
            control, node = rng.choice(CONTROLS), rng.choice(NODES)
            self.network.cut(control, node)
            self.network.cut(node, control)

    def _check_rest(self) -> None:
        super()._check_rest()
        for pid, entry in self.control.map.entries.items():
            if entry.adding or entry.removing or len(entry.replicas) != COPIES:
                raise Violation(f"liveness: partition {pid} is not at rest: {entry}")
        for name, node in self.nodes.items():
            assert node.partitions is not None
            if self.control.map.nodes[name].standing is Standing.REMOVED:
                continue
            for copy in node.partitions.report().copies:
                if copy.ver and self.control.map.entries[copy.pid].holds(name) is None:
                    raise Violation(f"liveness: {name} still holds what it gave up of partition {copy.pid}")
