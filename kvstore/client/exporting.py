"""Exports: a range as a stream of lines, into a file that is whole or is not there.

Guarantees: a stream that is cut goes on after its last whole line, so each item is written once and in order, as long
as each attempt or the next few bring it further; memory holds a piece and a line. A file appears under its name when it
is whole and on disk. Leaves to others: requests and their retries (`transport`), lines (`items`).
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import BinaryIO, cast

from kvstore.client.answers import NDJSON
from kvstore.client.items import Bounds, Lines, key_of_line
from kvstore.client.transport import Request, Retries, Sending, Transport
from kvstore.errors import KvError

# How often a stream is asked for again without a line more than before.
RESUMES_MAX = 10

Progress = Callable[[int, int], None]


async def export_lines(
    transport: Transport,
    root: str,
    bounds: Bounds,
    write: Callable[[bytes], object],
    progress: Progress | None = None,
) -> int:
    """Write the items of a range, one a line, and return how many they are; raises KvError, with `numbers["exported"]`.

    Args:
        root: the path of the keyspace.
        write: takes whole lines, in another thread.
        progress: is told the number of items and of bytes so far.
    """
    retries, lines, size_bytes = Retries(transport.timeout_s), Lines(), 0
    rest: Bounds | None = bounds
    fruitless = 0
    while rest is not None:
        sending, count_before = Sending(), lines.count
        request = Request("GET", rest.path(root), headers={"Accept": NDJSON})
        try:
            async with aclosing(_whole_lines(transport, request, sending, lines)) as pieces:
                async for whole in pieces:
                    await asyncio.to_thread(write, whole)
                    size_bytes += len(whole)
                    if progress is not None:
                        progress(lines.count, size_bytes)
            return lines.count
        except KvError as failure:
            failure.numbers["exported"] = lines.count
            lines.cut()
            fruitless = 0 if lines.count > count_before else fruitless + 1
            if not fruitless:
                retries.begin_again()
                rest = bounds.after(_last_key(lines, failure))
            if fruitless > RESUMES_MAX:
                raise
            await retries.pause_after(failure, sending.asked_s)
    return lines.count


async def _whole_lines(
    transport: Transport, request: Request, sending: Sending, lines: Lines
) -> AsyncGenerator[bytes, None]:
    async with aclosing(transport.stream(request, sending)) as pieces:
        async for piece in pieces:
            if whole := lines.take(piece):
                yield whole
    if whole := lines.end():
        yield whole


def _last_key(lines: Lines, failure: KvError) -> bytes:
    try:
        return key_of_line(lines.last)
    except ValueError:
        raise failure from None


@asynccontextmanager
async def whole_file(path: Path) -> AsyncIterator[BinaryIO]:
    """A file to write that replaces `path` at the end, and vanishes where there is an error; what is no regular file
    (a pipe, a device) is written to itself."""
    path, partial = _places(path)
    if partial is None:
        # A pipe opens when somebody reads it.
        with await asyncio.to_thread(path.open, "wb") as target:
            yield cast(BinaryIO, target)
        return
    try:
        with partial.open("xb") as target:
            yield target
            await asyncio.to_thread(_sync, target)
        partial.replace(path)
    except BaseException as error:
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(error, OSError) and error.filename == str(partial):
            # Nobody but this function knows that name.
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    await asyncio.to_thread(_sync_folder, path.parent)


def _places(path: Path) -> tuple[Path, Path | None]:
    """Where a file is to stand in the end, and before; there is no such place for what is no regular file."""
    path = path.resolve()
    if path.exists() and not path.is_file():
        return path, None
    return path, path.with_name(f".{path.name}.{secrets.token_hex(4)}.partial")


def _sync(target: BinaryIO) -> None:
    target.flush()
    os.fsync(target.fileno())


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
