"""The source's part in a transfer: it gives out what it has, and stands still when little is left.

Guarantees: it stands still only while nothing is prepared, and its last piece is what all that it ever took has left;
it asks the map to have the keys handed over only when the target has committed that very piece; before that it never
stands still for longer than `FROZEN_MS`, and tries again with pauses that grow; from then on only the map ends it.
Leaves to others: refusing requests meanwhile (`replication.gate`), asking the map (`leader_asks`), what is in a piece
(`pieces`). Sans-IO. PROTOCOL "Transfer".
"""

from __future__ import annotations

import msgspec

from kvstore.effects import Effect, Wake
from kvstore.filling import Filling
from kvstore.instant import Instant
from kvstore.map_values import Transfer, TransferState
from kvstore.messages import KeysPiece, PullKeys
from kvstore.replication.copy import Copy
from kvstore.replication.leader import Leader
from kvstore.storage.engine import Snapshot
from kvstore.transfer.pieces import read_changes, read_copy

FROZEN_MS = 1000
DRAIN_MS = 500
PAUSE_MS = 200
PAUSE_MS_MAX = 10_000


class Source:
    """Args: copy: the leader's own; transfer: the one that its entry names."""

    def __init__(self, copy: Copy, leader: Leader, transfer: Transfer) -> None:
        self.leader = leader
        self.transfer = transfer
        self._copy = copy
        self._asked: PullKeys | None = None
        self._drain_ms: int | None = None
        self._not_before_ms = 0
        self._pause_ms = PAUSE_MS
        self._last_seq: int | None = None
        self._is_committed = False

    def on_pull(self, pull: PullKeys) -> None:
        """The target asks; it asks for one thing at a time."""
        leader = self.leader
        is_frozen = leader.frozen_ms is not None and self._last_seq is not None
        if pull.has_all and is_frozen and pull.since == self._last_seq:
            self._is_committed, self._asked = True, None
        elif not self._is_committed:
            self._asked = pull
        if pull.since >= 0 and self.transfer.state is TransferState.COPYING:
            leader.followers.pinned_seq = pull.since

    def advance(self, view: Snapshot, now: Instant, filling: Filling) -> tuple[KeysPiece | None, list[Effect]]:
        """Answer the target, where there is an answer; raises DamagedRow.

        Returns:
            The answer, and what else is to be done.
        """
        leader = self.leader
        if self.transfer.state is not TransferState.COPYING or not leader.is_serving or leader.is_passing_on:
            return None, []
        effects = self._end_pause(now)
        if self._is_committed:
            leader.wanted_transfer = msgspec.structs.replace(self.transfer, state=TransferState.HANDED)
            return None, effects
        pull = self._asked
        if pull is None:
            return None, effects
        if pull.is_copied and pull.unclean == leader.followers.entry.unclean_count:
            piece, more = self._changes(pull, view, now)
        elif pull.since >= 0 and pull.unclean != leader.followers.entry.unclean_count:
            piece, more = self._piece(pull, upto=pull.since, is_gone=True), []
        else:
            piece, more = self._standing(pull, view, now, filling)
        if piece is not None:
            self._asked = None
        return piece, [*effects, *more]

    def _piece(self, pull: PullKeys, **answer: object) -> KeysPiece:
        unclean = self.leader.followers.entry.unclean_count
        asked = KeysPiece(
            *(pull.transfer, pull.source, pull.cursor, pull.since, pull.is_copied),
            *(pull.cursor, pull.since, pull.is_copied, unclean),
        )
        return msgspec.structs.replace(asked, **answer)

    # ---- what stands --------------------------------------------------------------------------------------------

    def _standing(
        self, pull: PullKeys, view: Snapshot, now: Instant, filling: Filling
    ) -> tuple[KeysPiece | None, list[Effect]]:
        wait_ms = filling.sending_wait_ms(now)
        if wait_ms:
            return None, [Wake(wait_ms + 1)]
        read = read_copy(self._copy, self.transfer, pull.cursor, min(pull.bytes_max, filling.pace.piece_bytes), view)
        since = read.as_of if pull.since < 0 else pull.since
        if self.leader.followers.pinned_seq is None:
            self.leader.followers.pinned_seq = since
        piece = self._piece(pull, end=read.end, upto=since, is_done=read.is_done, rows=read.rows)
        filling.sent(piece.size_bytes)
        return piece, []

    # ---- what changes -------------------------------------------------------------------------------------------

    def _changes(self, pull: PullKeys, view: Snapshot, now: Instant) -> tuple[KeysPiece | None, list[Effect]]:
        leader, copy = self.leader, self._copy
        is_frozen = leader.frozen_ms is not None
        if leader.txns.participant.held if self._drain_ms is not None else is_frozen and not leader.is_quiet:
            return None, []
        wait_ms = self._not_before_ms - now.mono_ms
        if not is_frozen and wait_ms > 0 and copy.commit_seq == pull.since:
            return None, [Wake(wait_ms)]
        read = read_changes(copy, self.transfer, pull.since, pull.bytes_max, view)
        if read.is_gone:
            return self._piece(pull, is_gone=True), []
        piece = self._piece(pull, upto=read.upto, rows=read.rows)
        if read.upto != copy.commit_seq or (not is_frozen and wait_ms > 0):
            return piece, []
        wakes = [] if is_frozen else self._stand_still(now)
        if leader.frozen_ms is None or not leader.is_quiet:
            return None, wakes
        self._last_seq = read.upto
        return msgspec.structs.replace(piece, is_last=True), wakes

    def _stand_still(self, now: Instant) -> list[Effect]:
        """Have nothing prepared anew, and stand still when nothing is prepared; then what is under way has to end."""
        leader = self.leader
        if not leader.txns.participant.held:
            self._drain_ms = None
            leader.freeze(self.transfer.id, now)
            return [Wake(FROZEN_MS)]
        if self._drain_ms is None:
            self._drain_ms, leader.is_draining = now.mono_ms, True
            return [Wake(DRAIN_MS)]
        return []

    def _end_pause(self, now: Instant) -> list[Effect]:
        """Go on where what is prepared does not end, or the target does not answer: it is tried again later."""
        leader = self.leader
        is_late = leader.frozen_ms is not None and now.mono_ms - leader.frozen_ms >= FROZEN_MS
        is_held = self._drain_ms is not None and now.mono_ms - self._drain_ms >= DRAIN_MS
        if (not is_late or leader.is_handing) and not is_held:
            return []
        leader.thaw()
        self._drain_ms = self._last_seq = None
        self._is_committed = False
        self._not_before_ms = now.mono_ms + self._pause_ms
        self._pause_ms = min(PAUSE_MS_MAX, 2 * self._pause_ms)
        return [Wake(self._not_before_ms - now.mono_ms)]
