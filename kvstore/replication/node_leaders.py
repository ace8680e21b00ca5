"""What all leaders of a node have in common: one budget of bytes, and what they count. Sans-IO."""

from __future__ import annotations


class NodeLeaders:
    """Args: bytes_max: how many bytes of writes they may hold together that are not yet committed.

    Attributes:
        stalled_ms: the time between the last two ticks where the node's own batch hangs, None where it does not.
        stored_results: how often a write was not carried out, for it came before and its outcome is known.
        txn_aborts: how many transactions were decided to be aborted, by the code of the reason.
    """

    __slots__ = ("bytes_max", "stalled_ms", "stored_results", "txn_aborts", "used_bytes")

    def __init__(self, bytes_max: int) -> None:
        self.bytes_max = bytes_max
        self.used_bytes = 0
        self.stalled_ms: int | None = None
        self.stored_results = 0
        self.txn_aborts: dict[str, int] = {}

    def aborted(self, code: str) -> None:
        """Count a transaction that was decided to be aborted."""
        self.txn_aborts[code] = self.txn_aborts.get(code, 0) + 1
