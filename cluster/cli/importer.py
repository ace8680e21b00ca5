"""Files into keys: finds the files of a tree and puts them, batch by batch.

Guarantees: each file that is found ends in exactly one count (imported, skipped, failed, unknown), and a folder that
cannot be read in that of what failed; batches are bounded in bytes and operations, and few are under way, so memory is
bounded; a put whose outcome is unknown is not sent again; the first sign that the gateway cannot be reached ends the
import. Leaves to others: what the counts look like (`import_files`).
"""

from __future__ import annotations

import asyncio
import mimetypes
import os
import random
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from kvstore.client import Client, Keyspace, Put
from kvstore.client.answers import OCTET_STREAM, Outcome, Written
from kvstore.client.attempts import RESERVE, pause_before_retry
from kvstore.errors import KvError, OutcomeUnknown, StorageFull
from kvstore.keys import KEY_BYTES_MAX

BATCH_BYTES_MAX = 2 * 1024 * 1024
BATCH_OPS_MAX = 200
IN_FLIGHT_MAX = 4


@dataclass(frozen=True, slots=True)
class Found:
    """A file to import; `size` is its size in bytes when it was found."""

    path: Path
    key: bytes
    size: int


@dataclass(frozen=True, slots=True)
class Skipped:
    path: Path
    reason: str


@dataclass(frozen=True, slots=True)
class Failed:
    """A folder that cannot be read."""

    path: Path
    reason: str


@dataclass(slots=True)
class Counts:
    """Where the files went, and the folders that cannot be read; `halted` is the error that ended the import early."""

    imported: int = 0
    imported_bytes: int = 0
    skipped: int = 0
    failed: int = 0
    unknown: int = 0
    halted: KvError | None = None


def find_files(root: Path, value_bytes_max: int) -> Iterator[Found | Skipped | Failed]:
    """Yield every entry of the tree that is no folder, in order of path, then every folder that cannot be read; links
    are not followed."""
    errors: list[OSError] = []
    for folder, folders, names in os.walk(root, onerror=errors.append):
        links = {name for name in folders if os.path.islink(os.path.join(folder, name))}
        folders[:] = sorted(set(folders) - links)
        for name in sorted([*names, *links]):
            path = Path(folder, name)
            reason, size = _unfit(path, value_bytes_max)
            key = os.fsencode(path.relative_to(root)).replace(os.fsencode(os.sep), b"/")
            if not reason and len(key) > KEY_BYTES_MAX:
                reason = f"its key has {len(key)} bytes, at most {KEY_BYTES_MAX} are allowed"
            yield Skipped(path, reason) if reason else Found(path, key, size)
    for error in errors:
        yield Failed(Path(error.filename), str(error.strerror))


def _unfit(path: Path, value_bytes_max: int) -> tuple[str, int]:
    try:
        if path.is_symlink() or not path.is_file():
            return "not a regular file", 0
        size = path.stat().st_size
    except OSError as error:
        return str(error.strerror), 0
    return (too_large(size, value_bytes_max) if size > value_bytes_max else ""), size


def too_large(size: int, value_bytes_max: int) -> str:
    return f"{size} bytes, at most {value_bytes_max} are allowed"


def content_type_of(path: Path) -> str:
    """The media type that the name suggests; a compressed file is just bytes."""
    kind, encoding = mimetypes.guess_type(path.name)
    return kind if kind is not None and encoding is None else OCTET_STREAM


def batches(files: Iterable[Found]) -> Iterator[list[Found]]:
    """Cut `files` into batches within the bounds; a file above them is a batch of its own."""
    batch: list[Found] = []
    held = 0
    for file in files:
        if batch and (len(batch) >= BATCH_OPS_MAX or held + file.size > BATCH_BYTES_MAX):
            yield batch
            batch, held = [], 0
        batch.append(file)
        held += file.size
    if batch:
        yield batch


class Importer:
    """Puts files through one client.

    Args:
        complain: told in one sentence of each file that is not imported.
        advance: told how many bytes of the files found are done with.
        timeout_s: how long puts that were refused for now are tried again, in seconds.
    """

    def __init__(
        self,
        client: Client | Keyspace,
        *,
        value_bytes_max: int,
        timeout_s: float,
        complain: Callable[[str], None],
        advance: Callable[[int], None],
    ) -> None:
        self.counts = Counts()
        self._client = client
        self._value_bytes_max = value_bytes_max
        self._timeout_s = timeout_s
        self._complain = complain
        self._advance = advance

    async def run(self, files: Iterable[Found]) -> Counts:
        """Import `files`, `IN_FLIGHT_MAX` batches at a time."""
        todo = batches(files)
        async with asyncio.TaskGroup() as group:
            for _ in range(IN_FLIGHT_MAX):
                group.create_task(self._work(todo))
        return self.counts

    def skip(self, path: Path, reason: str) -> None:
        self.counts.skipped += 1
        self._complain(f"skipped {path}: {reason}")

    def fail(self, path: Path, reason: str) -> None:
        self.counts.failed += 1
        self._complain(f"failed {path}: {reason}")

    async def _work(self, todo: Iterator[list[Found]]) -> None:
        for batch in todo:
            if self.counts.halted is not None:
                return
            loaded = [(file, put) for file in batch if (put := self._load(file)) is not None]
            if loaded:
                outcomes = await self._settle([put for _, put in loaded])
                for (file, put), outcome in zip(loaded, outcomes, strict=True):
                    self._count(file, put, outcome)
            self._advance(sum(file.size for file in batch))

    def _load(self, file: Found) -> Put | None:
        try:
            value = file.path.read_bytes()
        except OSError as error:
            self.fail(file.path, str(error.strerror))
            return None
        if len(value) > self._value_bytes_max:
            self.skip(file.path, too_large(len(value), self._value_bytes_max))
            return None
        return Put(file.key, value, content_type_of(file.path))

    async def _settle(self, puts: Sequence[Put]) -> list[Outcome]:
        """Put all, trying those again that were refused for now; their keys differ, so order does not matter."""
        loop = asyncio.get_running_loop()
        patience_end_s = loop.time() + self._timeout_s * (1 - RESERVE)
        outcomes = await self._send(puts)
        attempt = 1
        while True:
            pauses = {
                index: pause_before_retry(outcome, attempt, 0.0, patience_end_s - loop.time(), random.random())
                for index, outcome in enumerate(outcomes)
                if isinstance(outcome, KvError)
            }
            again = [index for index, pause_s in pauses.items() if pause_s is not None]
            if not again or self.counts.halted is not None:
                return outcomes
            await asyncio.sleep(max(pause_s for pause_s in pauses.values() if pause_s is not None))
            for index, outcome in zip(again, await self._send([puts[index] for index in again]), strict=True):
                outcomes[index] = outcome
            attempt += 1

    async def _send(self, puts: Sequence[Put]) -> list[Outcome]:
        """One request for all; a refusal of the request is the outcome of each, and ends the import unless it is
        about what was sent."""
        try:
            if len(puts) == 1:
                only = puts[0]
                return [await self._client.put(only.key, only.value, content_type=only.content_type)]
            return await self._client.batch(puts)
        except KvError as error:
            if error.status >= 500 or error.status == 429:
                self.counts.halted = self.counts.halted or error
            return [error] * len(puts)

    def _count(self, file: Found, put: Put, outcome: Outcome) -> None:
        if isinstance(outcome, Written):
            self.counts.imported += 1
            self.counts.imported_bytes += len(put.value)
        elif isinstance(outcome, OutcomeUnknown):
            self.counts.unknown += 1
            self._complain(f"unknown {file.path}: {outcome.detail}")
        elif isinstance(outcome, KvError):
            self.fail(file.path, outcome.detail)
            if isinstance(outcome, StorageFull):
                self.counts.halted = self.counts.halted or outcome
