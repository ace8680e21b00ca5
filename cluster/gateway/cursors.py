"""Cursors: where a scan goes on, as text that means something to the gateways of one cluster only.

Guarantees: a cursor that was altered, cut short or made by another cluster is refused; any gateway of the cluster takes
it, at any time, for it names no place but the last key. Its signature keeps mistakes out; it is no secret, and gives
nobody more than the same range asked for without it. Leaves to others: where it stands in an answer. Sans-IO.
PROTOCOL "Range scans".
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac

import msgspec

from cluster.gateway.scan_merge import KeyRange
from kvstore.errors import BadCursor

CURSOR_BYTES_MAX = 4096
SIGNATURE_BYTES = 16
PURPOSE = b"kvstore.cursor"


class Cursor(msgspec.Struct, frozen=True, array_like=True, tag=1):
    """A scan of `keys` in `keyspace` that has come to `last_key`."""

    keyspace: str
    keys: KeyRange
    last_key: bytes


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Cursor)


def encode_cursor(cursor: Cursor, cluster_id: bytes) -> str:
    """The text of a cursor."""
    body = _ENCODER.encode(cursor)
    return base64.urlsafe_b64encode(_signature(body, cluster_id) + body).rstrip(b"=").decode("ascii")


def decode_cursor(text: str, cluster_id: bytes) -> Cursor:
    """The cursor that `text` is.

    Raises:
        BadCursor: it is none of this cluster.
    """
    if len(text) > CURSOR_BYTES_MAX or not text.isascii():
        raise BadCursor("cursor: not one that this cluster made")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadCursor("cursor: not one that this cluster made") from error
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii") != text:
        raise BadCursor("cursor: altered")
    signature, body = data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:]
    if not hmac.compare_digest(signature, _signature(body, cluster_id)):
        raise BadCursor("cursor: altered, or made by another cluster")
    return _DECODER.decode(body)


def _signature(body: bytes, cluster_id: bytes) -> bytes:
    return hashlib.blake2b(body, key=cluster_id, person=PURPOSE, digest_size=SIGNATURE_BYTES).digest()
