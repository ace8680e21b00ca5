"""The synchronous face of the client, for scripts and shells.

Guarantees: the same calls, answers and errors as `Client`, on an event loop of its own in one background thread, so it
may be called from any thread, and connections are watched between calls. Leaves to others: everything else (`Client`).
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, BinaryIO, Self, TypeVar

from kvstore.client.answers import Consistency, Outcome, Readiness, TxnOutcome, TxnState, Value, Written
from kvstore.client.client import DEFAULT_GATEWAY, Client
from kvstore.client.exporting import Progress
from kvstore.client.items import Item, Page
from kvstore.client.ops import If, Op, TxnOp
from kvstore.client.ranges import PAGE_SIZE

if TYPE_CHECKING:
    from kvstore.client.read_cache import ReadCache

T = TypeVar("T")


class SyncClient:
    """Talks to one gateway; use it as `with SyncClient(...) as client`. Arguments and errors as for `Client`."""

    def __init__(
        self,
        gateway: str = DEFAULT_GATEWAY,
        *,
        timeout_s: float = 10.0,
        token: str | None = None,
        cache_bytes: int | None = None,
        cache: ReadCache | None = None,
    ) -> None:
        self._client = Client(gateway, timeout_s=timeout_s, token=token, cache_bytes=cache_bytes, cache=cache)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kvstore-client", daemon=True)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """What `with` does at its beginning, for a session in a shell; `close` ends it."""
        self._thread.start()
        self._run(self._client.open())
        return self

    def close(self) -> None:
        """Close all connections and end the thread."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._run(self._client.close())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

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

    def ids(self, count: int = 1) -> list[int]:
        return self._run(self._client.ids(count))

    def locate(self, key: str | bytes) -> dict[str, Any]:
        return self._run(self._client.locate(key))

    def status(self) -> dict[str, Any]:
        return self._run(self._client.status())

    def operate(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, once: bool = False
    ) -> dict[str, Any]:
        return self._run(self._client.operate(method, path, document, once=once))

    def force_promote(
        self, *, partition: int | None = None, all_of: str = "", confirmed_stopped: Sequence[str]
    ) -> dict[str, Any]:
        return self._run(
            self._client.force_promote(partition=partition, all_of=all_of, confirmed_stopped=confirmed_stopped)
        )

    def verify(self) -> dict[str, Any]:
        return self._run(self._client.verify())

    def balance(self, keyspace: str = "default") -> dict[str, Any]:
        return self._run(self._client.balance(keyspace))

    def ready(self) -> Readiness:
        return self._run(self._client.ready())

    def _run(self, call: Coroutine[Any, Any, T]) -> T:
        future = asyncio.run_coroutine_threadsafe(call, self._loop)
        try:
            return future.result()
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
