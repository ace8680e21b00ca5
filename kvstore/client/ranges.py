"""Calls on ranges of keys: `scan`, `count`, `delete_range`, `export`, `import_file`.

Guarantees: keys come in order of their bytes; each page of a scan has the deadline of a call for itself; a range is not
deleted a second time unasked, since keys may have been put there in the meantime. Leaves to others: sending
(`transport`), how an export goes on when it is cut (`exporting`).
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from pathlib import Path
from typing import Any, BinaryIO

from kvstore.client.answers import MSGPACK, Unreachable
from kvstore.client.exporting import Progress, export_lines, whole_file
from kvstore.client.items import Bounds, Item, Lines, Page, page_of
from kvstore.client.keys import KeyCalls
from kvstore.client.transport import PIECE_BYTES_MAX, Request, Retries, Sending, Transport
from kvstore.errors import BadParameter, KvError, OutcomeUnknown

PAGE_SIZE = 1000
PACKED_SUFFIX = ".msgpack"


class RangeCalls(KeyCalls):
    """`KeyCalls`, and calls on ranges of keys: part of `Client` and of `Keyspace`."""

    _transport: Transport

    async def scan_page(
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
        """One page of a scan; with `cursor` the next one of that scan.

        Args:
            prefix, start, end: keys that begin with `prefix`, from `start` on, and before `end`.
            reverse: from the end of the range down.
            limit: at most that many items; 100 if none is given.
            allow_partial: leave out partitions without a leader, and name them in `missing`.

        Raises:
            BadParameter: a bound or the limit is not allowed.
            NoLeader: a partition of the range has no leader.
            KvError: any other refusal.
        """
        path = Bounds.of(prefix, start, end).path(
            self._root, reverse=reverse, keys_only=keys_only, limit=limit, cursor=cursor, allow_partial=allow_partial
        )
        answer = await self._transport.send(Request("GET", path, headers={"Accept": MSGPACK}))
        try:
            return page_of(answer.body)
        except ValueError as error:
            raise Unreachable(f"{self._transport.gateway}{path} did not answer with a page: {error}") from error

    async def scan(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> AsyncIterator[Item]:
        """All items of a range, in order, page by page; arguments and errors as for `scan_page`.

        A key that exists, unchanged, for the whole scan comes exactly once; the scan is no snapshot of one moment.

        Args:
            limit: at most that many items in all.
            page_size: how many are asked for at a time, 1 to 10,000.
        """
        pages = self.scan_pages(
            prefix=prefix,
            start=start,
            end=end,
            reverse=reverse,
            keys_only=keys_only,
            limit=limit,
            page_size=page_size,
        )
        async for page in pages:
            for item in page.items:
                yield item

    async def scan_pages(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        reverse: bool = False,
        keys_only: bool = False,
        limit: int | None = None,
        page_size: int = PAGE_SIZE,
    ) -> AsyncIterator[Page]:
        """The same as `scan`, a page at a time."""
        if limit is not None and limit < 1:
            raise BadParameter(f"limit is a positive number, not {limit}")
        left = limit
        asked: dict[str, Any] = {"prefix": prefix, "start": start, "end": end, "reverse": reverse}
        while True:
            size = page_size if left is None else min(page_size, left)
            page = await self.scan_page(**asked, keys_only=keys_only, limit=size)
            yield page
            left = None if left is None else left - len(page.items)
            if page.cursor is None or (left is not None and left < 1):
                return
            asked = {"cursor": page.cursor}

    async def count(
        self, *, prefix: str | bytes | None = None, start: str | bytes | None = None, end: str | bytes | None = None
    ) -> int:
        """How many keys a range has; arguments and errors as for `scan_page`."""
        path = Bounds.of(prefix, start, end).path(self._root, count=True)
        answer = await self._transport.send(Request("GET", path))
        try:
            return int(json.loads(answer.body)["count"])
        except (ValueError, TypeError, KeyError) as error:
            raise Unreachable(f"{self._transport.gateway}{path} did not answer with a count") from error

    async def delete_range(
        self,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> int:
        """Delete all keys of a range, however long that takes, and return how many they were.

        Args:
            prefix, start, end: as for `scan_page`; one of them must be given.
            progress: is told how many are deleted so far.

        Raises:
            OutcomeUnknown: some are deleted, `numbers["deleted"]` of them surely; it may go on for a while.
            KvError: any other refusal; nothing was deleted.
        """
        if prefix is None and start is None and end is None:
            raise BadParameter("which keys to delete is said by prefix, start or end")
        request = Request("DELETE", Bounds.of(prefix, start, end).path(self._root, confirm=True), is_write=True)
        retries = Retries(self._transport.timeout_s)
        while True:
            sending = Sending()
            try:
                return await self._delete_once(request, sending, progress)
            except KvError as failure:
                await retries.pause_after(failure, sending.asked_s)

    async def _delete_once(self, request: Request, sending: Sending, progress: Callable[[int], None] | None) -> int:
        lines, deleted, is_done = Lines(), 0, False
        try:
            async with aclosing(self._transport.stream(request, sending)) as pieces:
                async for piece in pieces:
                    if lines.take(piece):
                        deleted, is_done = _deleted_of(lines.last)
                        if progress is not None:
                            progress(deleted)
            if lines.end():
                deleted, is_done = _deleted_of(lines.last)
            if not is_done:
                raise OutcomeUnknown("the answer to a deletion ended before the deletion did")
        except OutcomeUnknown as failure:
            failure.numbers["deleted"] = deleted
            raise
        return deleted

    async def export(
        self,
        target: str | os.PathLike[str] | BinaryIO,
        *,
        prefix: str | bytes | None = None,
        start: str | bytes | None = None,
        end: str | bytes | None = None,
        progress: Progress | None = None,
    ) -> int:
        """Write all items of a range to a file, one a line, however long that takes, and return how many they are.

        Where the stream is cut it is asked for what comes after its last whole line; `timeout_s` is for how long that
        may bring nothing. `import_file` takes the file.

        Args:
            target: a path, which is replaced when the file is whole; or a binary file, which is written to.
            prefix, start, end: as for `scan_page`.
            progress: is told the number of items and of bytes so far.

        Raises:
            StreamCut: the stream was cut again and again without coming further; `numbers["exported"]` items had come.
            NoLeader: a partition of the range has no leader.
            KvError: any other refusal.
            OSError: the file cannot be written.
        """
        bounds = Bounds.of(prefix, start, end)
        if not isinstance(target, str | os.PathLike):
            count = await export_lines(self._transport, self._root, bounds, target.write, progress)
            await asyncio.to_thread(target.flush)
            return count
        async with whole_file(Path(target)) as file:
            return await export_lines(self._transport, self._root, bounds, file.write, progress)

    async def import_file(self, path: str | os.PathLike[str]) -> int:
        """Store the items of a file, as an export is one (MessagePack where its name ends in `.msgpack`).

        Returns and raises as `import_`, and OSError where the file cannot be read.
        """
        return await self.import_(_pieces_of(Path(path)), packed=Path(path).suffix == PACKED_SUFFIX)


async def _pieces_of(path: Path) -> AsyncIterator[bytes]:
    with path.open("rb") as file:
        while piece := await asyncio.to_thread(file.read, PIECE_BYTES_MAX):
            yield piece


def _deleted_of(line: bytes) -> tuple[int, bool]:
    """How many keys are deleted, and whether these are all."""
    try:
        document = json.loads(line)
        return int(document["deleted"]), document.get("done") is True
    except (ValueError, TypeError, KeyError, AttributeError) as error:
        raise OutcomeUnknown(f"the answer to a deletion cannot be read: {line[:100]!r}") from error
