"""What a verify record says: which copies are to digest their state at its seq.

Guarantees: a record of another format, or a damaged one, asks nobody. Leaves to others: that the record ends its log
row (`log`), and with that what is applied in one batch (`copy`). Sans-IO. PROTOCOL "Verify".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kvstore.map_values import Rid
from kvstore.storage.records import Record, RecordType


class VerifyOrder(msgspec.Struct, frozen=True, array_like=True):
    """The copies named, by the `store` of their rids; `buckets`: those whose rows are to be listed, too."""

    stores: list[bytes]
    buckets: list[int]


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(VerifyOrder)
NOBODY = VerifyOrder([], [])


def verify_record(rids: Sequence[Rid], buckets: Sequence[int]) -> Record:
    """The record that has these copies digest, and list the rows of these buckets."""
    order = VerifyOrder([rid.store for rid in rids], list(buckets))
    return Record(RecordType.VERIFY, value=_ENCODER.encode(order))


def order_of(value: bytes) -> VerifyOrder:
    """What the value of a verify record says."""
    try:
        return _DECODER.decode(value)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return NOBODY
