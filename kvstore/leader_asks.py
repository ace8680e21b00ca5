"""What a leader asks the map for: another in-sync set, another state of a transfer, and to pass leadership on.

Guarantees: one question at a time, asked again until a newer entry settles it; before a leader stops serving in order
to pass leadership on, the map has answered it a moment ago, so that one whom control cannot hear goes on serving; where
nobody took what it passed on, it tries again after pauses that grow; while the node's own batch hangs no other in-sync
set is asked for: any newer entry would keep the follower waiting that is to take over. Leaves to others: which set is
wanted (`followers`), refusing requests meanwhile (`leader`). Sans-IO. PROTOCOL "Failover", "Leases".
"""

from __future__ import annotations

import msgspec
from msgspec import UnsetType

from kvstore.candidate import ASK_AGAIN_MS, PASSED_ON
from kvstore.effects import AskCas
from kvstore.instant import Instant
from kvstore.map_values import Entry, Rid
from kvstore.replication.answers import FROZEN
from kvstore.replication.leader import Leader

PASS_ON_AFTER_MS = 10_000
PASS_ON_WITHIN_MS = 1000
ANSWERED_WITHIN_MS = 1000
PAUSE_MS_MAX = 80_000


class LeaderAsks:
    """Args: mine: the copy that leads, or may."""

    def __init__(self, mine: Rid) -> None:
        self.is_open = False
        self._mine = mine
        self._asked_ms = -ASK_AGAIN_MS
        self._tried_ver = 0
        self._passed_epoch = 0
        self._pause_ms = 0

    def settled(self) -> None:
        """A newer entry stands, or this copy leads no more."""
        self.is_open = False

    def due(self, leader: Leader, now: Instant) -> list[AskCas]:
        """What is to be asked now."""
        asks = self._pass_on(leader, now) if leader.is_serving else []
        return asks or self.transfer(leader, now) or self._ask_in_sync(leader, now)

    def transfer(self, leader: Leader, now: Instant) -> list[AskCas]:
        """Ask for the state of the transfer that is wanted; whether that has landed nothing but a newer entry tells."""
        wanted = leader.wanted_transfer
        is_asked = self.is_open and now.mono_ms - self._asked_ms < ASK_AGAIN_MS
        if isinstance(wanted, UnsetType) or is_asked or leader.closed not in (None, FROZEN):
            return []
        leader.is_handing = wanted is not None
        return self._ask(leader.followers.entry, now, transfer=wanted)

    def _pass_on(self, leader: Leader, now: Instant) -> list[AskCas]:
        """Give leadership back to the copy that is to have it, once that is in sync and all is calm."""
        followers = leader.followers
        calm_ms = self._calm_ms(followers.entry)
        if leader.frozen_ms is not None:
            return []
        if not leader.is_passing_on:
            is_calm = followers.is_ready_to_lead(now, calm_ms) and now.mono_ms - leader.since_ms >= calm_ms
            if self.is_open or not is_calm:
                return []
            if not self._has_answered(followers.entry, now):
                self._tried_ver = followers.entry.ver + 1
                return self._ask(followers.entry, now)
            leader.is_passing_on = True
            leader.since_ms = now.mono_ms
        if self.is_open and now.mono_ms - self._asked_ms < ASK_AGAIN_MS:
            return []
        if not leader.is_quiet:
            leader.is_passing_on = self.is_open or now.mono_ms - leader.since_ms < PASS_ON_WITHIN_MS
            return []
        entry = followers.entry
        if entry.epoch != self._passed_epoch:
            self._pause_ms = min(PAUSE_MS_MAX, 2 * self._pause_ms) if self._is_back(entry) else PASS_ON_AFTER_MS
            self._passed_epoch = entry.epoch
        return self._ask(entry, now, epoch=entry.epoch + 1, leader=entry.replicas[0], leader_boot=PASSED_ON)

    def _calm_ms(self, entry: Entry) -> int:
        """For how long all is to be calm before leadership is passed on. Who has it back because nobody took it, as the
        other one does not reach control, would do so again, and each time nobody serves for a whole grace."""
        calm_ms = 0 if self._mine in entry.removing else PASS_ON_AFTER_MS
        return max(calm_ms, self._pause_ms) if self._is_back(entry) else calm_ms

    def _is_back(self, entry: Entry) -> bool:
        """Whether leadership was passed on last by this copy, and nobody has led since."""
        return self._passed_epoch > 0 and entry.epoch == self._passed_epoch + 2

    def _has_answered(self, entry: Entry, now: Instant) -> bool:
        """Whether the map took a change that changes nothing, just now."""
        return entry.ver == self._tried_ver and now.mono_ms - self._asked_ms < ANSWERED_WITHIN_MS

    def _ask_in_sync(self, leader: Leader, now: Instant) -> list[AskCas]:
        """Ask for the in-sync set that should be, or again where the outcome is open: nothing but a newer entry
        settles that, so an ask that is no longer wanted is followed by one that changes nothing else."""
        is_barred = leader.is_passing_on or leader.is_stalled
        if is_barred or (self.is_open and now.mono_ms - self._asked_ms < ASK_AGAIN_MS):
            return []
        wanted = leader.followers.wanted(now)
        if wanted is not None:
            self._note(now)
            return [AskCas(wanted)]
        return self._ask(leader.followers.entry, now) if self.is_open else []

    def _ask(self, entry: Entry, now: Instant, **changes: object) -> list[AskCas]:
        self._note(now)
        return [AskCas(msgspec.structs.replace(entry, ver=entry.ver + 1, **changes))]

    def _note(self, now: Instant) -> None:
        self.is_open = True
        self._asked_ms = now.mono_ms
