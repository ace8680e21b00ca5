"""The short way of the plainest requests: from the bytes of one request to those of its answer, without a task.

Guarantees: of reads and of writes one call each is under way to a node; what is asked meanwhile goes together, writes
to all nodes at the same time, and waits for that no longer than `READ_HOLD_S` or `WRITE_HOLD_S`; a read that does not
end in a row or in nothing at the first attempt is handed back, and goes the long way; a write that does not end at its
first attempt goes on under the same number, as one that went the long way; where anything unforeseen breaks, whoever it
concerns is told so, and others go on. Answers are those of `key_routes`, byte for byte but for the request's id. Leaves
to others: which requests these are (`fast_requests`), when writes leave (`write_rounds`), order on a connection and its
deadlines (`http_protocol`), attempts after the first (`dispatch`). PROTOCOL "Write path", "Idempotency".
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial

from cluster.gateway.answer import Renderer
from cluster.gateway.dispatch import READ_ATTEMPT_S, WRITE_ATTEMPT_S, Dispatcher
from cluster.gateway.fast_groups import Caller, Reads, Writes, Writing
from cluster.gateway.fast_requests import FastRequest, change_of
from cluster.gateway.flight import NO_LANE, Flight, found_in, write_of
from cluster.gateway.key_answers import (
    NOTHING_FOUND,
    deleted_answer,
    found_answer,
    found_lines,
    plain_answer,
    plain_stored,
    stored_answer,
    write_answer,
)
from cluster.gateway.operations import Stored
from cluster.gateway.router import Router
from cluster.gateway.write_rounds import WriteRounds
from cluster.partitioning import UnknownTenant
from kvstore.errors import KvError
from kvstore.map_values import Entry
from kvstore.messages import Body, Fault, Read, ReadOne, ReadResult, Write, WriteOne, WriteResult
from kvstore.rpc.connection import NotSent, RpcError
from kvstore.storage.records import DamagedRow
from kvstore.versions import etag

KEYSPACE = "default"
# How long what is asked of a node waits for company while a call to it is under way. A write waits for two disks
# anyway, and a call, with the batches that come of it, costs nodes nearly as much for one write as for twenty.
READ_HOLD_S = 0.005
WRITE_HOLD_S = 0.02
# How long writes of a partition go alone after one of them has kept others waiting.
ALONE_S = 1.0


class FastLane:
    """Args:
    dispatcher: whose links, numbers and further attempts are used.
    observe: told of reads, and of puts, that were answered together: operation, outcome, seconds of each.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        router: Router,
        observe: Callable[[str, str, Sequence[float]], None],
        *,
        max_value_bytes: int,
    ) -> None:
        self.renderer = Renderer()
        self._observe = observe
        self._dispatcher = dispatcher
        self._links = dispatcher.links
        self._router = router
        # What was asked of the router since the map is this one: of each partition the entry's version, and its leader.
        self._map = router.map
        self._locate = router.locator(KEYSPACE)
        self._leaders: dict[int, tuple[int, str]] = {}
        self._max_value_bytes = max_value_bytes
        self._reads_per_call = dispatcher.reads_per_call
        self._loop = asyncio.get_running_loop()
        self._reads: dict[str, Reads] = {}
        self._writes: dict[str, Writes] = {}
        self._reading: Counter[str] = Counter()
        self._rounds = WriteRounds()
        self._is_expecting = False
        self._alone_until_s: dict[int, float] = {}
        self._is_due = False
        self._is_holding = False
        self._going_on: set[asyncio.Task[None]] = set()

    def begin(self, caller: Caller, request: FastRequest) -> bool:
        """Begin to answer; False where the request has to go the long way."""
        if request.method == "GET" or request.method == "HEAD":
            return self.read(caller, request.key)
        value = request.value
        if value is not None and (len(value) > self._max_value_bytes or self._has_rules()):
            return False
        entry = self._route(request.key)
        if entry is None or entry.leader is None:
            return False
        self._write(caller, entry, entry.leader.node, request)
        self._send_soon()
        return True

    def _route(self, key: bytes) -> Entry | None:
        try:
            return self._router.route(KEYSPACE, key)
        except KvError:
            return None

    def _has_rules(self) -> bool:
        """Whether values are asked for what only the long way sees to."""
        known = self._router.map.keyspaces.get(KEYSPACE)
        return known is not None and (known.default_ttl_ms > 0 or known.max_value_bytes > 0)

    def _send_soon(self) -> None:
        if not self._is_due:
            self._is_due = True
            self._loop.call_soon(self._send)

    def _send(self) -> None:
        """What was asked leaves, of each kind one call to a node at a time: what comes meanwhile goes together."""
        self._is_due = False
        for node in [node for node in self._reads if not self._reading[node]]:
            self._send_reads(node, self._reads.pop(node))
        if self._writes:
            self._send_round()
        if self._reads and not self._is_holding:
            self._is_holding = True
            self._loop.call_later(READ_HOLD_S, self._send_all_reads)

    def _send_all_reads(self) -> None:
        """No read is held any longer."""
        self._is_holding = False
        reads, self._reads = self._reads, {}
        for node, group in reads.items():
            self._send_reads(node, group)

    # ---- reads --------------------------------------------------------------------------------------------------

    def read(self, caller: Caller, key: bytes) -> bool:
        """Begin to answer a GET or HEAD; False where it has to go the long way."""
        if self._map is not self._router.map:
            self._map, self._locate, self._leaders = self._router.map, self._router.locator(KEYSPACE), {}
        if self._locate is None:
            return False
        try:
            pid = self._locate(key)
        except UnknownTenant:
            return False
        known = self._leaders.get(pid) or self._leader_of(key)
        if known is None:
            return False
        ver, node = known
        group = self._reads.get(node)
        if group is None:
            group = self._reads[node] = Reads()
        group.reads.append(ReadOne(pid, ver, key))
        group.callers.append(caller)
        if len(group.reads) >= self._reads_per_call:
            self._send_reads(node, self._reads.pop(node))
        if not self._is_due:
            self._send_soon()
        return True

    def _leader_of(self, key: bytes) -> tuple[int, str] | None:
        entry = self._route(key)
        if entry is None or entry.leader is None:
            return None
        known = self._leaders[entry.pid] = entry.ver, entry.leader.node
        return known

    def _send_reads(self, node: str, group: Reads) -> None:
        self._dispatcher.served += 1
        try:
            future = self._links.call(
                node, Read(group.reads, is_urgent=True), self._dispatcher.attempt_s(READ_ATTEMPT_S)
            )
        except NotSent:
            for caller in group.callers:
                caller.take_long_way()
        except Exception as error:
            for caller in group.callers:
                caller.fail(error)
        else:
            self._reading[node] += 1
            future.add_done_callback(partial(self._take_rows, node, group))

    def _take_rows(self, node: str, group: Reads, future: asyncio.Future[Body]) -> None:
        self._reading[node] -= 1
        if node in self._reads:
            self._send_soon()
        answer = self._answer_of(node, future)
        callers = group.callers
        if not isinstance(answer, ReadResult) or len(answer.results) != len(callers):
            for caller in callers:
                caller.take_long_way()
            return
        opening, numbers, now_s = self.renderer.opening(), self.renderer.numbers, self._loop.time()
        seconds: list[float] = []
        for caller, read, row in zip(callers, group.reads, answer.results, strict=True):
            try:
                if isinstance(row, bytes):
                    data = plain_answer(opening, next(numbers), read.pid, row)
                    took_s = None if data is None else caller.answer_plainly(data, now_s)
                    if took_s is None:
                        self._tell(caller, read.pid, row, answer.now_ms)
                    else:
                        seconds.append(took_s)
                elif row is None:
                    caller.answer_fast(NOTHING_FOUND)
                else:
                    caller.take_long_way()
            except Exception as error:
                caller.fail(error)
        if seconds:
            self._observe("get", "ok", seconds)

    def _tell(self, caller: Caller, pid: int, row: bytes, now_ms: int) -> None:
        try:
            found = found_in(pid, row, now_ms)
        except DamagedRow:
            caller.take_long_way()
        else:
            caller.answer_fast(found_answer(found, found_lines(found)))

    def _answer_of(self, node: str, future: asyncio.Future[Body]) -> Body | RpcError:
        try:
            answer = future.result()
        except RpcError as error:
            self._links.failed(node)
            return error
        self._links.answered(node)
        return answer

    # ---- writes -------------------------------------------------------------------------------------------------

    def _write(self, caller: Caller, entry: Entry, node: str, request: FastRequest) -> None:
        is_alone = self._is_alone(entry.pid)
        group = None if is_alone else self._writes.get(node)
        if group is None:
            group = Writes(self._dispatcher.deadline_s(), is_alone)
            if not is_alone:
                self._writes[node] = group
        if request.token:
            lane, number = NO_LANE, 0
            write = write_of(entry, change_of(KEYSPACE, request), lane, number)
        else:
            lane = self._dispatcher.numbers.lane(entry.pid)
            number = lane.draw()
            write = WriteOne(
                entry.pid,
                entry.ver,
                request.key,
                request.value,
                request.content_type,
                if_match=request.if_match,
                if_none_match=request.if_none_match,
                origin=lane.origin,
                number=number,
                floor=lane.floor,
            )
        group.writes.append(write)
        group.callers.append((caller, entry, request, lane, number))
        if is_alone:
            self._send_writes(node, group)

    def _send_round(self) -> None:
        """Writes to all nodes leave, unless they wait for an answer or for more of them."""
        rounds, waiting = self._rounds, sum(len(group.writes) for group in self._writes.values())
        wait_s = rounds.wait_s(waiting, self._loop.time())
        if wait_s == 0:
            rounds.begin(waiting)
            for node in [node for node in self._writes if rounds.is_free(node)]:
                self._send_writes(node, self._writes.pop(node))
        elif wait_s is not None and not self._is_expecting:
            self._is_expecting = True
            self._loop.call_later(wait_s, self._expect_no_more)
        for node, group in self._writes.items():
            if group.hold is None:
                group.hold = self._loop.call_later(WRITE_HOLD_S, self._send_held, node)

    def _expect_no_more(self) -> None:
        self._is_expecting = False
        self._send_soon()

    def _send_held(self, node: str) -> None:
        """The writes to this node are held no longer."""
        self._rounds.held_too_long()
        self._send_writes(node, self._writes.pop(node))
        self._send_soon()

    def _is_alone(self, pid: int) -> bool:
        """Whether others are not to wait for writes of this partition, which may be slow."""
        if pid not in self._alone_until_s:
            return False
        if self._loop.time() < self._alone_until_s[pid]:
            return True
        del self._alone_until_s[pid]
        return False

    def _send_writes(self, node: str, group: Writes) -> None:
        if group.hold is not None:
            group.hold.cancel()
        self._dispatcher.served += 1
        try:
            call = Write(group.writes, is_urgent=True)
            future = self._links.call(node, call, self._dispatcher.attempt_s(WRITE_ATTEMPT_S))
        except NotSent as error:
            for one in group.callers:
                self._go_on(node, group, one, error)
        except Exception as error:
            for one in group.callers:
                one[0].fail(error)
        else:
            if not group.is_alone:
                self._rounds.sent(node, len(group.writes))
            future.add_done_callback(partial(self._take_written, node, group))

    def _take_written(self, node: str, group: Writes, future: asyncio.Future[Body]) -> None:
        if not group.is_alone:
            self._rounds.answered(node, len(group.callers), self._loop.time())
        if self._writes:
            self._send_soon()
        answer = self._answer_of(node, future)
        if not isinstance(answer, WriteResult) or len(answer.results) != len(group.callers):
            # One that tells of other writes than were asked for must not pass for the answer to a single one.
            told = WriteResult([]) if isinstance(answer, WriteResult) else answer
            for one in group.callers:
                self._go_on(node, group, one, told)
            return
        renderer, now_s = self.renderer, self._loop.time()
        seconds: list[float] = []
        for one, written in zip(group.callers, answer.results, strict=True):
            caller, entry, request, lane, number = one
            try:
                if isinstance(written, Fault):
                    if written.code == "outcome_unknown":
                        self._alone_until_s[entry.pid] = self._loop.time() + ALONE_S
                    self._go_on(node, group, one, WriteResult([written]))
                    continue
                if lane is not NO_LANE:
                    lane.settle(number)
                if request.value is None:
                    caller.answer_fast(deleted_answer())
                    continue
                took_s = caller.answer_plainly(plain_stored(renderer, entry.pid, written), now_s)
                if took_s is None:
                    version = etag(written.origin or entry.pid, written.epoch, written.seq)
                    caller.answer_fast(stored_answer(Stored(written.created, version, written.copies)))
                else:
                    seconds.append(took_s)
            except Exception as error:
                caller.fail(error)
        if seconds:
            self._observe("put", "ok", seconds)

    def _go_on(self, node: str, group: Writes, one: Writing, answer: Body | RpcError) -> None:
        """The first attempt did not end the write: make others, as `Dispatcher.carry` does."""
        caller, entry, request, lane, number = one
        try:
            flight = Flight((change_of(KEYSPACE, request),), group.deadline_s, 0)
            flight.entries[0] = entry
            if lane is not NO_LANE:
                flight.numbers[0] = lane, number
            task = self._loop.create_task(self._finish(caller, flight, node, answer))
            self._going_on.add(task)
            task.add_done_callback(self._going_on.discard)
        except Exception as error:
            caller.fail(error)

    async def _finish(self, caller: Caller, flight: Flight, node: str, answer: Body | RpcError) -> None:
        try:
            result = await self._dispatcher.go_on(flight, node, answer)
            caller.answer_fast(write_answer(result), result if isinstance(result, KvError) else None)
        except Exception as error:
            caller.fail(error)
