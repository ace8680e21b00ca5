"""Carrying operations to the leaders of their partitions, and trying again where that is safe.

Guarantees: every operation ends in exactly one result, within the deadline; a write whose attempt may have been applied
is sent again under the same number or token, and ends in the outcome stored under it or as `OutcomeUnknown`; while a
partition changes its leader its operations wait, as far as their deadline allows, and only behind a node that has been
away for longer than that takes they fail at once; so do they while it is not known yet which keys a partition has. An
operation whose key has another partition than at its last attempt goes there, but for a write without a token whose
attempt may have been carried out. Operations of one call to `carry` go out together, one message per
node and kind. Leaves to others: order within a batch (`router.waves`), limits of what is asked (`service`). PROTOCOL
"Write path", "Idempotency".
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence

from cluster.gateway.flight import ANSWER_IS_FULL, Flight
from cluster.gateway.links import NodeLinks
from cluster.gateway.numbers import Numbers
from cluster.gateway.operations import Change, Get, Operation, Result
from cluster.gateway.router import Router, TenantNotKnown
from cluster.gateway.tenants import Ask, Tenants
from kvstore.errors import BodyTooLarge, KvError, NoLeader, from_code
from kvstore.messages import Absence, Body, Failed, Fault, MapUpdate, Read, ReadResult, Write, WriteResult
from kvstore.rpc.client import Identity
from kvstore.rpc.connection import NotSent, RpcError

PAUSE_S_MIN = 0.005
PAUSE_S_MAX = 0.2
READ_ATTEMPT_S = 1.5
WRITE_ATTEMPT_S = 2.0
RESERVE = 0.1
READ_ANSWER_BYTES_MAX = 60 * 1024 * 1024
# Outcomes of a write's own number or token, whoever was asked for them and when.
STORED = frozenset(("precondition_failed", "token_reused"))
# What control answers that may be asked again.
AGAIN = frozenset((429, 503))


class Pauses:
    """Pauses between the attempts of one request: they grow, with jitter, as long as none ends after `end_s`."""

    def __init__(self, rng: random.Random, loop: asyncio.AbstractEventLoop, end_s: float) -> None:
        self._rng = rng
        self._loop = loop
        self._end_s = end_s
        self._longest_s = PAUSE_S_MIN

    async def next(self) -> bool:
        """Wait for the next attempt; False at once where the time is over."""
        pause_s = self._longest_s * (0.5 + self._rng.random() / 2)
        self._longest_s = min(PAUSE_S_MAX, self._longest_s * 4)
        if self._loop.time() + pause_s > self._end_s:
            return False
        await asyncio.sleep(pause_s)
        return True


class Dispatcher:
    """Keeps a link to every node of the map and sends operations over them.

    Args:
        incarnation: of this gateway, never used before.
        draw_incarnation: asks control for a higher one.
        timeout_s: how long an operation may take in all.
        max_value_bytes: the largest value, by which the number of reads in one call is bounded.
        ask: asks control whose tenants are.

    Attributes:
        carried: how many calls to `carry` there were.
        served: how often nodes were asked for single keys, or for a page that a client waits for: all but long scans.
        tenants: what is known of those that are not in the map.
    """

    def __init__(
        self,
        router: Router,
        identity: Identity,
        *,
        incarnation: int,
        draw_incarnation: Callable[[], Awaitable[int]],
        timeout_s: float,
        max_value_bytes: int,
        rng: random.Random,
        ask: Ask,
    ) -> None:
        self.tenants = Tenants(ask, router)
        self.links = NodeLinks(identity, rng)
        self.carried = 0
        self.served = 0
        self.numbers = Numbers(incarnation)
        self._draw_incarnation = draw_incarnation
        self._renewing: asyncio.Task[None] | None = None
        self._router = router
        self._timeout_s = timeout_s
        self.reads_per_call = max(1, READ_ANSWER_BYTES_MAX // (max_value_bytes + 1024))
        self._rng = rng
        self._loop = asyncio.get_running_loop()

    def take(self, update: MapUpdate) -> None:
        """News of the map from control: route by it, and dial nodes that are new or have moved."""
        self._router.take(update)
        self.links.take(self._router.map.nodes.values())

    async def close(self) -> None:
        """Cut every link."""
        await self.tenants.close()
        if self._renewing is not None:
            self._renewing.cancel()
        await self.links.close()

    def deadline_s(self) -> float:
        """When an operation that begins now must have ended, on the event loop's clock."""
        return self._loop.time() + self._timeout_s

    def attempt_s(self, longest_s: float) -> float:
        """How long a first attempt may take."""
        return min(self._timeout_s, longest_s)

    def patience_end_s(self) -> float:
        """Until when what begins now is tried again, on the event loop's clock: the last attempt has a tenth of the
        time left, so that it is not sent only to be lost."""
        return self._loop.time() + self._timeout_s * (1 - RESERVE)

    async def carry(
        self,
        operations: Sequence[Operation],
        answer_bytes_max: int,
        patience_end_s: float | None = None,
        is_quorum: bool = False,
    ) -> list[Result]:
        """Carry out operations at the same time.

        Args:
            answer_bytes_max: reads whose values do not fit in this many bytes together end in BodyTooLarge.
            patience_end_s: what `patience_end_s()` was when the request began of which these are a part.
            is_quorum: leaders answer the reads only when their followers have confirmed them.

        Returns:
            The results in the order of the operations.
        """
        flight = Flight(operations, self.deadline_s(), answer_bytes_max, is_quorum)
        await self._carry(flight, self.patience_end_s() if patience_end_s is None else patience_end_s)
        return flight.results

    async def collect(
        self, gets: Sequence[Get], answer_bytes_max: int, patience_end_s: float
    ) -> tuple[list[Result], dict[int, Absence]]:
        """Read keys; arguments as for `carry`.

        Returns:
            The results, and by position of what is not there, as far as known, what tells its absence from others.
        """
        flight = Flight(gets, self.deadline_s(), answer_bytes_max, tells_absences=True)
        await self._carry(flight, patience_end_s)
        return flight.results, flight.absences

    async def _carry(self, flight: Flight, patience_end_s: float) -> None:
        self.carried += 1
        self.served += 1
        try:
            await self._try(flight, patience_end_s)
        finally:
            flight.settle()

    async def go_on(self, flight: Flight, node: str, answer: Body | RpcError) -> Result:
        """Make further attempts of the only operation in `flight`, whose first one `node` answered so."""
        if isinstance(answer, NotSent):
            self._refuse(flight, node, (0,), answer)
        elif isinstance(answer, RpcError):
            flight.lose((0,), f"no answer from node {node}: {answer}")
        else:
            self._take(flight, node, (0,), answer)
        try:
            await self._try_again(flight, flight.deadline_s - self._timeout_s * RESERVE)
        finally:
            flight.settle()
        return flight.results[0]

    async def _try(self, flight: Flight, patience_end_s: float) -> None:
        await self._attempt(flight, range(len(flight.operations)))
        await self._try_again(flight, patience_end_s)

    async def _try_again(self, flight: Flight, patience_end_s: float) -> None:
        if flight.again:
            pauses = self.pauses(patience_end_s)
            while flight.again and await pauses.next():
                positions, flight.again = flight.again, []
                await self._attempt(flight, positions)

    def pauses(self, patience_end_s: float) -> Pauses:
        """The pauses of a request between its attempts; `patience_end_s` as for `carry`."""
        return Pauses(self._rng, self._loop, patience_end_s)

    async def _attempt(self, flight: Flight, positions: Sequence[int]) -> None:
        """Try these operations once; each gets a result, and those that may be tried again are noted."""
        reads, writes = self._by_leader(flight, positions)
        if flight.homeless:
            found = self._by_leader(flight, await self._find_homes(flight))
            for groups, more in zip((reads, writes), found, strict=True):
                for node, group in more.items():
                    groups.setdefault(node, []).extend(group)
            flight.fail_again([position for position, _ in flight.homeless], NoLeader("the tenant's keys are moving"))
            flight.homeless.clear()
        for node, group in writes.items():
            body = Write([flight.write_one(position) for position in group])
            self._send(flight, node, group, body, WRITE_ATTEMPT_S)
        step = self.reads_per_call
        for start in range(0, max(map(len, reads.values()), default=0), step):
            for node, group in reads.items():
                if chunk := group[start : start + step]:
                    self._send_reads(flight, node, chunk)
            await self._settle(flight)
        await self._settle(flight)

    def _by_leader(self, flight: Flight, positions: Sequence[int]) -> tuple[dict[str, list[int]], dict[str, list[int]]]:
        """Positions of reads and of writes by the node that leads their partitions."""
        reads: dict[str, list[int]] = {}
        writes: dict[str, list[int]] = {}
        operations, entries, route = flight.operations, flight.entries, self._router.route
        for position in positions:
            operation = operations[position]
            try:
                entry = route(operation.keyspace, operation.key)
            except TenantNotKnown as error:
                flight.homeless.append((position, error))
                continue
            except KvError as error:
                self._unrouted(flight, position, error)
                continue
            if entry.leader is None:
                flight.fail_again((position,), NoLeader(f"partition {entry.pid} has no leader"))
                continue
            entries[position] = entry
            groups = reads
            if isinstance(operation, Change):
                groups = writes
                if not operation.token and not flight.draw(position, self.numbers.lane(entry.pid)):
                    continue
            node = entry.leader.node
            if node in groups:
                groups[node].append(position)
            else:
                groups[node] = [position]
        return reads, writes

    def _unrouted(self, flight: Flight, position: int, error: KvError) -> None:
        """There is no partition to ask: wait for news of one that is there, but not for a cluster or a keyspace."""
        is_placed = self._router.is_placed(flight.operations[position].keyspace)
        is_waited_for = isinstance(error, NoLeader) and is_placed
        (flight.fail_again if is_waited_for else flight.fail)((position,), error)

    async def _find_homes(self, flight: Flight) -> list[int]:
        """Ask whose partitions have the keys of tenants that are not known here; those that may be tried now. Reads of
        a tenant that has none have found nothing."""
        homeless, flight.homeless = flight.homeless, []
        unknown = {(error.keyspace, error.tenant, self._writes(flight, at)): error for at, error in homeless}
        settling = (self.tenants.settle(error, assign) for (_, _, assign), error in unknown.items())
        settled = dict(zip(unknown, await asyncio.gather(*settling, return_exceptions=True), strict=True))
        found: list[int] = []
        for at, error in homeless:
            outcome = settled[error.keyspace, error.tenant, self._writes(flight, at)]
            if isinstance(outcome, KvError):
                (flight.fail_again if outcome.status in AGAIN else flight.fail)((at,), outcome)
            elif isinstance(outcome, BaseException):
                raise outcome
            elif outcome:
                found.append(at)
            else:
                flight.take_absent(at)
        return found

    def _writes(self, flight: Flight, position: int) -> bool:
        return isinstance(flight.operations[position], Change)

    def _send_reads(self, flight: Flight, node: str, positions: Sequence[int]) -> None:
        if flight.answer_bytes_left < 0:
            flight.fail(positions, BodyTooLarge(ANSWER_IS_FULL))
            return
        reads = Read(flight.reads(positions), flight.is_quorum, flight.tells_absences)
        self._send(flight, node, positions, reads, READ_ATTEMPT_S)

    def _send(self, flight: Flight, node: str, positions: Sequence[int], body: Body, attempt_s: float) -> None:
        left_s = max(0.001, flight.deadline_s - self._loop.time())
        try:
            answer = self.links.call(node, body, min(left_s, attempt_s))
        except NotSent as error:
            self._refuse(flight, node, positions, error)
        else:
            flight.sent.append((node, positions, answer))

    def _refuse(self, flight: Flight, node: str, positions: Sequence[int], reason: NotSent) -> None:
        """Nothing was sent: wait for another leader, unless the others have had the time to make one."""
        error = NoLeader(f"the leader {node} cannot be reached: {reason}")
        (flight.fail if self.links.is_away(node) else flight.fail_again)(positions, error)

    async def _settle(self, flight: Flight) -> None:
        """Wait for every answer that is out, and turn it into results."""
        sent, flight.sent = flight.sent, []
        for node, positions, future in sent:
            try:
                answer = await future
            except NotSent as error:
                self.links.failed(node)
                self._refuse(flight, node, positions, error)
                continue
            except RpcError as error:
                self.links.failed(node)
                flight.lose(positions, f"no answer from node {node}: {error}")
                continue
            self.links.answered(node)
            self._take(flight, node, positions, answer)

    def _take(self, flight: Flight, node: str, positions: Sequence[int], answer: Body) -> None:
        """A node answered a call about these positions."""
        if isinstance(answer, ReadResult) and len(answer.results) == len(positions):
            for position, fault in flight.take_rows(positions, answer):
                self._fault(flight, position, fault)
            if len(answer.absences) == len(positions):
                absences = zip(positions, answer.absences, strict=True)
                flight.absences.update((position, one) for position, one in absences if one is not None)
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

    def _fault(self, flight: Flight, position: int, fault: Fault) -> None:
        if fault.entry is not None:
            self._router.take_entry(fault.entry)
        if position in flight.unknown or fault.code == "outcome_unknown":
            self._fault_of_unknown(flight, position, fault)
        elif fault.code == "stale_token":
            self._renew(flight.numbers[position][0].origin)
            flight.drop_number(position)
            flight.fail_again(
                (position,), NoLeader("the partition has forgotten this gateway, which takes a new number")
            )
        elif fault.code == "wrong_leader":
            flight.fail_wrong_leader(position, NoLeader(fault.detail))
        elif fault.code == "no_leader":
            flight.fail_again((position,), NoLeader(fault.detail))
        else:
            flight.fail((position,), from_code(fault.code, fault.detail))

    def _fault_of_unknown(self, flight: Flight, position: int, fault: Fault) -> None:
        """What a write was told of which an attempt may have been carried out."""
        if fault.code in STORED:
            flight.results[position] = from_code(fault.code, fault.detail)
        elif fault.code != "stale_token":
            flight.lose((position,), fault.detail)

    def _renew(self, origin: int) -> None:
        """A partition has dropped this incarnation: go on as a new one."""
        if self._renewing is None and origin == self.numbers.origin:
            self._renewing = self._loop.create_task(self._take_incarnation())

    async def _take_incarnation(self) -> None:
        try:
            self.numbers.renew(await self._draw_incarnation())
        except KvError:
            pass  # Control is stopping, and so is this gateway.
        finally:
            self._renewing = None
