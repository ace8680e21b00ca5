"""What came of a comparison of copies, as the contract says it.

Guarantees: bytes stand in JSON as everywhere (`key`, or `key_b64` where they are no text). Leaves to others: comparing
(`verifier`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cluster.gateway.item_fields import text_or_b64
from kvstore.messages import DifferentKey, Verified
from kvstore.versions import etag


class Comparison(msgspec.Struct, frozen=True):
    """The verdict on a partition, and the nodes whose copies had no part in it, for they were not in sync."""

    verified: Verified
    left_out: tuple[str, ...]


def told(comparisons: Sequence[Comparison]) -> dict[str, Any]:
    """The body of the answer."""
    verdicts = [one.verified for one in comparisons]
    differences = [_difference(one) for one in verdicts if one.state != "clean"]
    left_out = [{"partition": one.verified.pid, "copies": list(one.left_out)} for one in comparisons if one.left_out]
    return {"ok": not differences, "partitions": len(verdicts), "differences": differences, "left_out": left_out}


def _difference(verified: Verified) -> dict[str, Any]:
    first, *_ = (copy.node for copy in verified.copies)
    return {
        "partition": verified.pid,
        "copies": [first, *verified.differs],
        "parts": verified.parts,
        "keys": [_key(verified.pid, one) for one in verified.keys],
        "more": verified.more,
    }


def _key(pid: int, different: DifferentKey) -> dict[str, Any]:
    etags = {node: etag(pid, epoch, seq) if seq else None for node, epoch, seq in different.versions}
    return {**text_or_b64("key", different.key), "etags": etags}
