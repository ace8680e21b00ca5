"""Rules of transfers broken on purpose (see `planted`), each with the script that is to find it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, ExitStack
from typing import Any
from unittest.mock import patch

import msgspec

from kvstore.map_values import Entry, TransferState
from kvstore.messages import Fault
from kvstore.replication.gate import Gate
from kvstore.replication.outcomes_at_end import OutcomesAtEnd
from kvstore.replication.stale_reads import StaleReads
from kvstore.transfer import source
from kvstore.transfer.cleaning import Cleaning
from kvstore.transfer.pieces import ChangesPiece
from kvstore.transfer.target import Target
from kvstore.txn.primary import Primary


def _without_last_piece() -> AbstractContextManager[object]:
    """The target gets what stood when it was read, and nothing of what was changed since."""
    return patch.object(source, "read_changes", lambda copy, *_: ChangesPiece(copy.commit_seq, []))


def _no_freeze() -> AbstractContextManager[object]:
    """The source takes writes while its last piece is on its way."""
    original = Gate.closed

    def closed(self: Gate) -> Fault | None:
        handed = self.followers.entry.transfer
        is_copying = handed is not None and handed.state is TransferState.COPYING
        frozen_ms, self.frozen_ms = self.frozen_ms, None if is_copying else self.frozen_ms
        fault: Fault | None = original.__get__(self)
        self.frozen_ms = frozen_ms
        return fault

    return patch.object(Gate, "closed", property(closed))


def _away_shown() -> AbstractContextManager[object]:
    """A partition shows whatever rows it has."""
    return patch.object(Gate, "hidden", property(lambda _: None, lambda _self, _value: None), create=True)


def _tokens_not_carried() -> AbstractContextManager[object]:
    """Keys go without what is remembered of writes to them."""
    return patch.object(OutcomesAtEnd, "lacks", lambda *_: False)


def _decisions_not_carried() -> AbstractContextManager[object]:
    """Keys go without what is remembered of transactions."""
    return patch.object(Primary, "news", lambda *_: None)


def _handed_over_serves() -> AbstractContextManager[object]:
    """A new leader of the source serves, though the keys are handed over."""
    original = Gate.__init__

    def init(self: Gate, *args: Any) -> None:
        original(self, *args)
        transfer = self.followers.entry.transfer
        if transfer is not None and transfer.state is TransferState.HANDED:
            self.frozen_ms = self.hidden = None

    return patch.object(Gate, "__init__", init)


def _told_before_committed() -> AbstractContextManager[object]:
    """The target says that it has what its followers may lack."""
    return patch.object(Target, "is_committed", True)


def _stale_over_switch() -> AbstractContextManager[object]:
    """What a copy was told before keys came to it counts for them, too."""
    original = StaleReads.learn

    def learn(self: StaleReads, commit_seq: int, asked_ms: int, applied_seq: int, layout: int = 0) -> None:
        self._layout = max(self._layout, layout)
        original(self, commit_seq, asked_ms, applied_seq, self._layout)

    original_read = StaleReads.read

    def read(self: StaleReads, ticket: object, asked: Any, copy: Any, *args: Any) -> Any:
        entry: Entry | None = copy.entry
        layout = asked.layout if entry is None else entry.layout
        self._layout = max(self._layout, layout)
        return original_read(self, ticket, msgspec.structs.replace(asked, layout=layout), copy, *args)

    stack = ExitStack()
    stack.enter_context(patch.object(StaleReads, "learn", learn))
    stack.enter_context(patch.object(StaleReads, "read", read))
    return stack


def _unapplied_left_behind() -> AbstractContextManager[object]:
    """What is not applied yet is not deleted."""
    original = Cleaning.piece

    def piece(self: Cleaning, leader: Any, view: Any) -> Any:
        at_end, leader.overlay.at_end = leader.overlay.at_end, {}
        try:
            return original(self, leader, view)
        finally:
            leader.overlay.at_end = at_end

    return patch.object(Cleaning, "piece", piece)


BROKEN: Mapping[str, tuple[Callable[[], AbstractContextManager[object]], str]] = {
    "without_last_piece": (_without_last_piece, "transfers"),
    "no_freeze": (_no_freeze, "transfers"),
    "away_shown": (_away_shown, "transfers"),
    "tokens_not_carried": (_tokens_not_carried, "transfers"),
    "decisions_not_carried": (_decisions_not_carried, "transfers"),
    "handed_over_serves": (_handed_over_serves, "handed_over"),
    "told_before_committed": (_told_before_committed, "transfers"),
    "stale_over_switch": (_stale_over_switch, "transfers"),
    "unapplied_left_behind": (_unapplied_left_behind, "transfers"),
}
