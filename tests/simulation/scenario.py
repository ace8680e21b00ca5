"""One simulated cluster under load and faults, from placement to rest."""

from __future__ import annotations

from typing import Any

from simulation.checkers import History, Invariants, Violation, replay
from simulation.control import SimControl
from simulation.disk import SimDisk
from simulation.network import Faults, Network
from simulation.sim_node import SimNode
from simulation.world import World

from kvstore.effects import Effect
from kvstore.messages import Entry, Fault, ReadOne, Rid, WriteOne, Written
from kvstore.storage.engine import Table, range_end
from kvstore.storage.records import Record, decode_value
from kvstore.versions import etag

NODES = ("n1", "n2", "n3")
PARTITIONS = 3
KEYS_PER_PARTITION = 4
LOAD_MS = 6_000
REST_MS = 15_000
CLIENTS = 4


class Scenario:
    """Args: honest_disks: False plants a disk that lies about fsync."""

    def __init__(self, seed: int, honest_disks: bool = True) -> None:
        self.world = World(seed)
        self.history = History()
        self.crashes = 0
        self.network = Network(self.world, self._deliver, self._broken)
        self.control = SimControl(self.world, self._tell)
        self.nodes = {
            name: SimNode(self.world, name, SimDisk(self.world, honest_disks), self.network, self.control)
            for name in NODES
        }
        self.invariants = Invariants(self.nodes, self.control)
        self._loading = True
        self._writes = 0

    # ---- the run ------------------------------------------------------------------------------------------------

    def run(self) -> None:
        """Place, load under faults, heal, come to rest, check; raises Violation."""
        self._place()
        self.world.after_step = self.invariants.check
        rng = self.world.rng
        self.network.faults = Faults(
            lose=rng.choice((0, 0.02, 0.1)),
            repeat=rng.choice((0, 0.05, 0.2)),
            late=rng.choice((0, 0.05, 0.2, 0.5)),
            tear=rng.choice((0, 0.01, 0.03)),
            late_ms=rng.choice((100, 500, 3000)),
        )
        self.control.is_faulty = rng.random() < 0.6
        for number in range(CLIENTS):
            self.world.at(rng.uniform(0, 200), lambda number=number: self._client(number))
        self.world.at(rng.uniform(300, 2000), self._nemesis)
        self.world.run(LOAD_MS)
        self._heal()
        self.world.run(LOAD_MS + REST_MS)
        self._check_rest()

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

    @staticmethod
    def _replicas(pid: int) -> tuple[str, str]:
        return NODES[pid % 3], NODES[(pid + 1) % 3]

    # ---- faults -------------------------------------------------------------------------------------------------

    def _nemesis(self) -> None:
        if not self._loading:
            return
        rng = self.world.rng
        kind = rng.random()
        if kind < 0.5:
            self._crash(rng.choice(NODES))
        elif kind < 0.7:
            for name in NODES:
                self._crash(name)
        elif kind < 0.9:
            source, target = rng.sample(NODES, 2)
            self.network.cut(source, target)
            if rng.random() < 0.5:
                self.network.cut(target, source)
            self.world.at(rng.uniform(50, 800), self.network.mend)
        self.world.at(rng.uniform(300, 2000), self._nemesis)

    def _crash(self, name: str) -> None:
        node = self.nodes[name]
        if not node.is_up:
            return
        self.crashes += 1
        node.crash()
        for other in self.nodes.values():
            other.unreachable(name)
        self.world.at(self.world.rng.choice((10, 50, 500)) * self.world.rng.random(), lambda: self._restart(name))

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
        self.network.heal()
        self.control.is_faulty = False
        for name in NODES:
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

    # ---- clients ------------------------------------------------------------------------------------------------

    def _client(self, number: int) -> None:
        """One request at a time, the next when the answer is there or after a second."""
        if not self._loading:
            return
        rng = self.world.rng
        pid = rng.randint(1, PARTITIONS)
        key = b"p%d-k%d" % (pid, rng.randrange(KEYS_PER_PARTITION))
        entry = self.control.map.entries[pid]
        node = self.nodes[entry.leader.node if entry.leader is not None else self._replicas(pid)[0]]
        done: list[Any] = []

        def answered(result: Any) -> None:
            assert not done, "answered twice"
            done.append(result)
            self.world.at(rng.uniform(1, 20), lambda: self._client(number))

        def give_up() -> None:
            if not done:
                done.append(None)
                self.history.counts["unknown"] += 1
                self._client(number)

        if rng.random() < 0.3:
            floor = self.history.floor(key)
            node.read(
                ReadOne(pid, entry.ver, key),
                lambda row: done or (self._was_read(key, row, floor), answered(row)),
            )
        else:
            write = self._random_write(pid, entry.ver, key)
            node.write(write, lambda result: done or (self._was_written(pid, key, result), answered(result)))
        self.world.at(1000, give_up)

    def _random_write(self, pid: int, ver: int, key: bytes) -> WriteOne:
        rng = self.world.rng
        self._writes += 1
        kind = rng.random()
        value = b"%s=%d" % (key, self._writes)
        if kind < 0.15:
            return WriteOne(pid, ver, key, None)
        if kind < 0.25:
            return WriteOne(pid, ver, key, value, if_none_match="*")
        if kind < 0.35:
            return WriteOne(pid, ver, key, value, if_match=etag(pid, *self.history.floor(key)))
        if kind < 0.45:
            return WriteOne(pid, ver, key, value, ttl_ms=rng.randint(50, 2000))
        return WriteOne(pid, ver, key, value * rng.choice((1, 1, 1, 50)))

    def _was_written(self, pid: int, key: bytes, result: Written | Fault) -> None:
        counts = self.history.counts
        if isinstance(result, Written):
            self.history.wrote(pid, key, result)
            self.history.check_acked_now(pid, result, self.invariants)
        elif result.code == "precondition_failed":
            counts["failed_condition"] += 1
        elif result.code == "outcome_unknown":
            counts["unknown"] += 1
        else:
            counts[result.code] = counts.get(result.code, 0) + 1

    def _was_read(self, key: bytes, row: Any, floor: tuple[int, int]) -> None:
        if isinstance(row, bytes):
            stored = decode_value(row)
            if not stored.value.startswith(key + b"="):
                raise Violation(f"{key!r} reads as {stored.value[:40]!r}")
            self.history.check_read(key, (stored.epoch, stored.seq), floor)
            self.history.saw(key, (stored.epoch, stored.seq))

    # ---- rest ---------------------------------------------------------------------------------------------------

    def _check_rest(self) -> None:
        """Everything is back: leaders serve, copies are equal, every acknowledged write is there."""
        self.history.check_acked(self.invariants)
        for pid in range(1, PARTITIONS + 1):
            copies = []
            for name in self._replicas(pid):
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
