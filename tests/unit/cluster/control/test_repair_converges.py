"""Whatever happens to nodes, answers and proposals: no rule is broken on the way, and in the end nothing is missing."""

from __future__ import annotations

import itertools

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.control.repair import SCAN_S, Host, Repair
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid

NODES = "abcde"
PIDS = tuple(range(1, 7))
ROUNDS = 12

nodes = st.sampled_from(NODES)
pids = st.sampled_from(PIDS)


class Machine:
    """A node: what its disk holds, and whether it is connected."""

    def __init__(self) -> None:
        self.copies: dict[int, Rid] = {}
        self.connection = 0
        self.is_up = False


class Healing(RuleBasedStateMachine):
    """Repair among machines that stop, come back and lose their disks, and leaders that do their part."""

    def __init__(self) -> None:
        super().__init__()
        self.repair = Repair()
        self.machines = {node: Machine() for node in NODES}
        self.asks: list[tuple[str, int, tuple[int, ...]]] = []
        self.proposals: list[list[PutEntry]] = []
        self.now_s = 0.0
        self.stores = itertools.count(1)
        self.replicas = 1
        self.cluster = ClusterMap.empty(b"cluster1")
        self.gone: set[str] = set()

    @initialize(replicas=st.integers(1, 3), zones=st.lists(st.sampled_from("xyz"), min_size=5, max_size=5))
    def begin(self, replicas: int, zones: list[str]) -> None:
        self.replicas = replicas
        members = {
            node: NodeInfo(node, "127.0.0.1:1", zone, 1.0 + number, 1)
            for number, (node, zone) in enumerate(zip(NODES, zones, strict=True))
        }
        entries = {}
        for pid in PIDS:
            first = self.make("a", pid)
            entries[pid] = Entry(pid, "default", 2, 1, first, (first,), (first,), leader_boot=1)
        keyspace = KeyspaceInfo("default", "consistent", PIDS, replicas, 1)
        self.cluster = ClusterMap(b"cluster1", 9, members, {"default": keyspace}, entries)
        self.machines["a"].is_up = True

    # ---- the world ----------------------------------------------------------------------------------------------

    def make(self, node: str, pid: int) -> Rid:
        made = Rid(node, next(self.stores).to_bytes(16, "big"))
        return self.machines[node].copies.setdefault(pid, made)

    def has(self, pid: int, rid: Rid) -> bool:
        return self.machines[rid.node].copies.get(pid) == rid

    def hosts(self) -> dict[str, Host]:
        entries = self.cluster.entries.values()
        return {
            node: Host(
                machine.connection,
                frozenset(
                    (entry.pid, rid.store)
                    for entry in entries
                    for rid in (*entry.replicas, *entry.adding)
                    if rid.node == node and not self.has(entry.pid, rid)
                ),
            )
            for node, machine in self.machines.items()
            if machine.is_up
        }

    def make_copies(self, node: str, asked: tuple[int, ...]) -> None:
        machine = self.machines[node]
        if machine.is_up:
            rids = [(pid, self.make(node, pid)) for pid in asked]
            self.propose(self.repair.made(node, machine.connection, rids, self.cluster, self.hosts()))

    def propose(self, changes: list[PutEntry]) -> None:
        if changes:
            self.proposals.append(changes)

    # ---- what happens -------------------------------------------------------------------------------------------

    @rule()
    def scan(self) -> None:
        self.now_s += SCAN_S
        hosts = self.hosts()
        asks, changes = self.repair.tick(self.cluster, hosts, self.now_s, frozenset(self.gone))
        self.asks += [(node, hosts[node].connection, tuple(pids)) for node, pids in asks.items()]
        self.propose(changes)

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def answer(self, data: st.DataObject) -> None:
        node, connection, asked = self.asks.pop(data.draw(st.integers(0, len(self.asks) - 1)))
        if self.machines[node].connection == connection:
            self.make_copies(node, asked)

    @precondition(lambda self: self.asks)
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        node, connection, asked = self.asks.pop(data.draw(st.integers(0, len(self.asks) - 1)))
        self.repair.failed(node, connection, asked)

    @precondition(lambda self: self.proposals)
    @rule(data=st.data())
    def store(self, data: st.DataObject) -> None:
        self.put(self.proposals.pop(data.draw(st.integers(0, len(self.proposals) - 1))))

    def put(self, changes: list[PutEntry]) -> None:
        before = self.cluster
        self.cluster, landed = self.cluster.changed(changes)
        for change, lands in zip(changes, landed, strict=True):
            if lands:
                self.check_step(before.entries[change.entry.pid], change.entry)
        self.repair.settled([change.entry.pid for change in changes])

    def check_step(self, before: Entry, after: Entry) -> None:
        kept = ("epoch", "leader", "in_sync", "leader_boot", "min_in_sync", "keyspace")
        assert [getattr(before, name) for name in kept] == [getattr(after, name) for name in kept]
        gone = {*before.replicas, *before.adding} - {*after.replicas, *after.adding}
        assert not gone & set(before.in_sync)
        assert len(after.in_sync) >= self.replicas or not [rid for rid in gone if self.has(before.pid, rid)]
        assert not set(after.removing) & set(after.in_sync)

    @rule(pid=pids)
    def lead(self, pid: int) -> None:
        """The leader lets go of members that are away or lost, or takes in learners that are there."""
        entry = self.cluster.entries[pid]
        assert entry.leader is not None
        if not self.machines[entry.leader.node].is_up or not self.has(pid, entry.leader):
            return
        there = [
            rid
            for rid in (*entry.replicas, *entry.adding)
            if self.machines[rid.node].is_up and self.has(pid, rid) and rid not in entry.removing
        ]
        placed = tuple(rid for rid in entry.adding if rid in there)
        wanted = msgspec.structs.replace(
            entry,
            ver=entry.ver + 1,
            in_sync=tuple(there),
            replicas=(*entry.replicas, *placed),
            adding=tuple(rid for rid in entry.adding if rid not in placed),
        )
        if msgspec.structs.replace(wanted, ver=entry.ver) != entry:
            self.cluster, _ = self.cluster.changed([PutEntry(wanted)])

    @rule(node=nodes)
    def stop(self, node: str) -> None:
        self.machines[node].is_up = False

    @rule(node=st.sampled_from(NODES[1:]))
    def forsake(self, node: str) -> None:
        """A node is away for too long."""
        self.stop(node)
        self.gone.add(node)

    @rule(node=nodes)
    def start(self, node: str) -> None:
        machine = self.machines[node]
        self.gone.discard(node)
        if not machine.is_up:
            machine.is_up = True
            machine.connection += 1

    @rule(node=st.sampled_from(NODES[1:]), returns=st.booleans())
    def wipe(self, node: str, returns: bool) -> None:
        """Never the leaders' node: with its disk the data would be gone."""
        self.stop(node)
        self.machines[node].copies.clear()
        if returns:
            self.start(node)

    @rule()
    def work(self) -> None:
        """Everybody does at once what is to be done."""
        self.scan()
        while self.asks:
            node, connection, asked = self.asks.pop()
            if self.machines[node].connection == connection:
                self.make_copies(node, asked)
        while self.proposals:
            self.put(self.proposals.pop())
        for pid in PIDS:
            self.lead(pid)

    # ---- what holds ---------------------------------------------------------------------------------------------

    @invariant()
    def copies_stand_on_distinct_nodes_and_are_not_too_many(self) -> None:
        for entry in self.cluster.entries.values():
            copies = (*entry.replicas, *entry.adding)
            assert len({rid.node for rid in copies}) == len(copies)
            assert len(copies) - len(entry.removing) <= self.replicas
            assert set(entry.removing) <= set(copies)
            assert set(entry.in_sync) <= set(copies)

    def teardown(self) -> None:
        if not self.cluster.entries:
            return
        for node in NODES:
            self.start(node)
        for _ in range(ROUNDS):
            self.work()
        for entry in self.cluster.entries.values():
            assert len(entry.in_sync) == len(entry.replicas) == self.replicas
            assert not entry.adding
            assert not entry.removing
            assert all(self.has(entry.pid, rid) for rid in entry.replicas)
        assert self.repair.tick(self.cluster, self.hosts(), self.now_s + SCAN_S) == ({}, [])


Healing.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestHealing = Healing.TestCase
