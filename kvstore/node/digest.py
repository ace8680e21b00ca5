"""The digest of a copy: what two copies compare.

Guarantees: it covers every key and row of one snapshot, in key order, and names the seq that snapshot had applied; two
copies at the same seq have equal digests (PROTOCOL "Durability promise"). Runs in a pool thread, never on the loop.
"""

from __future__ import annotations

import msgspec
import xxhash

from kvstore.messages import DigestResult
from kvstore.replication.copy import STATE, State
from kvstore.storage.engine import Engine, Table, range_end


def digest_copy(engine: Engine, pid: int, prefix: bytes) -> DigestResult:
    """Digest the copy under `prefix` as it is now."""
    view = engine.snapshot()
    try:
        row = view.get(Table.META, prefix + STATE)
        seq = msgspec.msgpack.decode(row, type=State).applied_seq if row else 0
        hasher = xxhash.xxh3_128()
        keys = size_bytes = 0
        for key, value in view.scan(Table.DATA, prefix, range_end(prefix)):
            hasher.update(len(key).to_bytes(4, "big") + key[len(prefix) :])
            hasher.update(len(value).to_bytes(4, "big") + value)
            keys += 1
            size_bytes += len(value)
        return DigestResult(pid, seq, keys, size_bytes, hasher.digest())
    finally:
        view.close()
