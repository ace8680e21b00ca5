"""The digests of a copy's state: what copies compare to know that they are equal, and where they are not.

Guarantees: what stands in one snapshot is digested in buckets, so that two copies that applied the same have the same
digests, however their rows came to be there: keys with version, expiry, content type and value in `KEY_BUCKETS` of them
by the key's hash, the index of expiries in one more, and then one each for what counts of what is remembered of writes,
with how far a transfer has come, and of transactions. It is done a bounded piece at a time. Rows of the buckets that
are asked for are listed, up to `LISTED_MAX`. Leaves to others: which snapshot it is (`node`), comparing
(`verification`). Sans-IO. PROTOCOL "Verify".
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator
from itertools import chain

import xxhash

from kvstore.replication.copy_rows import STATE, State, decode_row
from kvstore.replication.outcomes import outcome_rows
from kvstore.storage.engine import Snapshot, Table, range_end
from kvstore.storage.records import value_bytes
from kvstore.transfer.records import PROGRESS_ROW
from kvstore.txn.state import txn_rows

KEY_BUCKETS = 1024
EXPIRIES = KEY_BUCKETS
OUTCOMES = KEY_BUCKETS + 1
TXNS = KEY_BUCKETS + 2
BUCKETS = KEY_BUCKETS + 3
LISTED_MAX = 2000
STEP_ROWS = 256
STEP_BYTES = 256 * 1024

_VERSION = struct.Struct(">BQQ")
_MASK = (1 << 64) - 1
_NO_STATE = State(0, 0, 0, 0, 0, 0)

Listed = tuple[bytes, int, int, int]


class BucketDigests:
    """The copy under `prefix` in `view`. Args: listed: buckets whose rows are to be listed."""

    def __init__(self, prefix: bytes, view: Snapshot, listed: Collection[int] = ()) -> None:
        self.seq = 0
        self.keys = 0
        self.size_bytes = 0
        self.digests = [0] * BUCKETS
        self.rows: list[Listed] = []
        self._listed = frozenset(listed)
        self._steps = self._digest(prefix, view)

    def step(self) -> bool:
        """Digest the next rows; True when there are none left.

        Raises:
            DamagedRow: the copy's state, or a row of what is remembered of writes, is damaged.
        """
        return next(self._steps, None) is None

    def _digest(self, prefix: bytes, view: Snapshot) -> Iterator[bool]:
        """Yields whenever a piece is done."""
        state_row = view.get(Table.META, prefix + STATE)
        state = _NO_STATE if state_row is None else decode_row(state_row, State)
        self.seq = state.applied_seq
        digests, listed, head = self.digests, self._listed, len(prefix)
        rows = size_bytes = 0
        for row_key, row in view.scan(Table.DATA, prefix, range_end(prefix)):
            key = row_key[head:]
            # The upper bits of the hash are alike within a partition, the lower ones spread its keys over the buckets.
            key_digest = xxhash.xxh3_64_intdigest(key)
            bucket = key_digest % KEY_BUCKETS
            digest = xxhash.xxh3_64_intdigest(row, key_digest)
            digests[bucket] = (digests[bucket] + digest) & _MASK
            if bucket in listed and len(self.rows) < LISTED_MAX:
                self.rows.append((key, *version_of(row), digest))
            self.keys += 1
            self.size_bytes += len(key) + value_bytes(row)
            rows += 1
            size_bytes += len(row)
            if rows >= STEP_ROWS or size_bytes >= STEP_BYTES:
                rows = size_bytes = 0
                yield True
        yield from self._add(EXPIRIES, _expiries(prefix, view))
        remembered = chain(outcome_rows(prefix, view, state.applied_ms), _progress(prefix, view))
        yield from self._add(OUTCOMES, remembered)
        yield from self._add(TXNS, txn_rows(prefix, view, state.applied_ms))

    def _add(self, bucket: int, pairs: Iterator[tuple[bytes, bytes]]) -> Iterator[bool]:
        for number, (key, row) in enumerate(pairs, 1):
            digest = xxhash.xxh3_64_intdigest(row, xxhash.xxh3_64_intdigest(key))
            self.digests[bucket] = (self.digests[bucket] + digest) & _MASK
            if number % STEP_ROWS == 0:
                yield True


def version_of(row: bytes) -> tuple[int, int]:
    """The (epoch, seq) in a data row, (0, 0) in one that is too short for it."""
    if len(row) < _VERSION.size:
        return 0, 0
    _, epoch, seq = _VERSION.unpack_from(row)
    return epoch, seq


def _progress(prefix: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    row = view.get(Table.META, prefix + PROGRESS_ROW)
    if row is not None:
        yield PROGRESS_ROW, row


def _expiries(prefix: bytes, view: Snapshot) -> Iterator[tuple[bytes, bytes]]:
    for key, row in view.scan(Table.EXPIRY, prefix, range_end(prefix)):
        yield key[len(prefix) :], row
