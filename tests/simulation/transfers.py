"""Keys that change their partition in the midst of everything else: splits, merges, and tenants that move.

Control is played by chance: it starts transfers, has the map switch when a source has handed its keys over, and aborts
some. Checked at each step: no key is served by two partitions. At rest: every key is where it belongs, as it was last
committed, and nowhere else, and no transfer is left.
"""

from __future__ import annotations

from unittest.mock import patch

import msgspec
from simulation.control import SimControl, run_now
from simulation.network import Faults
from simulation.scenario import NODES, PARTITIONS, Scenario
from simulation.violation import Violation

from cluster.cluster_map import PutKeyspace, Reshape
from cluster.control.leadership import objection
from kvstore.map_values import Entry, KeyspaceInfo, Transfer, TransferState
from kvstore.storage.engine import Table, range_end
from kvstore.storage.records import carried, decode_value
from kvstore.transfer import pieces, source

LOOK_MS = (20, 300)
IDLE_MS = 1000
ACTIVE_MAX = 2
FRESH_MAX = 3
ABORT_CHANCE = 0.03
REST_MS = 30_000
CALM_MS = 4000
SWITCH_AFTER_MS = 2000
PIECE_BYTES = 300
LOOKED_ROWS = (1, 5, 1024)
FROZEN_MS = (100, 1000)


class StrictControl(SimControl):
    """Nodes may ask only for what the real control lets them ask."""

    boots: dict[str, int]

    def _decide(self, node: str, entry: Entry) -> None:
        stored = self.map.entries[entry.pid]
        if entry.ver == stored.ver + 1 and objection(stored, entry, node, self.boots.get(node, 0)) is not None:
            for rid in (*stored.replicas, *stored.adding):
                self.push(rid.node)
            return
        super()._decide(node, entry)


class Transfers(Scenario):
    """The scenario, with transfers between its partitions and fresh ones."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.switched = 0
        self._next_id = 1
        self._next_pid = PARTITIONS + 1
        self._is_calm = False
        self._served: dict[tuple[int, int], frozenset[bytes]] = {}

    def _new_control(self) -> SimControl:
        control = StrictControl(self.world, self.network, self._tell)
        control.boots = {}
        return control

    def run(self) -> None:
        rng = self.world.rng
        with (
            patch.object(pieces, "CHUNK_BYTES", PIECE_BYTES),
            patch.object(pieces, "LOOKED_ROWS_MAX", rng.choice(LOOKED_ROWS)),
            patch.object(source, "FROZEN_MS", rng.choice(FROZEN_MS)),
            patch("simulation.txn_clients.AGAIN", 1.0),
            patch("simulation.scenario.REST_MS", REST_MS),
        ):
            super().run()

    def _make_faulty(self) -> None:
        super()._make_faulty()
        if self.world.rng.random() < 0.3:
            self.network.faults = Faults(late=0.05, late_ms=100)
        keyspace = KeyspaceInfo("default", "range", tuple(range(1, PARTITIONS + 1)), self.copies, 1)
        run_now(self.control.store.apply([PutKeyspace(keyspace, None)]))
        while "default" not in self.control.map.keyspaces:
            run_now(self.control.store.apply([PutKeyspace(keyspace, None)]))
        self.world.after_step = self._check_step
        self.world.at(self.world.rng.uniform(*LOOK_MS), self._look)

    # ---- control ------------------------------------------------------------------------------------------------

    def _look(self) -> None:
        rng, entries = self.world.rng, self.control.map.entries
        sources = [one for one in entries.values() if one.transfer is not None and one.transfer.source == one.pid]
        for entry in sources:
            assert entry.transfer is not None
            if entry.transfer.state is TransferState.HANDED:
                self._switch(entry)
            elif entry.transfer.state is TransferState.COPYING and (self._is_calm or rng.random() < ABORT_CHANCE):
                self._abort(entry)
        busy = {one.pid for one in entries.values() if one.transfer is not None}
        if self._loading and len(busy) < 2 * ACTIVE_MAX:
            self._start(busy)
        if busy or rng.random() < 0.1:
            for name in NODES:
                self.control.push(name)
        self.world.at(rng.uniform(*LOOK_MS) if self._loading or busy else IDLE_MS, self._look)

    def _pair(self, entry: Entry) -> tuple[Entry, Entry]:
        """The entries of a transfer's source and target."""
        assert entry.transfer is not None
        entries = self.control.map.entries
        return entries[entry.transfer.source], entries[entry.transfer.target]

    def _reshape(self, transfer: Transfer, *entries: tuple[Entry, TransferState | None], layout: int = 0) -> None:
        """Both entries at once, and where the map switches the keyspace with them."""
        changed = [
            msgspec.structs.replace(
                entry,
                ver=entry.ver + 1,
                layout=layout or entry.layout,
                transfer=None if state is None else msgspec.structs.replace(transfer, state=state),
            )
            for entry, state in entries
        ]
        known = self.control.map.keyspaces["default"]
        keyspace = msgspec.structs.replace(known, layout=layout) if layout else None
        run_now(self.control.store.apply([Reshape(tuple(changed), keyspace, known if layout else None)]))
        self.layouts.follow(self.control.map.entries)
        for name in NODES:
            self.control.push(name)

    def _switch(self, entry: Entry) -> None:
        given, taken = self._pair(entry)
        assert entry.transfer is not None
        layout = self.control.map.keyspaces["default"].layout + 1
        state = TransferState.SWITCHED
        self._reshape(entry.transfer, (given, state), (taken, state), layout=layout)

    def _abort(self, entry: Entry) -> None:
        given, taken = self._pair(entry)
        assert entry.transfer is not None
        self._reshape(entry.transfer, (given, None), (taken, TransferState.ABORTING))

    def _start(self, busy: set[int]) -> None:
        rng, entries = self.world.rng, self.control.map.entries
        self.layouts.follow(entries)
        free = [one for one in entries.values() if one.pid not in busy and one.leader is not None]
        given = [one for one in free if self.layouts.keys_of(one.pid)]
        if not given:
            return
        source_entry = rng.choice(given)
        keys = self.layouts.keys_of(source_entry.pid)
        others = [one for one in free if one.pid != source_entry.pid]
        fresh = self._next_pid - PARTITIONS <= FRESH_MAX and rng.random() < 0.4
        if not fresh and not others:
            return
        target = self._next_pid if fresh else rng.choice(others).pid
        what = self._random_keys(keys, set(self.layouts.keys_of(target)))
        named = Transfer(self._next_id, source_entry.pid, target, TransferState.COPYING, **what)
        self._next_id += 1
        if fresh:
            self._split(named)
        else:
            self._reshape(named, *((entries[pid], TransferState.COPYING) for pid in (named.source, target)))

    def _random_keys(self, keys: list[bytes], not_these: set[bytes]) -> dict[str, bytes]:
        """A tenant of these keys, or a range that has none of those that the target has."""
        rng = self.world.rng
        start = rng.choice((b"", rng.choice(keys)))
        end = rng.choice((b"", rng.choice(keys)))
        end = end if end > start else b""
        has_others = any(start <= key and (not end or key < end) for key in not_these)
        return {"tenant": rng.choice(keys)} if has_others or rng.random() < 0.3 else {"start": start, "end": end}

    def _split(self, transfer: Transfer) -> None:
        """The target is made first: empty copies, durable before the map names them."""
        self._next_pid += 1
        up = [name for name in NODES if self.nodes[name].is_up]
        names = self.world.rng.sample(up, min(self.copies, len(up)))
        rids = []

        def made(rid) -> None:
            rids.append(rid)
            if len(rids) == len(names):
                self.world.at(self.world.rng.uniform(1, 50), lambda: self._begin_split(transfer, tuple(rids)))

        for name in names:
            self.nodes[name].create_copy(transfer.target, made)

    def _begin_split(self, transfer: Transfer, rids) -> None:
        entries = self.control.map.entries
        given = entries[transfer.source]
        if given.transfer is None and transfer.target not in entries:
            fresh = Entry(transfer.target, "default", 0, 0, None, rids, rids)
            self._reshape(transfer, (given, TransferState.COPYING), (fresh, TransferState.COPYING))

    def _restart(self, name: str) -> None:
        super()._restart(name)
        self._note_boots()

    def _place(self) -> None:
        super()._place()
        self._note_boots()

    def _note_boots(self) -> None:
        """A process is admitted before it may ask for anything."""
        assert isinstance(self.control, StrictControl)
        for name, node in self.nodes.items():
            if node.partitions is not None:
                self.control.boots[name] = node.partitions.state.boot

    def _heal(self) -> None:
        super()._heal()
        self.world.at(CALM_MS, self._calm_down)

    def _calm_down(self) -> None:
        """What has not come to its switch by now is aborted."""
        self._is_calm = True

    # ---- checks -------------------------------------------------------------------------------------------------

    def _check_step(self) -> None:
        self.layouts.follow(self.control.map.entries)
        self.invariants.check()
        self._check_one_serves()

    def _check_one_serves(self) -> None:
        """No key is served by two partitions, nor by two leaders of one."""
        served: dict[bytes, tuple[str, int]] = {}
        count = 0
        for node in self.nodes.values():
            for partition in node.partitions or ():
                leader = partition.leader
                if leader is None or leader.refuses_reads(node.now()) is not None:
                    continue
                entry = leader.followers.entry
                keys = self._served.get((entry.pid, entry.ver))
                if keys is None:
                    owned = self.layouts.keys_of(entry.pid, entry.layout)
                    keys = frozenset(key for key in owned if leader.refuses_key(key) is None)
                    self._served[entry.pid, entry.ver] = keys
                count += len(keys)
                served.update(dict.fromkeys(keys, (node.node_id, entry.pid)))
                if len(served) != count:
                    raise Violation(
                        f"keys of partition {entry.pid} on {node.node_id} are served elsewhere, too: {entry}"
                    )

    def _check_rest(self) -> None:
        self.layouts.follow(self.control.map.entries)
        for entry in self.control.map.entries.values():
            if entry.transfer is not None:
                raise Violation(f"liveness: partition {entry.pid} has not done with {entry.transfer}")
        super()._check_rest()
        self.switched = self.layouts.newest
        self.history.counts["switched"] = self.switched
        self.history.counts["started"] = self._next_id - 1
        for pid, entry in self.control.map.entries.items():
            for rid in entry.in_sync:
                self._check_keys(pid, rid.node)

    def _check_keys(self, pid: int, name: str) -> None:
        """A copy has the newest committed row of each key of its partition, under its own version, and nothing else."""
        node = self.nodes[name]
        assert node.partitions is not None
        partition = node.partitions.get(pid)
        assert partition is not None
        copy = partition.copy
        rows = {
            key[4:]: decode_value(carried(row, pid))
            for key, row in node.disk.snapshot().scan(Table.DATA, copy.prefix, range_end(copy.prefix))
        }
        newest = {key: self.timeline.newest(key) for key in self.layouts.keys_of(pid)}
        expected = {
            key: (one.pid, one.epoch, one.seq, one.value) for key, one in newest.items() if one.value is not None
        }
        found = {key: (one.origin, one.epoch, one.seq, one.value) for key, one in rows.items()}
        if found != expected:
            wrong = {key: (found.get(key), expected.get(key)) for key in {*found, *expected}}
            wrong = {key: pair for key, pair in wrong.items() if pair[0] != pair[1]}
            raise Violation(f"partition {pid} on {name} has, and should have: {wrong}")
        if copy.contents.keys != len(rows):
            raise Violation(f"partition {pid} on {name} counts {copy.contents.keys} keys, it has {len(rows)}")


class HandedOver(Transfers):
    """The map does not switch for a while, and whoever has handed keys over begins anew meanwhile."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self._handed_ms: dict[int, float] = {}

    def _nemesis(self) -> None:
        """Nothing else happens."""

    def _switch(self, entry: Entry) -> None:
        assert entry.transfer is not None
        assert entry.leader is not None
        rng, now_ms, name = self.world.rng, self.world.now_ms, entry.leader.node
        if entry.transfer.id not in self._handed_ms:
            self._handed_ms[entry.transfer.id] = now_ms
            if self._loading and self.nodes[name].is_up:
                self._kill(name)
                self.world.at(rng.uniform(1, 100), lambda: self._restart(name))
        if now_ms - self._handed_ms[entry.transfer.id] >= SWITCH_AFTER_MS:
            super()._switch(entry)
