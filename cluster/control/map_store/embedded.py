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
from kvstore.codec import decode_entry, encode_entry
from kvstore.errors import OperatorError
from kvstore.messages import KeyspaceInfo, MapUpdate, NodeInfo
from kvstore.storage.data_dir import DataDir

FILE_NAME = "cluster-map.lmdb"
MAP_SIZE_BYTES = 1024**3
CLUSTER_ID_BYTES = 8


class _Head(msgspec.Struct, frozen=True, array_like=True):
    """The one row that is not about a node, keyspace or partition; `next_pid` is the first uid never handed out."""

    format: int
    cluster_id: bytes
    map_ver: int
    next_pid: int


FORMAT = 1
_HEAD_KEY = b"head"
_NODES, _KEYSPACES, _ENTRIES = b"n/", b"k/", b"p/"
_ENCODER = msgspec.msgpack.Encoder()
_HEAD_ROW = msgspec.msgpack.Decoder(_Head)
_NODE_ROW = msgspec.msgpack.Decoder(NodeInfo)
_KEYSPACE_ROW = msgspec.msgpack.Decoder(KeyspaceInfo)
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
        except (lmdb.Error, msgspec.DecodeError, OSError, ValueError) as error:
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

    def _read(self) -> tuple[_Head, ClusterMap]:
        with self._env.begin(write=True) as transaction:
            row = transaction.get(_HEAD_KEY)
            if row is None:
                head = _Head(FORMAT, secrets.token_bytes(CLUSTER_ID_BYTES), 0, 1)
                transaction.put(_HEAD_KEY, _ENCODER.encode(head))
                return head, ClusterMap.empty(head.cluster_id)
            head = _HEAD_ROW.decode(row)
            if head.format != FORMAT:
                raise ValueError(f"its format is {head.format}, this version reads {FORMAT}")
            nodes = {node.id: node for node in map(_NODE_ROW.decode, _rows(transaction, _NODES))}
            keyspaces = {one.name: one for one in map(_KEYSPACE_ROW.decode, _rows(transaction, _KEYSPACES))}
            entries = {entry.pid: entry for entry in map(decode_entry, _rows(transaction, _ENTRIES))}
            return head, ClusterMap(head.cluster_id, head.map_ver, nodes, keyspaces, entries)

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
        nothing = MapUpdate(self._head.map_ver, [], [])
        self._write(msgspec.structs.replace(self._head, next_pid=first + count), nothing)
        return first

    def _write(self, head: _Head, rows: MapUpdate) -> None:
        with self._env.begin(write=True) as transaction:
            transaction.put(_HEAD_KEY, _ENCODER.encode(head))
            for node in rows.nodes:
                transaction.put(_NODES + node.id.encode(), _ENCODER.encode(node))
            for keyspace in rows.keyspaces:
                transaction.put(_KEYSPACES + keyspace.name.encode(), _ENCODER.encode(keyspace))
            for entry in rows.entries:
                transaction.put(_ENTRIES + entry.pid.to_bytes(8, "big"), encode_entry(entry))
        self._head = head


def _rows(transaction: Any, prefix: bytes) -> list[bytes]:
    found: list[bytes] = []
    with transaction.cursor() as cursor:
        if cursor.set_range(prefix):
            for key, value in cursor.iternext():
                if not key.startswith(prefix):
                    break
                found.append(value)
    return found


def _sync_directory(path: Path) -> None:
    """Make the file's name durable too, not only its content."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
