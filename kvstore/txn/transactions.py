"""Transactions and locks at the end of one leader's log.

Guarantees: each request for locked keys waits in line for a bounded time, and ends in one answer; a read or a scan of a
key that a prepared transaction may change waits until its end is committed, and never sees the old value; the decision
is asked for while somebody waits. Leaves to others: votes (`participant`), decisions (`primary`), the log (`leader`).
Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import msgspec

from kvstore.effects import Effect, Reply
from kvstore.instant import Instant
from kvstore.messages import Fault, Prepare, Transact, Transacted, TxnName, Voted, WriteOne, Written
from kvstore.replication.answers import FROZEN, LATER, Later
from kvstore.replication.copy import Copy
from kvstore.replication.node_leaders import NodeLeaders
from kvstore.storage.engine import Snapshot
from kvstore.txn.evaluate import keys_of
from kvstore.txn.fences import Fence, is_within
from kvstore.txn.locks import Locks, Request, Waiter
from kvstore.txn.log_end import CONFLICT, CROWDED, LOCK_WAIT_MS, LOCKED, LogEnd
from kvstore.txn.participant import Participant
from kvstore.txn.primary import Primary
from kvstore.txn.records import Decided, Finished, Forgotten, Payload, Prepared, effects_of
from kvstore.txn.records import Effect as KeyEffect
from kvstore.txn.state import ended_of

KEY_WAIT_MS = 100
ASK_WHEN_LEFT_MS = 50


class ReadWaiter(msgspec.Struct, frozen=True):
    """A read of a key, until the transaction `name` has ended, or `until_ms`."""

    ticket: object
    name: TxnName
    key: bytes
    is_confirmed: bool
    until_ms: int


class LeaderEnd(LogEnd, Protocol):
    """The leader, as its transactions see it."""

    def read(
        self,
        ticket: object,
        key: bytes,
        view: Snapshot,
        now: Instant,
        is_confirmed: bool = False,
        has_waited: bool = False,
    ) -> bytes | Fault | Later | None: ...

    def write(
        self, ticket: object, write: WriteOne, view: Snapshot, now: Instant, full: bool
    ) -> Written | Fault | Later: ...


class Transactions:
    """Args: copy: the leader's own; end: the leader; shared: by the node's leaders.

    Attributes:
        in_doubt: by key, the prepared transaction that may change what is committed of it, which may not be shown.
    """

    def __init__(self, copy: Copy, end: LeaderEnd, shared: NodeLeaders, now: Instant) -> None:
        self.locks: Locks = Locks()
        self.primary = Primary(copy, end, shared, now)
        self.participant = Participant(copy, end, self.locks, self.primary.latest, now)
        self.in_doubt: Mapping[bytes, TxnName] = self.participant.hidden
        self._copy = copy
        self._end = end
        self._reading: list[ReadWaiter] = []
        self._payloads: dict[int, Payload] = {}

    # ---- the log ------------------------------------------------------------------------------------------------

    def take(self, payload: Payload, seq: int, now: Instant, time_ms: int) -> None:
        """A record joined the log's end."""
        self._payloads[seq] = payload
        if isinstance(payload, Prepared):
            self.participant.take_prepared(payload, now)
        elif isinstance(payload, Decided):
            self.primary.take_decided(payload, seq, now, time_ms)
        elif isinstance(payload, Finished):
            self.participant.take_finished(payload, seq)
            if payload.is_remembered:
                self.primary.take_remembered(seq, ended_of(payload, time_ms))
        elif isinstance(payload, Forgotten):
            self.primary.take_forgotten(payload)

    def committed(self, seq: int) -> list[KeyEffect]:
        """The record at `seq` is committed; returns the keys that it changes."""
        payload = self._payloads.pop(seq, None)
        if isinstance(payload, Prepared):
            self.participant.hide(payload)
        elif isinstance(payload, Finished):
            self.participant.end(payload)
        return effects_of(payload)

    # ---- requests -----------------------------------------------------------------------------------------------

    def prepare(
        self, ticket: object, asked: Prepare, view: Snapshot, now: Instant, full: bool
    ) -> Voted | Fault | Later:
        """A participant's vote, or `LATER`."""
        known = self.participant.known(ticket, asked, view, now)
        if known is not None:
            return known
        if self._end.is_draining:
            return FROZEN
        keys = keys_of(asked.part)
        if not self.locks.may_be_prepared(keys):
            return self._wait(ticket, asked, keys, now.mono_ms + LOCK_WAIT_MS)
        return self.participant.prepare(ticket, asked, view, now, full)

    def transact(
        self, ticket: object, asked: Transact, view: Snapshot, now: Instant, full: bool
    ) -> Transacted | Fault | Later:
        """The primary's decision, or `LATER`."""
        known = self.primary.known(ticket, asked, view, now)
        if known is not None:
            return known
        keys = keys_of(asked.part)
        if self.locks and not self.locks.is_free(keys):
            return self._wait(ticket, asked, keys, now.mono_ms + LOCK_WAIT_MS)
        return self.primary.decide(ticket, asked, view, now, full)

    def hold_write(self, ticket: object, write: WriteOne, now: Instant) -> Fault | Later:
        """A write of a key that is locked waits in line."""
        return self._wait(ticket, write, (write.key,), now.mono_ms + KEY_WAIT_MS)

    def hold_read(self, ticket: object, name: TxnName, key: bytes, is_confirmed: bool, now: Instant) -> Later:
        """A read waits for the end of a transaction that holds its key."""
        self._reading.append(ReadWaiter(ticket, name, key, is_confirmed, now.mono_ms + KEY_WAIT_MS))
        return LATER

    def hidden_within(self, start: bytes, end: bytes) -> list[bytes]:
        """The keys from `start` to `end` (empty: no end) of which it may not be shown what is committed."""
        return [key for key in self.participant.hidden if is_within(key, start, end)]

    def hold_scan(self, fence: Fence) -> None:
        """A scan waits at its fence for the end of the transactions that may change keys within."""
        self.locks.fences.put(fence)

    def _wait(
        self, ticket: object, request: Request, keys: list[bytes] | tuple[bytes, ...], until_ms: int
    ) -> Fault | Later:
        if self.locks.is_crowded:
            return CROWDED
        self.locks.wait(Waiter(ticket, request, keys, until_ms))
        return LATER

    # ---- waiting ------------------------------------------------------------------------------------------------

    @property
    def has_waiting(self) -> bool:
        """Whether anybody waits for a lock, or to read."""
        return bool(self._reading) or self.locks.is_wanted or bool(self.locks.fences)

    def retry(self, view: Snapshot, now: Instant, full: bool) -> list[Effect]:
        """Go on with those whose keys are free, and send those away whose wait is over."""
        effects = self._retry_scans(now)
        for waiter, is_free in self.locks.step(now.mono_ms):
            if not is_free:
                self.participant.want(self.locks.holders_of(waiter.keys))
            result = self._go_on(waiter, view, now, full) if is_free else self._give_up(waiter, view, now)
            if not isinstance(result, Later):
                effects.append(Reply(waiter.ticket, result))
        effects += self._retry_reads(view, now)
        self._want(now)
        return effects

    def _go_on(
        self, waiter: Waiter, view: Snapshot, now: Instant, full: bool
    ) -> Voted | Transacted | Written | Fault | Later:
        request = waiter.request
        if isinstance(request, Prepare):
            return self.prepare(waiter.ticket, request, view, now, full)
        if isinstance(request, Transact):
            return self.transact(waiter.ticket, request, view, now, full)
        return self._end.write(waiter.ticket, request, view, now, full)

    def _give_up(self, waiter: Waiter, view: Snapshot, now: Instant) -> Voted | Transacted | Fault | Later:
        """Nothing is done for it, unless the same request was carried out when it came another way meanwhile."""
        ticket, request = waiter.ticket, waiter.request
        if isinstance(request, Transact):
            decided = self.primary.known(ticket, request, view, now)
            return self.primary.refuse(ticket, request, CONFLICT, now) if decided is None else decided
        if isinstance(request, Prepare):
            voted = self.participant.known(ticket, request, view, now)
            return CONFLICT if voted is None else voted
        return LOCKED

    def _retry_reads(self, view: Snapshot, now: Instant) -> list[Effect]:
        """What a transaction left is shown in the turn in which its end is committed, whoever has prepared the key
        since: the vote of that one leaves no earlier, so it is not decided."""
        reading, self._reading = self._reading, []
        effects: list[Effect] = []
        for waiter in reading:
            if waiter.name not in self.participant.held:
                row = self._end.read(waiter.ticket, waiter.key, view, now, waiter.is_confirmed, has_waited=True)
                if not isinstance(row, Later):
                    effects.append(Reply(waiter.ticket, row))
            elif now.mono_ms >= waiter.until_ms:
                effects.append(Reply(waiter.ticket, LOCKED))
            else:
                self._reading.append(waiter)
        return effects

    def _retry_scans(self, now: Instant) -> list[Effect]:
        fences = self.locks.fences
        told = fences.settled(self.participant.changing, now.mono_ms) if fences else []
        return [Reply(ticket, None if is_clear else LOCKED) for ticket, is_clear in told]

    def _want(self, now: Instant) -> None:
        """Have the decisions asked for that somebody has waited for some while."""
        fences = [one for one in self.locks.fences.waiting() if one.until_ms - now.mono_ms <= ASK_WHEN_LEFT_MS]
        reading = {one.name for one in self._reading if one.until_ms - now.mono_ms <= ASK_WHEN_LEFT_MS}
        self.participant.want(reading.union(*(self._holders_within(fence) for fence in fences)))

    def _holders_within(self, fence: Fence) -> set[TxnName]:
        return {name for key, name in self.participant.hidden.items() if fence.holds(key)}

    def next_end_ms(self, now: Instant) -> int | None:
        """When somebody's patience is over, or half of it will be."""
        ends = [one.until_ms for one in self._reading] + self.locks.fences.ends_ms
        ends += [one - ASK_WHEN_LEFT_MS for one in ends if one - ASK_WHEN_LEFT_MS > now.mono_ms]
        if self.locks.next_end_ms is not None:
            ends.append(self.locks.next_end_ms)
        return min(ends, default=None)

    def send_away(self, fault: Fault) -> list[Effect]:
        """Leadership is over, or about to end: nothing of what waits was appended."""
        tickets = [one.ticket for one in self.locks.clear()] + [one.ticket for one in self._reading]
        tickets += self.locks.fences.clear()
        self._reading = []
        return [Reply(ticket, fault) for ticket in tickets]
