"""The map store of a single gateway: an LMDB file in its data directory.

Guarantees: the contract of `map_store`; one process at a time owns the directory; a batch is one write transaction
with its fsync, made in a thread of its own, and what it wrote is known here only after that. There are no unknown
outcomes: a transaction that fails raises, and the process is expected to end. Leaves to others: guards
(`cluster_map`).
"""

from __future__ import annotations

import asyncio
import os
import secrets
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import lmdb
import msgspec

from cluster.cluster_map import Change, ClusterMap
from cluster.control.map_store import Applied, Outcome
from cluster.control.map_store.rows import CLUSTER_ID_BYTES, Head, decode_rows, encode_rows
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.errors import OperatorError
from kvstore.messages import MapUpdate
from kvstore.storage.data_dir import DataDir

FILE_NAME = "cluster-map.lmdb"
MAP_SIZE_BYTES = 1024**3
NOTHING = MapUpdate(0, [], [])
T = TypeVar("T")


class EmbeddedMapStore:
    """Opens the store in the directory `data`, which is made where it is missing.

    Raises:
        OperatorError: another process owns the directory, it cannot be used, or the file in it is no map store.
    """

    def __init__(self, data: Path) -> None:
        self._dir = DataDir(data)
        self._path = data / FILE_NAME
        self._env: Any = None
        try:
            self._env = lmdb.open(str(self._path), subdir=False, map_size=MAP_SIZE_BYTES, readahead=False)
            self._head, self._map = self._read()
            _sync_directory(data)
        except (lmdb.Error, OSError, ValueError) as error:
            self._release()
            raise OperatorError(f"cannot open the cluster map in {self._path}: {error}") from error
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="map-store")

    async def load(self) -> ClusterMap:
        """The map as it stands."""
        return self._map

    async def apply(self, changes: Sequence[Change]) -> Applied:
        """Propose changes in one transaction.

        Raises:
            lmdb.Error: the disk refused it; what stands on it is known only after the process has started again.
        """
        return await self._in_thread(lambda: self._apply(tuple(changes)))

    async def allocate_pids(self, count: int) -> int:
        """Reserve `count` uids; raises as `apply` does."""
        return await self._in_thread(lambda: self._allocate(count))

    async def draw_incarnation(self) -> int:
        """A higher incarnation than any before; raises as `apply` does."""
        return await self._in_thread(self._draw_incarnation)

    async def draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        """The next window for ids; raises as `apply` does."""
        return await self._in_thread(lambda: self._draw_id_window(asked))

    async def may_plan(self) -> bool:
        """Always: there is no other gateway."""
        return True

    async def close(self) -> None:
        """Wait for the transaction under way, then give the directory up."""
        await self._in_thread(lambda: None)
        self._thread.shutdown()
        self._release()

    def _release(self) -> None:
        if self._env is not None:
            self._env.close()
        self._dir.close()

    async def _in_thread(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    def _read(self) -> tuple[Head, ClusterMap]:
        with self._env.begin(write=True) as transaction:
            head, update = decode_rows((bytes(key), bytes(row)) for key, row in transaction.cursor())
            if head is None:
                head = Head.first(secrets.token_bytes(CLUSTER_ID_BYTES))
                _put(transaction, head, update)
            return head, ClusterMap.empty(head.cluster_id).updated(update)

    def _apply(self, changes: tuple[Change, ...]) -> Applied:
        after, landed = self._map.changed(changes)
        if any(landed):
            written = after.touched(change for change, lands in zip(changes, landed, strict=True) if lands)
            self._write(msgspec.structs.replace(self._head, map_ver=after.map_ver), written)
            self._map = after
        outcomes = tuple(Outcome.LANDED if lands else Outcome.CONFLICT for lands in landed)
        return Applied(outcomes, self._map.touched(changes))

    def _allocate(self, count: int) -> int:
        first = self._head.next_pid
        self._write(msgspec.structs.replace(self._head, next_pid=first + count))
        return first

    def _draw_incarnation(self) -> int:
        drawn = self._head.next_incarnation
        self._write(msgspec.structs.replace(self._head, next_incarnation=drawn + 1))
        return drawn

    def _draw_id_window(self, asked: DrawIdWindow) -> IdWindow:
        ids, window = self._head.ids.drawn(asked)
        self._write(msgspec.structs.replace(self._head, ids=ids))
        return window

    def _write(self, head: Head, written: MapUpdate = NOTHING) -> None:
        with self._env.begin(write=True) as transaction:
            _put(transaction, head, written)
        self._head = head


def _put(transaction: Any, head: Head, written: MapUpdate) -> None:
    for key, row in encode_rows(head, written).items():
        transaction.put(key, row)


def _sync_directory(path: Path) -> None:
    """Make the file's name durable too, not only its content."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
