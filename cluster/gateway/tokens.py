"""Clients' idempotency tokens: the bytes by which a partition knows a request again.

Guarantees: requests have the same scope exactly if token, method, keyspace and key are equal (in a batch: token,
keyspace and index), and the same fingerprint exactly if all is equal that the request asks for, up to hashing. Leaves
to others: the header (`conditions`), what is remembered under them (`kvstore.replication.outcomes`). Sans-IO. PROTOCOL
"Idempotency".
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import blake2b

import msgspec
import xxhash

from cluster.gateway.operations import Change, Operation
from kvstore.errors import KvError
from kvstore.messages import SCOPE_BYTES

_ENCODER = msgspec.msgpack.Encoder()


def with_token(change: Change, token: str) -> Change:
    """The change of a request on one key."""
    method = "DELETE" if change.value is None else "PUT"
    return _marked(change, (method, change.keyspace, change.key, token))


def with_tokens(operations: Sequence[Operation | KvError], token: str) -> list[Operation | KvError]:
    """The operations of a batch: each change under the token and its place."""
    return [
        _marked(operation, ("BATCH", operation.keyspace, index, token)) if isinstance(operation, Change) else operation
        for index, operation in enumerate(operations)
    ]


def marked(scope: tuple[str | bytes | int, ...], asked: msgspec.Struct) -> bytes:
    """The bytes of a token: those of its scope, then those of what is asked under it."""
    named = blake2b(_ENCODER.encode(scope), digest_size=SCOPE_BYTES).digest()
    return named + xxhash.xxh3_128_digest(_ENCODER.encode(asked))


def _marked(change: Change, scope: tuple[str | bytes | int, ...]) -> Change:
    return msgspec.structs.replace(change, token=marked(scope, change))
