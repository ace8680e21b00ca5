"""Storing a stream of items: several chunks under way at a time, and an exact account of how far it came.

Guarantees: at most `CHUNKS_MAX` chunks and about `BYTES_MAX` bytes are under way, and `put` waits for room; a
settled chunk keeps no items while it waits for an earlier one, and `CHUNKS_KEPT_MAX` chunks are kept at most; of two
puts of one key the later wins, since a key is under way once; a put is sent again only while every attempt so far
provably did nothing, and as long as some of its chunk come through within `patience_s`; after a failure, foreseen or
not, nothing new is sent, and `imported` counts the items before `line`, the first one that is not known to be in.
Leaves to others: reaching the nodes (`dispatch`), the items (`import_stream`).
"""

from __future__ import annotations

import asyncio
import random
from collections import deque
from collections.abc import Awaitable, Callable, Collection, Sequence

import structlog

from cluster.gateway.import_stream import Item
from cluster.gateway.operations import Change, Deleted, Operation, Result, Stored
from kvstore.errors import KvError, OutcomeUnknown

CHUNKS_MAX = 8
CHUNKS_KEPT_MAX = 1024
BYTES_MAX = 8 * 1024 * 1024
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0
TRIED_AGAIN = frozenset((429, 503))

Carry = Callable[[Sequence[Operation], int], Awaitable[list[Result]]]


class _Chunk:
    """Items that are sent together. Where a key stands twice in it, only the later put is sent: it would overwrite the
    earlier one, and a second attempt at the earlier one could not overtake it.

    Attributes:
        imported: how many of its items are known to be in before the first one that is not; once it is settled.
        line: of that first one; None where all are in.
    """

    __slots__ = ("changes", "imported", "is_settled", "items", "line", "size_bytes")

    def __init__(self, items: Sequence[Item]) -> None:
        self.items = items
        self.changes = {item.change.key: item.change for item in items}
        self.size_bytes = sum(len(key) + len(change.value or b"") for key, change in self.changes.items())
        self.is_settled = False
        self.imported = 0
        self.line: int | None = None

    def meets(self, other: _Chunk) -> bool:
        return not self.changes.keys().isdisjoint(other.changes.keys())

    def settle(self, missing: frozenset[bytes]) -> None:
        """Keep how far it came, where these keys are not known to be in, and let go of its items."""
        self.imported = len(self.items)
        if missing:
            found = ((count, item.line) for count, item in enumerate(self.items) if item.change.key in missing)
            self.imported, self.line = next(found)
        self.items, self.changes = (), {}
        self.is_settled = True


class ImportWindow:
    """One import under way; the keyspace is that of its items.

    Args:
        carry: sends operations at the same time, as `Dispatcher.carry`.
        patience_s: how long a chunk is tried again without any of it coming through, in seconds.
    """

    def __init__(self, carry: Carry, patience_s: float) -> None:
        self.failure: KvError | None = None
        self.imported = 0
        self.line: int | None = None
        self.bytes_under_way = 0
        self._carry = carry
        self._patience_s = patience_s
        self._chunks: deque[_Chunk] = deque()
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_abandoned = False
        self._loop = asyncio.get_running_loop()

    async def put(self, items: Sequence[Item]) -> None:
        """Send items, as soon as there is room for them; returns when they are under way.

        Raises:
            KvError: what ended the import; these items were not sent.
        """
        chunk = _Chunk(items)
        while self.failure is None and self._must_wait(chunk):
            await asyncio.wait(self._tasks, return_when=asyncio.FIRST_COMPLETED)
        if self.failure is not None:
            raise self.failure
        self._chunks.append(chunk)
        self.bytes_under_way += chunk.size_bytes
        task = self._loop.create_task(self._store(chunk))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def abandon(self) -> None:
        """Send nothing again: nobody waits for the outcome."""
        self._is_abandoned = True

    async def finish(self) -> None:
        """Wait for all that is under way; then `imported`, `line` and `failure` are final."""
        if self._tasks:
            await asyncio.gather(*self._tasks)
        for chunk in self._chunks:
            self.imported += chunk.imported
            if chunk.line is not None:
                self.line = chunk.line
                return

    def _must_wait(self, chunk: _Chunk) -> bool:
        if not self._tasks:
            return False
        return (
            len(self._tasks) >= CHUNKS_MAX
            or len(self._chunks) >= CHUNKS_KEPT_MAX
            or self.bytes_under_way + chunk.size_bytes > BYTES_MAX
            or any(other.meets(chunk) for other in self._chunks if not other.is_settled)
        )

    async def _store(self, chunk: _Chunk) -> None:
        missing = frozenset(chunk.changes)
        try:
            missing = await self._try(list(chunk.changes.values()))
        except Exception as error:
            structlog.get_logger().error("import broke", exc_info=error)
            self._fail((OutcomeUnknown("an error of the gateway; its log says more"),))
        finally:
            chunk.settle(missing)
            self.bytes_under_way -= chunk.size_bytes
        while self._chunks and self._chunks[0].is_settled and self._chunks[0].line is None:
            self.imported += self._chunks.popleft().imported

    async def _try(self, changes: Sequence[Change]) -> frozenset[bytes]:
        """Store changes of different keys; returns the keys of those that are not known to be in."""
        pause_s = PAUSE_S_MIN
        deadline_s = self._loop.time() + self._patience_s
        while True:
            results = await self._carry(changes, 0)
            failed = {
                change.key: _as_error(result)
                for change, result in zip(changes, results, strict=True)
                if not isinstance(result, Stored | Deleted)
            }
            if not failed:
                return frozenset()
            if len(failed) < len(changes):
                pause_s = PAUSE_S_MIN
                deadline_s = self._loop.time() + self._patience_s
            is_over = self.failure is not None or self._is_abandoned or self._loop.time() + pause_s > deadline_s
            if is_over or not all(error.definite and error.status in TRIED_AGAIN for error in failed.values()):
                self._fail(failed.values())
                return frozenset(failed)
            changes = [change for change in changes if change.key in failed]
            await asyncio.sleep(pause_s * (0.5 + random.random() / 2))
            pause_s = min(PAUSE_S_MAX, pause_s * 2)

    def _fail(self, errors: Collection[KvError]) -> None:
        """An unknown outcome outweighs a refusal, and a refusal for good one for now."""
        worst = min(errors, key=lambda error: (error.definite, error.status in TRIED_AGAIN))
        if self.failure is None or (self.failure.definite and not worst.definite):
            self.failure = worst


def _as_error(result: Result) -> KvError:
    return result if isinstance(result, KvError) else KvError("the node's answer does not fit the request")
