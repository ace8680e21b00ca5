"""The calls on keys of the synchronous client.

Guarantees: each does what the asynchronous one of its name does, on an event loop in another thread, and is refused
while that thread does not run, and when it ends. Leaves to others: everything else (`keys`, `ranges`, `transactions`),
the loop (`sync`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Sequence
from concurrent.futures import CancelledError
from typing import Any, BinaryIO, TypeVar

from kvstore.client.answers import Consistency, Outcome, TxnOutcome, TxnState, Value, Written
from kvstore.client.client import Client
from kvstore.client.exporting import Progress
from kvstore.client.items import Item, Page
from kvstore.client.keyspaces import Keyspace
from kvstore.client.ops import If, Op, TxnOp
from kvstore.client.ranges import PAGE_SIZE

T = TypeVar("T")
NOT_OPEN = "the client is not open; use it as `with SyncClient(...)`"
# How often who waits looks whether there still is a thread that works for it.
LOOK_S = 1.0


class SyncCalls:
    """Arguments, answers and errors of each call are those of `Client`."""

    _client: Client | Keyspace
    _loop: asyncio.AbstractEventLoop
    _thread: threading.Thread

    def get(
        self,
        key: str | bytes,
        *,
        consistency: Consistency | None = None,
        max_stale: float | None = None,
        revalidate: bool = False,
    ) -> Value:
        return self._run(self._client.get(key, consistency=consistency, max_stale=max_stale, revalidate=revalidate))

    def put(
        self,
        key: str | bytes,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        return self._run(
            self._client.put(
                key,
                value,
                content_type=content_type,
                ttl_s=ttl_s,
                if_match=if_match,
                if_none_match=if_none_match,
            )
        )

    def delete(self, key: str | bytes, *, if_match: str | None = None) -> None:
        self._run(self._client.delete(key, if_match=if_match))

    def batch(self, ops: Sequence[Op]) -> list[Outcome]:
        return self._run(self._client.batch(ops))

    def snapshot(self, keys: Sequence[str | bytes]) -> list[Outcome]:
        return self._run(self._client.snapshot(keys))

    def batch_document(self, document: bytes) -> bytes:
        return self._run(self._client.batch_document(document))

    def txn(
        self, *, conditions: Sequence[If] = (), then: Sequence[TxnOp] = (), otherwise: Sequence[TxnOp] = ()
    ) -> TxnOutcome:
        return self._run(self._client.txn(conditions=conditions, then=then, otherwise=otherwise))

    def txn_document(self, document: bytes) -> bytes:
        return self._run(self._client.txn_document(document))

    def transaction(self, txn: str) -> TxnState:
        return self._run(self._client.transaction(txn))

    def import_(self, pieces: Iterable[bytes], *, packed: bool = False) -> int:
        return self._run(self._client.import_(_in_threads(pieces), packed=packed))

    def scan_page(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        cursor: str | None = None,
        allow_partial: bool = False,
    ) -> Page:
        return self._run(
            self._client.scan_page(
                prefix=prefix,
                start=start,
                end=end,
                reverse=reverse,
                keys_only=keys_only,
                limit=limit,
                cursor=cursor,
                allow_partial=allow_partial,
            )
        )

    def scan(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> Iterator[Item]:
        pages = self._client.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            reverse=reverse,
            keys_only=keys_only,
            limit=limit,
            page_size=page_size,
        )
        while (page := self._run(_next(pages))) is not None:
            yield from page.items

    def count(
        self, *, prefix: str | bytes | None = None, start: str | bytes | None = None, end: str | bytes | None = None
    ) -> int:
        return self._run(self._client.count(prefix=prefix, start=start, end=end))

    def delete_range(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        return self._run(self._client.delete_range(prefix=prefix, start=start, end=end, progress=progress))

    def export(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        progress: Progress | None = None,
    ) -> int:
        return self._run(self._client.export(target, prefix=prefix, start=start, end=end, progress=progress))

    def import_file(self, path: str | os.PathLike[str]) -> int:
        return self._run(self._client.import_file(path))

    def locate(self, key: str | bytes) -> dict[str, Any]:
        return self._run(self._client.locate(key))

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        try:
            if not self._thread.is_alive():
                raise RuntimeError(NOT_OPEN)
            future = asyncio.run_coroutine_threadsafe(call, self._loop)
        except RuntimeError:
            # The thread has ended, or ends just now.
            call.close()
            raise RuntimeError(NOT_OPEN) from None
        try:
            while True:
                try:
                    return future.result(LOOK_S)
                except TimeoutError:
                    if future.done():
                        return future.result()
                    if not self._thread.is_alive():
                        # It came after the loop's last round, and is never begun.
                        call.close()
                        raise RuntimeError(NOT_OPEN) from None
        except CancelledError:
            raise RuntimeError(NOT_OPEN) from None
        except KeyboardInterrupt:
            future.cancel()
            raise


async def _next(pages: AsyncIterator[Page]) -> Page | None:
    return await anext(pages, None)


async def _in_threads(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    """Each piece when it is wanted; waiting for one does not hold up other calls of the client."""
    iterator = iter(pieces)
    while (piece := await asyncio.to_thread(next, iterator, None)) is not None:
        yield piece
