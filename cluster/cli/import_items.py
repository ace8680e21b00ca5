"""The command `import FILE`: items of a file or of standard input, streamed to the gateway.

Guarantees: the file is read only as fast as its items are stored, in bounded memory; how many were imported stands at
the end, and for an import that ended early the line to go on from, with its text; such an import ends at once, whether
or not more comes from its source. Leaves to others: what an item is (the gateway), errors without a line (`main`).
"""

from __future__ import annotations

import asyncio
import os
import sys
import threading
import time
from collections import deque
from collections.abc import AsyncIterator
from concurrent.futures import Future
from contextlib import ExitStack
from io import FileIO
from pathlib import Path

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from cluster.cli.exits import ExitCode, complain, exit_code
from kvstore.client import Client
from kvstore.errors import KvError

PIECE_BYTES = 64 * 1024
KEPT_BYTES_MAX = 32 * 1024 * 1024
SHOWN_BYTES_MAX = 200
PACKED_SUFFIX = ".msgpack"
STANDARD_INPUT = "-"


class SentLines:
    """The lines that were sent last, since one of those may be the one that the gateway names."""

    def __init__(self) -> None:
        self.ended = 0
        self._pieces: deque[tuple[int, bytes]] = deque()
        self._kept_bytes = 0
        self._is_cut = False

    def add(self, piece: bytes) -> None:
        self._pieces.append((self.ended, piece))
        self.ended += piece.count(b"\n")
        self._kept_bytes += len(piece)
        while self._kept_bytes > KEPT_BYTES_MAX:
            self._kept_bytes -= len(self._pieces.popleft()[1])
            self._is_cut = True

    def text_of(self, line: int) -> str:
        """The beginning of a line, counted from 1, fit for a terminal; empty where it is no longer known."""
        kept = [(ended, piece) for ended, piece in self._pieces if ended + piece.count(b"\n") >= line - 1]
        skipped = line - 1 - kept[0][0] if kept else -1
        if skipped < 0 or (skipped == 0 and self._is_cut):
            return ""
        text = b"".join(piece for _, piece in kept).split(b"\n", skipped + 1)[skipped]
        shown = text[:SHOWN_BYTES_MAX].decode("utf-8", "backslashreplace")
        return "".join(character if character.isprintable() else "\ufffd" for character in shown)


class _Shown:
    """A source of items and the progress of its import."""

    def __init__(self, source: FileIO, progress: Progress, task: TaskID, *, has_lines: bool) -> None:
        self.lines = SentLines()
        self.sent_bytes = 0
        self._source = source
        self._progress = progress
        self._task = task
        self._has_lines = has_lines
        self._began_s = time.monotonic()

    async def pieces(self) -> AsyncIterator[bytes]:
        """The bytes of the source, as the import asks for them."""
        while piece := await _read(self._source):
            if self._has_lines:
                self.lines.add(piece)
            self.sent_bytes += len(piece)
            self._progress.update(self._task, completed=self.sent_bytes, records=self._records())
            yield piece

    def _records(self) -> str:
        if not self._has_lines:
            return ""
        elapsed_s = max(time.monotonic() - self._began_s, 0.001)
        return f"{self.lines.ended} records, {self.lines.ended / elapsed_s:.0f}/s"


async def _read(source: FileIO) -> bytes | None:
    """The next piece, read in a thread that nobody waits for: those of `asyncio.to_thread` keep loop and process from
    ending while a source is silent."""
    piece: Future[bytes | None] = Future()
    piece.set_running_or_notify_cancel()

    def read() -> None:
        try:
            piece.set_result(source.read(PIECE_BYTES))
        except Exception as error:
            piece.set_exception(error)

    threading.Thread(target=read, name="import-source", daemon=True).start()
    return await asyncio.wrap_future(piece)


def import_items(file: str, keyspace: str, gateway: str) -> ExitCode:
    """Import the items of `file`, MessagePack where its name says so.

    Raises:
        typer.BadParameter: the file cannot be read.
        KvError: the import failed, and nobody knows on which line.
    """
    packed = file.endswith(PACKED_SUFFIX)
    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TextColumn("{task.fields[records]}"),
        TimeRemainingColumn(),
    )
    with ExitStack() as stack:
        source, size = _open(file, stack)
        progress = stack.enter_context(Progress(*columns, console=console, disable=not console.is_terminal))
        task = progress.add_task("import", total=size, records="")
        shown = _Shown(source, progress, task, has_lines=not packed)
        failure: KvError | None = None
        try:
            imported = asyncio.run(_send(shown, keyspace, gateway, packed=packed))
        except KvError as error:
            if "line" not in error.numbers:
                raise
            failure, imported = error, error.numbers["imported"]
    print(f"imported {imported} records")
    return ExitCode.DONE if failure is None else _explain(file, failure, shown.lines)


async def _send(shown: _Shown, keyspace: str, gateway: str, *, packed: bool) -> int:
    async with Client(gateway) as client:
        return await client.keyspace(keyspace).import_(shown.pieces(), packed=packed)


def _explain(file: str, failure: KvError, lines: SentLines) -> ExitCode:
    line = failure.numbers["line"]
    text = lines.text_of(line)
    source = "standard input" if file == STANDARD_INPUT else file
    complain(f"{source}, line {line}: {failure.detail}{': ' if text else ''}{text}")
    return exit_code(failure)


def _open(file: str, stack: ExitStack) -> tuple[FileIO, int | None]:
    """The source and its size in bytes, None where nobody knows. It has no buffer, as a read that does not return
    would hold the lock of one when the process is to end."""
    if file == STANDARD_INPUT:
        return FileIO(sys.stdin.fileno(), closefd=False), None
    try:
        source = Path(file).open("rb", buffering=0)  # noqa: SIM115
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error
    return stack.enter_context(source), os.fstat(source.fileno()).st_size or None
