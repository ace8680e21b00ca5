"""The target's part in a transfer: it pulls piece by piece, and has each in its own log.

Guarantees: it asks for the next piece when the one before is committed, so what it says it has is what its successors
have; a piece that does not continue what it has is ignored; it says that it has all only when the piece that was called
the last is committed. Leaves to others: whom it asks (`transfers`), pieces (`pieces`). Sans-IO. PROTOCOL "Transfer".
"""

from __future__ import annotations

import msgspec

from kvstore.instant import Instant
from kvstore.map_values import Transfer
from kvstore.messages import KeysPiece, PullKeys
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import decode_row, encode_row
from kvstore.replication.leader import Leader
from kvstore.replication.log import replaced
from kvstore.replication.outcomes import DATA_POSITION, TOKEN
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import value_bytes
from kvstore.transfer.cleaning import Cleaning
from kvstore.transfer.records import Carried, Progress
from kvstore.txn.records import Effect, Ended

# So much of the source's log without a change may have to be looked at again after a change of leader.
UNSAVED_SEQS_MAX = 1000


class Target:
    """Args: copy: the leader's own; transfer: the one that its entry names.

    Attributes:
        source_node: who leads the source, empty where that is not known.
        asked_ms: when it asked for the next piece, None where it has got it.
    """

    def __init__(self, copy: Copy, leader: Leader, transfer: Transfer) -> None:
        self.leader = leader
        self.transfer = transfer
        self.source_node = ""
        self.asked_ms: int | None = None
        self._copy = copy
        self._record_seq = 0
        stored = leader.progress
        self.progress = stored if stored is not None and stored.id == transfer.id else Progress(transfer.id)
        self._cleaning = Cleaning(copy, transfer) if self.progress.clears else None

    @property
    def is_committed(self) -> bool:
        """Whether all that was taken is."""
        return self._record_seq <= self._copy.commit_seq

    def question(self, bytes_max: int) -> PullKeys:
        """What is to be asked for next."""
        has, transfer = self.progress, self.transfer
        return PullKeys(
            *(transfer.id, transfer.source, has.cursor, has.since, has.is_copied, has.has_all, has.unclean), bytes_max
        )

    def take(self, piece: KeysPiece, view: Snapshot, now: Instant, full: bool) -> bool:
        """A piece came; returns whether a record was made of it."""
        has = self.progress
        asked = piece.transfer, piece.cursor, piece.since, piece.is_copied
        if self.asked_ms is None or asked != (has.id, has.cursor, has.since, has.is_copied) or has.clears:
            return False
        if self.leader.refusal(True, full) is not None:
            return False
        self.asked_ms = None
        if piece.is_gone:
            return self._log(Carried(progress=Progress(has.id, clears=True)), now)
        effects, remembered = self._changes(piece, view, now)
        progress = msgspec.structs.replace(
            has,
            cursor=piece.end,
            since=piece.upto,
            is_copied=piece.is_done,
            has_all=piece.is_last,
            unclean=piece.unclean,
            keys=has.keys + (0 if has.is_copied else len(effects)),
            size_bytes=has.size_bytes + (0 if has.is_copied else _size_of(effects)),
        )
        saved = self.leader.progress
        is_new = (
            saved is None or saved.id != has.id or (saved.is_copied, saved.has_all) != (piece.is_done, piece.is_last)
        )
        is_far = saved is not None and piece.upto - saved.since > UNSAVED_SEQS_MAX
        if effects or remembered or is_new or is_far:
            return self._log(Carried(effects, remembered, progress), now)
        self.progress = progress
        return False

    def _log(self, carried: Carried, now: Instant) -> bool:
        assert carried.progress is not None, "each piece leads somewhere"
        self.progress = carried.progress
        self._cleaning = Cleaning(self._copy, self.transfer) if self.progress.clears else None
        self._record_seq = self.leader.propose_carried(carried, now)
        return True

    def _changes(
        self, piece: KeysPiece, view: Snapshot, now: Instant
    ) -> tuple[list[Effect], list[tuple[bytes, bytes]]]:
        """What of a piece is news here."""
        leader, effects, remembered = self.leader, [], []
        for position, row in piece.rows:
            if position[:1] == DATA_POSITION:
                key = position[1:]
                before = leader.end_row(key, view)
                if row != before:
                    effects.append(Effect(key, row, *replaced(key, before)))
            elif row is None:
                continue
            elif position[:1] == TOKEN:
                if leader.outcomes.lacks(position[1:], row, view):
                    remembered.append((position, row))
            else:
                ended = leader.txns.primary.news(decode_row(row, Ended), view, now)
                if ended is not None:
                    remembered.append((position, encode_row(ended)))
        return effects, remembered

    # ---- deleting -----------------------------------------------------------------------------------------------

    @property
    def is_clearing(self) -> bool:
        """Whether it deletes what it has, to begin anew."""
        return self._cleaning is not None

    def clear(self, view: Snapshot, now: Instant) -> None:
        """Delete the next piece; behind the last one it begins anew."""
        assert self._cleaning is not None, "there is something to delete"
        effects = self._cleaning.piece(self.leader, view)
        if self._cleaning.is_done:
            self._log(Carried(effects, progress=Progress(self.transfer.id)), now)
        elif effects:
            self._record_seq = self.leader.propose_carried(Carried(effects, progress=self.progress), now)


def _size_of(effects: list[Effect]) -> int:
    return sum(len(effect.key) + value_bytes(effect.row) for effect in effects if effect.row is not None)
