"""When a copy asks to lead.

Guarantees: only a copy that the map calls in sync and whose data is complete asks; never while a lease that it granted
may still be valid, so it waits until it has heard nothing of the leader for a grace that is longer than any lease, and
as long again after a start; from the moment it asks until a newer entry settles that, it grants and accepts nothing of
the former leader. Leaves to others: leading (`partition`), who hears of whom (`leases`). Sans-IO. PROTOCOL "Failover".
"""

from __future__ import annotations

import msgspec

from kvstore.effects import AskCas
from kvstore.instant import Instant
from kvstore.map_values import Entry
from kvstore.replication.copy import Copy

ASK_AGAIN_MS = 1000
GRACE_MS = 2500
GRACE_STEP_MS = 200
PASSED_ON = 0


class Candidate:
    """Args: boot: the process's boot counter, by which its asks are told from another process's."""

    def __init__(self, boot: int) -> None:
        self.is_closed = False
        self._boot = boot
        self._asked: Entry | None = None
        self._asked_ms = -ASK_AGAIN_MS
        self._heard_ms: int | None = None

    def heard(self, now: Instant) -> None:
        """The leader gave a sign of life, or was granted its lease."""
        self._heard_ms = now.mono_ms

    def settled(self, now: Instant) -> None:
        """A newer entry stands: whatever was asked is decided, and whoever leads now gets the whole grace."""
        self.is_closed = False
        if self._heard_ms is not None:
            self._heard_ms = now.mono_ms

    def takes(self, entry: Entry) -> bool:
        """Whether this is the entry that was asked for: it is taken once."""
        if entry != self._asked:
            return False
        self._asked = None
        return True

    def consider(self, copy: Copy, entry: Entry, now: Instant) -> list[AskCas]:
        """The entry has just arrived: ask at once if nothing has to be waited for."""
        return [self._ask(copy, entry, now)] if _is_due_at_once(copy, entry) else []

    def tick(self, copy: Copy, entry: Entry, now: Instant) -> list[AskCas]:
        """Time has passed: ask where this copy should lead, or where nothing was heard of who does."""
        if self._heard_ms is None:
            self._heard_ms = now.mono_ms
        mine = copy.name.rid
        is_able = mine in entry.in_sync and not copy.is_backfilling
        if not is_able or now.mono_ms - self._asked_ms < ASK_AGAIN_MS:
            return []
        if now.mono_ms - self._heard_ms >= GRACE_MS + GRACE_STEP_MS * entry.in_sync.index(mine):
            self.is_closed = True
            return [self._ask(copy, entry, now)]
        return self.consider(copy, entry, now)

    def _ask(self, copy: Copy, entry: Entry, now: Instant) -> AskCas:
        """The next epoch, without the leader that was not heard of."""
        mine = copy.name.rid
        former = None if entry.leader_boot == PASSED_ON else entry.leader
        self._asked_ms = now.mono_ms
        self._asked = msgspec.structs.replace(
            entry,
            ver=entry.ver + 1,
            epoch=entry.epoch + 1,
            leader=mine,
            leader_boot=self._boot,
            in_sync=tuple(rid for rid in entry.in_sync if rid == mine or rid != former),
        )
        return AskCas(self._asked)


def _is_due_at_once(copy: Copy, entry: Entry) -> bool:
    """Whether this copy should lead and no lease that it granted can still be valid: nobody ever led, or leadership was
    passed on to it, or it led that epoch itself, as the rows show that it has of it."""
    mine = copy.name.rid
    if entry.leader is None:
        return entry.replicas[0] == mine
    starts = copy.log.starts
    has_led = bool(starts) and starts[-1][0] >= entry.epoch
    return entry.leader == mine and (entry.leader_boot == PASSED_ON or has_led)
