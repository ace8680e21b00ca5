"""Carrying operations to the leaders of their partitions, and trying again where that is safe.

Guarantees: every operation ends in exactly one result, within the deadline; it is sent again only while every attempt
so far provably did nothing, at most `ATTEMPTS` times; a write whose attempt may have been applied ends as
`OutcomeUnknown`. Operations of one call to `carry` go out together, one message per node and kind. Leaves to others:
order within a batch (`router.waves`), limits of what is asked (`service`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence

from cluster.gateway.operations import Change, Deleted, Found, Get, Operation, Result, Stored
from cluster.gateway.router import Router
from kvstore.errors import BodyTooLarge, KeyNotFound, KvError, NoLeader, OutcomeUnknown, from_code
from kvstore.messages import (
    Body,
    Entry,
    Failed,
    Fault,
    MapUpdate,
    Read,
    ReadOne,
    ReadResult,
    Write,
    WriteOne,
    WriteResult,
    Written,
)
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import Connection, NotSent, RpcError
from kvstore.storage.records import DamagedRow, decode_value
from kvstore.versions import etag

ATTEMPTS = 4
PAUSE_S = 0.025
FIRST_PAUSE_S = 0.005
READ_ANSWER_BYTES_MAX = 60 * 1024 * 1024
ANSWER_IS_FULL = "the answer is full: get this key in another batch"
RETRIED = frozenset(("wrong_leader", "no_leader"))


class Dispatcher:
    """Keeps a link to every node of the map and sends operations over them.

    Args:
        timeout_s: how long an operation may take in all.
        max_value_bytes: the largest value, by which the number of reads in one call is bounded.
    """

    def __init__(
        self, router: Router, identity: Identity, *, timeout_s: float, max_value_bytes: int, rng: random.Random
    ) -> None:
        self._router = router
        self._identity = identity
        self._timeout_s = timeout_s
        self._reads_per_call = max(1, READ_ANSWER_BYTES_MAX // (max_value_bytes + 1024))
        self._rng = rng
        self._links: dict[str, Link] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def take(self, update: MapUpdate) -> None:
        """News of the map from control: route by it, and dial nodes that are new or have moved."""
        self._router.take(update)
        for node in self._router.map.nodes.values():
            link = self._links.get(node.id)
            if link is not None and link.address == node.address:
                continue
            if link is not None:
                closing = self._loop.create_task(link.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            self._links[node.id] = link = Link(node.id, node.address, self._identity, _ignore)
            link.start()

    async def close(self) -> None:
        """Cut every link."""
        await asyncio.gather(*self._closing, *(link.close() for link in self._links.values()))

    async def carry(self, operations: Sequence[Operation], answer_bytes_max: int) -> list[Result]:
        """Carry out operations at the same time.

        Args:
            answer_bytes_max: reads whose values do not fit in this many bytes together end in BodyTooLarge.

        Returns:
            The results in the order of the operations.
        """
        flight = _Flight(operations, self._loop.time() + self._timeout_s, answer_bytes_max)
        await self._attempt(flight, range(len(operations)))
        for attempt in range(1, ATTEMPTS):
            if not flight.again:
                break
            pause_s = (FIRST_PAUSE_S if attempt == 1 else PAUSE_S * (1 << attempt)) * (0.5 + self._rng.random())
            if self._loop.time() + pause_s >= flight.deadline_s:
                break
            await asyncio.sleep(pause_s)
            positions, flight.again = flight.again, []
            await self._attempt(flight, positions)
        return flight.results

    async def _attempt(self, flight: _Flight, positions: Sequence[int]) -> None:
        """Try these operations once; each gets a result, and those that may be tried again are noted."""
        reads, writes = self._by_leader(flight, positions)
        for node, group in writes.items():
            self._send(flight, node, group, Write([flight.write_one(position) for position in group]))
        step = self._reads_per_call
        for start in range(0, max(map(len, reads.values()), default=0), step):
            for node, group in reads.items():
                if chunk := group[start : start + step]:
                    self._send_reads(flight, node, chunk)
            await self._settle(flight)
        await self._settle(flight)

    def _by_leader(
        self, flight: _Flight, positions: Sequence[int]
    ) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Positions of reads and of writes by the node that leads their partitions."""
        reads: dict[str, list[int]] = {}
        writes: dict[str, list[int]] = {}
        for position in positions:
            operation = flight.operations[position]
            try:
                entry = self._router.route(operation.keyspace, operation.key)
            except KvError as error:
                flight.results[position] = error
                continue
            if entry.leader is None:
                flight.fail_again((position,), NoLeader(f"partition {entry.pid} has no leader"))
                continue
            flight.entries[position] = entry
            groups = reads if isinstance(operation, Get) else writes
            groups.setdefault(entry.leader.node, []).append(position)
        return reads, writes

    def _send_reads(self, flight: _Flight, node: str, positions: Sequence[int]) -> None:
        if flight.answer_bytes_left < 0:
            for position in positions:
                flight.results[position] = BodyTooLarge(ANSWER_IS_FULL)
            return
        self._send(flight, node, positions, Read([flight.read_one(position) for position in positions]))

    def _send(self, flight: _Flight, node: str, positions: Sequence[int], body: Body) -> None:
        try:
            link = self._links.get(node)
            if link is None:
                raise NotSent("its address is not in the map")
            answer = link.call(body, max(0.001, flight.deadline_s - self._loop.time()))
        except NotSent as error:
            flight.fail_again(positions, NoLeader(f"the leader {node} cannot be reached: {error}"))
        else:
            flight.sent.append((node, positions, answer))

    async def _settle(self, flight: _Flight) -> None:
        """Wait for every answer that is out, and turn it into results."""
        sent, flight.sent = flight.sent, []
        for node, positions, future in sent:
            try:
                answer = await future
            except NotSent as error:
                flight.fail_again(positions, NoLeader(f"the leader {node} cannot be reached: {error}"))
                continue
            except RpcError as error:
                flight.lose(positions, f"no answer from node {node}: {error}")
                continue
            if isinstance(answer, ReadResult) and len(answer.results) == len(positions):
                for position, row in zip(positions, answer.results, strict=True):
                    if isinstance(row, Fault):
                        self._fault(flight, position, row)
                    else:
                        flight.take_row(position, row, answer.now_ms)
            elif isinstance(answer, WriteResult) and len(answer.results) == len(positions):
                for position, written in zip(positions, answer.results, strict=True):
                    if isinstance(written, Fault):
                        self._fault(flight, position, written)
                    else:
                        flight.take_written(position, written)
            elif isinstance(answer, Failed):
                for position in positions:
                    self._fault(flight, position, answer.fault)
            else:
                flight.lose(positions, f"an answer of the wrong kind from node {node}")

    def _fault(self, flight: _Flight, position: int, fault: Fault) -> None:
        if fault.entry is not None:
            self._router.take_entry(fault.entry)
        if fault.code in RETRIED:
            flight.fail_again((position,), NoLeader(fault.detail))
        else:
            flight.results[position] = from_code(fault.code, fault.detail)


class _Flight:
    """The operations of one `carry` under way. `again` are the positions that may be tried again."""

    __slots__ = ("again", "answer_bytes_left", "deadline_s", "entries", "operations", "results", "sent")

    def __init__(self, operations: Sequence[Operation], deadline_s: float, answer_bytes_max: int) -> None:
        self.operations = operations
        self.deadline_s = deadline_s
        self.answer_bytes_left = answer_bytes_max
        self.results: list[Result] = [_UNTRIED] * len(operations)
        self.entries: dict[int, Entry] = {}
        self.again: list[int] = []
        self.sent: list[tuple[str, Sequence[int], asyncio.Future[Body]]] = []

    def read_one(self, position: int) -> ReadOne:
        entry = self.entries[position]
        return ReadOne(entry.pid, entry.ver, self.operations[position].key)

    def write_one(self, position: int) -> WriteOne:
        entry, change = self.entries[position], self.operations[position]
        assert isinstance(change, Change)
        return WriteOne(
            entry.pid,
            entry.ver,
            change.key,
            change.value,
            change.content_type,
            change.ttl_ms,
            change.if_match,
            change.if_none_match,
        )

    def fail_again(self, positions: Sequence[int], error: KvError) -> None:
        """These did nothing and may be tried again; `error` is their result if they are not."""
        for position in positions:
            self.results[position] = error
        self.again.extend(positions)

    def lose(self, positions: Sequence[int], reason: str) -> None:
        """Nobody knows what became of these."""
        for position in positions:
            is_read = isinstance(self.operations[position], Get)
            self.results[position] = NoLeader(reason) if is_read else OutcomeUnknown(reason)

    def take_row(self, position: int, row: bytes | None, now_ms: int) -> None:
        if row is None:
            self.results[position] = KeyNotFound("nothing is stored under this key")
            return
        try:
            stored = decode_value(row)
        except DamagedRow as error:
            self.results[position] = KvError(f"the node sent a row that cannot be read: {error}")
            return
        self.answer_bytes_left -= len(stored.value)
        if self.answer_bytes_left < 0:
            self.results[position] = BodyTooLarge(ANSWER_IS_FULL)
            return
        version = etag(self.entries[position].pid, stored.epoch, stored.seq)
        ttl_s = max(0, stored.expiry_ms - now_ms) / 1000 if stored.expiry_ms else None
        self.results[position] = Found(stored.value, stored.content_type, version, ttl_s)

    def take_written(self, position: int, written: Written) -> None:
        change = self.operations[position]
        if isinstance(change, Change) and change.value is None:
            self.results[position] = _DELETED
            return
        version = etag(self.entries[position].pid, written.epoch, written.seq)
        self.results[position] = Stored(written.created, version, written.copies)


_DELETED = Deleted()
_UNTRIED = KvError("not tried")


def _ignore(_connection: Connection, _envelope: object) -> None:
    """Nodes say nothing to a gateway unasked."""
