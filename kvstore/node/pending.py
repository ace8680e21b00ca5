"""A call whose answer has parts that become known at different times.

Guarantees: it is answered once, when every part is settled. Leaves to others: what the parts are.
"""

from __future__ import annotations

from typing import Any

from kvstore.messages import ReadResult, WriteResult
from kvstore.rpc.connection import Connection


class PendingCall:
    """Args: results: one slot for each part; `open_parts` of them are still unknown."""

    __slots__ = ("_call", "_connection", "_now_ms", "open_parts", "results")

    def __init__(self, connection: Connection, call: int, now_ms: int | None) -> None:
        self._connection = connection
        self._call = call
        self._now_ms = now_ms
        self.results: list[Any] = []
        self.open_parts = 0

    def settle(self, index: int, result: object) -> None:
        """Fill one part in; with the last one the answer leaves."""
        self.results[index] = result
        self.open_parts -= 1
        if self.open_parts == 0:
            self.send()

    def send(self) -> None:
        """Answer. `now_ms` tells a read's answer from a write's."""
        body = WriteResult(self.results) if self._now_ms is None else ReadResult(self._now_ms, self.results)
        self._connection.answer(self._call, body)
