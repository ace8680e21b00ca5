"""Clients of the simulated cluster: reads, and writes that are sent again under a number or a token.

What a gateway does with an attempt that is unknown is done here by its rules: PROTOCOL "Idempotency".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from simulation.checkers import Invariants
from simulation.control import SimControl, run_now
from simulation.history import History, token_of
from simulation.layouts import Layouts
from simulation.reads import Reads
from simulation.sim_node import SimNode
from simulation.violation import Violation
from simulation.world import World

from cluster.gateway.numbers import Numbers
from kvstore.map_values import Entry
from kvstore.messages import Fault, ReadOne, WriteOne, Written
from kvstore.versions import etag

PARTITIONS = 3
KEYS_PER_PARTITION = 8
CLIENTS = 5
WRITERS = 3
ANSWER_MS = 1000
PATIENCE_MS = 4000
PAUSE_MS = (300, 1500)
AGAIN_LATER = 0.1
GIVE_UP = 0.7
HELD_UP = 0.05
HELD_UP_MS = 5000


def key_of(pid: int, number: int) -> bytes:
    return b"p%d-k%d" % (pid, number)


def keys_of(pid: int) -> list[bytes]:
    """Those of a partition."""
    return [key_of(pid, number) for number in range(KEYS_PER_PARTITION)]


class Client:
    """One request at a time, the next when the first attempt is answered or lost; further ones go on beside."""

    def __init__(
        self,
        number: int,
        world: World,
        nodes: dict[str, SimNode],
        control: SimControl,
        history: History,
        invariants: Invariants,
        reads: Reads,
        layouts: Layouts,
    ) -> None:
        self.is_loading = True
        self.world = world
        self.history = history
        self._number = number
        self._nodes = nodes
        self._control = control
        self._invariants = invariants
        self._reads = reads
        self.layouts = layouts
        self._layout: int | None = None
        self._known: dict[int, Entry] = {}
        self._numbers = Numbers(run_now(control.store.draw_incarnation()))

    def begin(self) -> None:
        """Ask for something."""
        if not self.is_loading:
            return
        rng = self.world.rng
        home = rng.randint(1, PARTITIONS)
        key = key_of(home, rng.randrange(KEYS_PER_PARTITION))
        if rng.random() < (0.3 if self._number < WRITERS else 0.9):
            self._read(key)
        else:
            Writing(self, self._random_write(home, key), self.ended).send()

    def ended(self) -> None:
        """Go on with the next request."""
        self.world.at(self.world.rng.uniform(1, 20), self.begin)

    def route(self, key: bytes, again: bool = False) -> tuple[Entry, SimNode]:
        """The entry that this client goes by, an old one until it does not work any more, and who leads by it.

        Args: again: not the first attempt; it goes by the newest map.
        """
        entries, layouts = self._control.map.entries, self.layouts
        layouts.follow(entries)
        if again:
            entry = entries[layouts.pid_of(key)]
        else:
            layout = layouts.newest if self._layout is None else self._layout
            pid = layouts.pid_of(key, layout)
            entry = self._known.setdefault(pid, entries[pid])
            if entry.layout > layout:
                # Other keys have come there, or left it: nobody goes by that before it knows which.
                self._known.clear()
                entry = entries[layouts.pid_of(key)]
                layout = layouts.newest
            self._layout = layout
        return entry, self._nodes[(entry.leader or entry.replicas[0]).node]

    def forget_route(self, pid: int) -> None:
        """Go by what the map says now of this partition, or of all."""
        if self.world.rng.random() < 0.5:
            self._layout = None
            self._known.clear()
        self._known.pop(pid, None)

    # ---- reads --------------------------------------------------------------------------------------------------

    def _read(self, key: bytes) -> None:
        entry, node = self.route(key)
        pid = entry.pid
        done: list[object] = []

        def answered(row: Any) -> None:
            if done:
                return
            done.append(row)
            if isinstance(row, Fault):
                self.forget_route(pid)
            self.ended()

        def give_up() -> None:
            if not done:
                done.append(None)
                self.forget_route(pid)
                self.ended()

        if self._reads.is_stale_next():
            copy = self.world.rng.choice(entry.replicas)
            self._reads.read_stale(self._nodes[copy.node], ReadOne(pid, entry.ver, key), entry.layout, answered)
        else:
            node, entry = self._believer(key, node, entry)
            ver = entry.ver
            if self._reads.is_scan_next():
                self._reads.scan_led(node, pid, ver, self.layouts.keys_of(pid, entry.layout), answered)
                self.world.at(ANSWER_MS, give_up)
                return
            self._reads.read_led(node, ReadOne(pid, ver, key), answered)
        self.world.at(ANSWER_MS, give_up)

    def _believer(self, key: bytes, node: SimNode, entry: Entry) -> tuple[SimNode, Entry]:
        """A node that was deposed and does not know it, where there is one, asked by the entry that it knows: as a
        gateway with an old map asks it."""
        leader = self._control.map.entries[entry.pid].leader
        for one in self._nodes.values():
            partition = one.partitions.get(entry.pid) if one.partitions is not None else None
            known = None if partition is None or partition.leader is None else partition.copy.entry
            is_deposed = known is not None and self.layouts.pid_of(key, known.layout) == entry.pid
            if is_deposed and (leader is None or one.node_id != leader.node) and self.world.rng.random() < 0.5:
                return one, known
        return node, entry

    # ---- writes -------------------------------------------------------------------------------------------------

    def _random_write(self, home: int, key: bytes) -> WriteOne:
        """A write that is routed when it is sent; its key belonged to the partition `home` at first."""
        rng = self.world.rng
        name = self.history.new_write()
        token = token_of(home, name) if rng.random() < 0.4 else b""
        value: bytes | None = b"%s=%d." % (key, name)
        conditions: dict[str, Any] = {}
        kind = rng.random()
        if kind < 0.15:
            value = None
        elif kind < 0.25:
            conditions = {"if_none_match": "*"}
        elif kind < 0.35:
            conditions = {"if_match": etag(*self.history.floor(key))}
        elif kind < 0.45:
            conditions = {"ttl_ms": rng.randint(50, 2000)}
        else:
            assert value is not None
            value += b"x" * rng.choice((0, 0, 0, 500))
        return WriteOne(0, 0, key, value, token=token, **conditions)

    def draw(self, pid: int) -> Drawn:
        lane = self._numbers.lane(pid)
        return Drawn(lane, lane.draw())

    def renew(self, origin: int) -> None:
        """A partition has dropped this incarnation."""
        if self._numbers.origin == origin:
            self._numbers.renew(run_now(self._control.store.draw_incarnation()))

    def check_acked(self, pid: int, written: Written) -> None:
        """An answer leaves only after its record is committed."""
        self._invariants.check()
        self.history.check_acked_now(pid, written, self._invariants.records)


class Drawn:
    """A number out of a lane."""

    def __init__(self, lane: Any, number: int) -> None:
        self.lane = lane
        self.number = number


class Writing:
    """One write and its attempts; `ended` is called once, when the first one is over.

    Args: again: whether it was sent before.
    """

    def __init__(self, client: Client, write: WriteOne, ended: Callable[[], None], again: bool = False) -> None:
        self._client = client
        self._write = write
        self._ended = ended
        self._drawn: Drawn | None = None
        self._attempt = 0
        self._is_unknown = again
        self._is_over = False
        self._is_first = not again
        self._until_ms = client.world.now_ms + PATIENCE_MS

    def send(self) -> None:
        """Make an attempt."""
        client = self._client
        self._attempt += 1
        attempt = self._attempt
        entry, node = client.route(self._write.key, again=not self._is_first)
        if entry.pid != self._write.pid and not self._moves_to(entry.pid):
            self._end("unknown")
            return
        write = self.marked(entry.ver)
        is_doubled = self._write.token and client.world.rng.random() < 0.1
        # A token may be forgotten while a request under it is held up for longer than clients try; a number never is.
        is_held_up = not self._write.token and client.world.rng.random() < HELD_UP
        for _ in range(2 if is_doubled else 1):
            client.world.at(
                client.world.rng.uniform(0, HELD_UP_MS) if is_held_up else 0,
                lambda: node.write(write, lambda result: self._answered(attempt, write, result)),
            )
        client.world.at(ANSWER_MS, lambda: self._lost(attempt))

    def _moves_to(self, pid: int) -> bool:
        """The key belongs to another partition; False where a number that may have been used means nothing there."""
        if self._drawn is not None and self._is_unknown:
            return False
        self._settle()
        self._write = msgspec.structs.replace(self._write, pid=pid)
        return True

    def marked(self, ver: int) -> WriteOne:
        """The write as this attempt says it."""
        if self._write.token:
            return msgspec.structs.replace(self._write, ver=ver, again=self._is_unknown)
        if self._drawn is None:
            self._drawn = self._client.draw(self._write.pid)
        lane = self._drawn.lane
        return msgspec.structs.replace(
            self._write,
            ver=ver,
            origin=lane.origin,
            number=self._drawn.number,
            floor=lane.floor,
            again=self._is_unknown,
        )

    def _lost(self, attempt: int) -> None:
        if attempt == self._attempt and not self._is_over:
            self._is_unknown = True
            self._retry()

    def _answered(self, attempt: int, write: WriteOne, result: Written | Fault) -> None:
        """Whoever answers, to whichever attempt: what was done was done once."""
        if isinstance(result, Written):
            if result.seq or write.token or write.again:
                self._client.history.check_same(write, result)
            self._client.check_acked(write.pid, result)
        elif result.code == "token_reused":
            raise Violation(f"{write.key!r}: a token that stands for nothing else was refused")
        if attempt != self._attempt or self._is_over:
            return
        if isinstance(result, Written):
            self._client.history.wrote(write, result)
            self._end("done")
        elif result.code == "precondition_failed":
            self._end("failed_condition")
        elif result.code == "stale_token":
            self._forgotten(write)
        else:
            self._is_unknown = self._is_unknown or result.code == "outcome_unknown"
            self._retry()

    def _forgotten(self, write: WriteOne) -> None:
        self._client.history.count("stale_token")
        if self._is_unknown:
            self._end("unknown")
            return
        self._settle()
        self._client.renew(write.origin)
        self._retry()

    def _retry(self) -> None:
        client = self._client
        self._attempt += 1
        self._end_first(is_answered=False)
        gives_up = not self._is_unknown and client.world.rng.random() < GIVE_UP
        if gives_up or client.world.now_ms >= self._until_ms:
            if not self._is_unknown:
                client.history.refused(self._write)
            self._end("unknown" if self._is_unknown else "refused")
            return
        client.history.count("sent_again")
        client.world.at(client.world.rng.uniform(*PAUSE_MS), self.send)

    def _settle(self) -> None:
        if self._drawn is not None:
            self._drawn.lane.settle(self._drawn.number)
            self._drawn = None

    def _end(self, outcome: str) -> None:
        self._is_over = True
        client = self._client
        client.history.count(outcome)
        if self._write.token and outcome == "done" and client.world.rng.random() < AGAIN_LATER:
            again = Writing(client, self._write, lambda: None, again=True)
            client.world.at(client.world.rng.uniform(1, PATIENCE_MS), again.send)
        self._settle()
        self._end_first(is_answered=True)

    def _end_first(self, is_answered: bool) -> None:
        if self._is_first:
            self._is_first = False
            if not is_answered:
                self._client.forget_route(self._write.pid)
            self._ended()
