"""One simulated cluster under load and faults, from placement to rest."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from simulation.checkers import Invariants, replay
from simulation.clients import CLIENTS, PARTITIONS, Client, keys_of
from simulation.control import CONTROL, SimControl
from simulation.disk import SimDisk
from simulation.history import History
from simulation.layouts import Layouts
from simulation.network import Faults, Network
from simulation.reads import Reads
from simulation.sim_node import STOPS_MS, SimNode
from simulation.timeline import Timeline
from simulation.transacting import Transacting
from simulation.txn_clients import counters_of
from simulation.verifying import Verifying
from simulation.violation import Violation
from simulation.world import World

from cluster.txn import exchange
from kvstore.effects import Effect
from kvstore.map_values import Entry, Rid
from kvstore.messages import ReadOne, ReadStale, StaleResult
from kvstore.partition import Partition
from kvstore.replication import backfill, outcomes, windows
from kvstore.storage.engine import Table, range_end
from kvstore.storage.records import Record, decode_value
from kvstore.txn import state

NODES = ("n1", "n2", "n3")
COPIES = 2
CHUNK_BYTES = 200
REPAIR_MS = 500
LOAD_MS = 12_000
REST_MS = 20_000
FRESH_MS = 1000
QUIET_TRIES, QUIET_MS = 5, 1500
TOMBSTONE_KEEP_MS = (500, 300_000)
ATTEMPT_S = (0.3, 0.3, 2.0)
WITH_TRANSACTIONS = 0.7
# Tokens are kept for longer than a client tries and than the clocks of two leaders differ; windows need not be.
TOKEN_KEEP_MS = (18_000, 300_000)
WINDOW_KEEP_MS = (1000, 5000, 600_000)


class Scenario:
    """`copies` is how many each partition is to have."""

    copies = COPIES

    def __init__(self, seed: int) -> None:
        self.world = World(seed)
        self.history = History()
        self.timeline = Timeline(self.world)
        self.reads = Reads(self.world, self.history, self.timeline)
        self.crashes = 0
        self.wipes = 0
        # In some runs n3 leads nothing at first, and one partition begins with a single copy.
        self._has_spare = self.world.rng.random() < 0.5
        self.has_transactions = self.world.rng.random() < WITH_TRANSACTIONS
        self.network = Network(self.world, self._deliver, self._broken)
        self.control = self._new_control()
        self.nodes = {
            name: SimNode(self.world, name, SimDisk(self.world), self.network, self.control) for name in NODES
        }
        for name, node in self.nodes.items():
            node.peers = [other for other in NODES if other != name]
        keys = {pid: keys_of(pid) for pid in range(1, PARTITIONS + 1)}
        self.layouts = Layouts({pid: [*of_pid, *counters_of(pid)] for pid, of_pid in keys.items()})
        self.transacting = Transacting(
            self.world,
            self.network,
            self.nodes,
            self.control,
            self.history,
            self.timeline,
            keys,
            self.layouts,
        )
        self.invariants = Invariants(self.nodes, self.control, self.timeline, self.transacting.watch)
        self.transacting.watch.look = self.invariants.check
        self.invariants.on_given_up = self.history.give_up
        self.clients = [
            Client(
                number,
                self.world,
                self.nodes,
                self.control,
                self.history,
                self.invariants,
                self.reads,
                self.layouts,
            )
            for number in range(CLIENTS)
        ]
        self.verifying = Verifying(self.world, self.nodes, self.control, self.history)
        self._loading = True

    def _new_control(self) -> SimControl:
        return SimControl(self.world, self.network, self._tell)

    # ---- the run ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Place, load under faults, heal, come to rest, check; raises Violation."""
        rng = self.world.rng
        with (
            patch.object(backfill, "CHUNK_BYTES", CHUNK_BYTES),
            patch.object(outcomes, "TOKEN_KEEP_MS", rng.choice(TOKEN_KEEP_MS)),
            patch.object(windows, "KEEP_MS", rng.choice(WINDOW_KEEP_MS)),
            patch.object(state, "TOMBSTONE_KEEP_MS", rng.choice(TOMBSTONE_KEEP_MS)),
            patch.object(exchange, "ATTEMPT_S", rng.choice(ATTEMPT_S)),
        ):
            self._run()

    def _run(self) -> None:
        self._place()
        self.world.after_step = self.invariants.check
        rng = self.world.rng
        self._make_faulty()
        for client in self.clients:
            self.world.at(rng.uniform(0, 200), client.begin)
        self.world.at(rng.uniform(0, 2000), self.verifying.begin)
        if self.has_transactions:
            self.world.at(rng.uniform(0, 500), self.transacting.begin)
        self.world.at(rng.uniform(300, 2000), self._nemesis)
        self.world.at(REPAIR_MS, self._repair)
        self.world.run(LOAD_MS)
        self._heal()
        self.world.run(LOAD_MS + REST_MS - QUIET_MS)
        self._come_to_rest()
        self._check_rest()

    def _make_faulty(self) -> None:
        """How the network and control are for the whole run."""
        rng = self.world.rng
        self.network.faults = Faults(
            lose=rng.choice((0, 0.02, 0.1)),
            repeat=rng.choice((0, 0.05, 0.2)),
            late=rng.choice((0, 0.05, 0.2, 0.5)),
            tear=rng.choice((0, 0.01, 0.03)),
            late_ms=rng.choice((100, 500, 3000)),
        )
        self.control.is_faulty = rng.random() < 0.6

    def _place(self) -> None:
        """Empty copies on two nodes each, durable before the map names them."""
        for node in self.nodes.values():
            node.start()
        rids: dict[int, list[Rid]] = {}
        for pid in range(1, PARTITIONS + 1):
            for name in self._replicas(pid):
                partitions = self.nodes[name].partitions
                assert partitions is not None
                rids.setdefault(pid, []).extend(rid for _, rid in partitions.create_copies([pid]))
        for node in self.nodes.values():
            self._save_now(node)
        self.control.place([Entry(pid, "default", 1, 0, None, tuple(two), tuple(two)) for pid, two in rids.items()])
        for name in NODES:
            self.control.push(name)

    def _save_now(self, node: SimNode) -> None:
        assert node.partitions is not None
        turn = node.partitions.collect(node.disk.snapshot(), node.now(), True)
        node.disk.commit(turn.batch)
        effects: list[Effect] = node.partitions.durable()
        assert not effects

    def _replicas(self, pid: int) -> tuple[str, ...]:
        if self._has_spare:
            return (("n1", "n3"), ("n2", "n3"), ("n1",))[pid - 1]
        return NODES[pid % 3], NODES[(pid + 1) % 3]

    # ---- repair -------------------------------------------------------------------------------------------------

    def _repair(self) -> None:
        """What control does about copies that are missing: make new ones, where there is room."""
        up = {name: node for name, node in self.nodes.items() if node.partitions is not None}
        lost: set[Rid] = set()
        for name, node in up.items():
            assert node.partitions is not None
            lost |= {Rid(name, store) for _, store in node.partitions.report().lost}
        for pid, entry in self.control.map.entries.items():
            live = {rid.node for rid in (*entry.replicas, *entry.adding) if rid not in lost}
            free = sorted(set(up) - live)
            if len(live) < self.copies and free and entry.leader is not None:
                name = self.world.rng.choice(free)
                up[name].create_copy(pid, lambda rid, pid=pid: self._made(pid, rid, lost))
        self.world.at(REPAIR_MS, self._repair)

    def _made(self, pid: int, rid: Rid, lost: set[Rid]) -> None:
        self.world.at(self.world.rng.uniform(1, 200), lambda: self.control.add_copy(pid, rid, lost))

    # ---- faults -------------------------------------------------------------------------------------------------

    def _nemesis(self) -> None:
        if not self._loading:
            return
        rng = self.world.rng
        kind = rng.random()
        if kind < 0.35:
            self._crash(rng.choice(NODES))
        elif kind < 0.43:
            for name in NODES:
                self._crash(name)
        elif kind < 0.55:
            self._wipe(rng.choice(NODES))
        elif kind < 0.7:
            self.nodes[rng.choice(NODES)].pause(rng.choice(STOPS_MS))
        elif kind < 0.95:
            self._cut()
            self.world.at(rng.choice((800, 6000, 9000)) * rng.uniform(0.2, 1), self.network.mend)
        self.world.at(rng.uniform(300, 2000), self._nemesis)

    def _cut(self) -> None:
        """One direction between two nodes, both, or a node from everybody, control included."""
        rng = self.world.rng
        source, *others = rng.sample(NODES, len(NODES))
        if rng.random() < 0.4:
            for other in (*others, CONTROL):
                self.network.cut(source, other)
                self.network.cut(other, source)
            return
        self.network.cut(source, others[0])
        if rng.random() < 0.5:
            self.network.cut(others[0], source)

    def _crash(self, name: str) -> None:
        if self.nodes[name].is_up:
            self._kill(name)
            downtime_ms = self.world.rng.choice((10, 500, 6000, 12_000)) * self.world.rng.random()
            self.world.at(downtime_ms, lambda: self._restart(name))

    def _kill(self, name: str) -> None:
        self.crashes += 1
        self.nodes[name].crash()
        for other in self.nodes.values():
            other.unreachable(name)

    def _wipe(self, name: str) -> None:
        """A node loses its disk, while others hold everything and lead it."""
        partitions = self.nodes[name].partitions
        if partitions is not None and all(self._is_dispensable(partition) for partition in partitions):
            self.wipes += 1
            self.invariants.destroyed |= {partition.copy.name.rid for partition in partitions}
            self._crash(name)
            self.nodes[name].wipe()

    def _is_dispensable(self, partition: Partition) -> bool:
        """Whether another node leads, knows the newest entry, and nothing that this copy asked can still land."""
        entry = self.control.map.entries.get(partition.pid)
        if (
            entry is None
            or entry.leader is None
            or entry.leader == partition.copy.name.rid
            or partition._candidate.is_closed
        ):
            return False
        partitions = self.nodes[entry.leader.node].partitions
        leading = partitions.get(partition.pid) if partitions is not None else None
        return leading is not None and leading.leader is not None and leading.ver == entry.ver

    def _restart(self, name: str) -> None:
        node = self.nodes[name]
        if node.is_up:
            return
        node.start()
        self.control.push(name)
        for other in NODES:
            if other != name:
                self.world.at(self.world.rng.uniform(1, 50), lambda other=other: self.nodes[other].reachable(name))
                self.world.at(self.world.rng.uniform(1, 50), lambda other=other: node.reachable(other))

    def _heal(self) -> None:
        self._loading = False
        self.verifying.heal()
        self.transacting.heal()
        for client in self.clients:
            client.is_loading = False
        self.network.heal()
        self.control.is_faulty = False
        for name in NODES:
            self.nodes[name].stop_chance = 0.0
            self.nodes[name].disk.stall_chance = 0.0
            self.nodes[name].wake()
            self._restart(name)
            self.control.push(name)

    def _deliver(self, target: str, source: str, body: Any) -> None:
        if self.network.can_reach(source, target):
            self.nodes[target].receive(source, body)

    def _broken(self, source: str, target: str) -> None:
        self.nodes[source].unreachable(target)
        self.world.at(self.world.rng.uniform(10, 200), lambda: self.nodes[source].reachable(target))

    def _tell(self, node: str, entries: list[Entry]) -> None:
        self.nodes[node].on_entries(entries)

    # ---- rest ---------------------------------------------------------------------------------------------------

    def _come_to_rest(self) -> None:
        """What is still under way, as a decision that is forgotten late, gets to all copies."""
        ends: list[int] = []
        for _ in range(QUIET_TRIES):
            former = ends
            copies = [partition.copy for node in self.nodes.values() for partition in node.partitions or ()]
            ends = [copy.log.end for copy in copies]
            if ends == former and ends == [copy.applied_seq for copy in copies]:
                return
            self.world.run(self.world.now_ms + QUIET_MS)

    def _check_rest(self) -> None:
        """Everything is back: leaders serve, copies are equal, every acknowledged write is there."""
        self.history.check_acked(self.invariants.records)
        self.history.check_once(self.invariants.records)
        self.verifying.check()
        for pid, entry in self.control.map.entries.items():
            copies = []
            if len(entry.in_sync) < self.copies:
                raise Violation(f"liveness: partition {pid} has {len(entry.in_sync)} copies in sync after healing")
            for name in (rid.node for rid in entry.in_sync):
                partitions = self.nodes[name].partitions
                assert partitions is not None
                partition = partitions.get(pid)
                assert partition is not None
                copies.append((self.nodes[name], partition))
            if not any(p.leader is not None and p.leader.is_serving for _, p in copies):
                raise Violation(f"liveness: nobody serves partition {pid} after healing")
            ends = {(p.copy.log.end, p.copy.commit_seq, p.copy.applied_seq) for _, p in copies}
            if len(ends) != 1:
                raise Violation(f"liveness: the copies of partition {pid} stand at {ends} after healing")
            self._check_model(pid, copies[0][0], ends.pop()[0])
            for node, partition in copies:
                self.invariants.check_outcomes(node, partition)
            self._check_fresh(pid, [node for node, _ in copies])
        self.transacting.check()

    def _check_fresh(self, pid: int, nodes: list[SimNode]) -> None:
        """Every copy of an idle cluster is nearly up to date, and knows it."""
        for node in nodes:
            answers: list[Any] = []
            asked = ReadOne(pid, 0, b"any")
            node.read_stale(ReadStale(asked, FRESH_MS, self.control.map.entries[pid].layout), answers.append)
            if not isinstance(answers[0], StaleResult):
                raise Violation(f"liveness: {node.node_id} is not fresh in partition {pid}: {answers[0]}")

    def _check_model(self, pid: int, node: SimNode, end: int) -> None:
        records: list[Record] = []
        for seq in range(1, end + 1):
            record = self.invariants.records.get((pid, seq))
            if record is None:
                raise Violation(f"record {seq} of partition {pid} was never seen to commit")
            records.append(record)
        partitions = node.partitions
        assert partitions is not None
        partition = partitions.get(pid)
        assert partition is not None
        prefix = partition.copy.prefix
        rows = node.disk.snapshot().scan(Table.DATA, prefix, range_end(prefix))
        stored = {key[4:]: decode_value(row).value for key, row in rows}
        if stored != replay(records):
            raise Violation(f"the state of partition {pid} is not what its log says")
