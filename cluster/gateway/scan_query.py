"""The parameters of a scan, parsed strictly.

Guarantees: every parameter is taken whole or refused with an error that names it, and so are those that contradict each
other. Leaves to others: the cursor's text (`cursors`), scanning (`scans`). Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

from cluster.gateway.conditions import parse_flag, parse_raw_query
from cluster.gateway.cursors import Cursor, decode_cursor
from cluster.gateway.scan_merge import KeyRange
from kvstore.errors import BadCursor, BadParameter
from kvstore.keys import KEY_BYTES_MAX

LIMIT_MAX = 10_000
RANGE = ("start", "end", "prefix")
FLAGS = ("reverse", "keys_only", "count", "allow_partial", "confirm")
SCAN_PARAMETERS = frozenset((*RANGE, "limit", "reverse", "keys_only", "count", "cursor", "allow_partial"))
REMOVAL_PARAMETERS = frozenset((*RANGE, "confirm"))
# What makes no sense beside `count`.
NOT_COUNTED = ("limit", "cursor", "reverse", "keys_only")

_LIMIT = re.compile(rb"[0-9]{1,5}")


class ScanQuery(msgspec.Struct, frozen=True):
    """What is asked for: `keys` are what is left of `whole`, which is the same on every page of a scan; `limit` is None
    where it is not given."""

    keys: KeyRange
    whole: KeyRange
    limit: int | None = None
    keys_only: bool = False
    is_count: bool = False
    allow_partial: bool = False


def parse_scan(query: str, keyspace: str, cluster_id: bytes) -> ScanQuery:
    """The parameters of a scan or a count.

    Raises:
        BadParameter: one is unknown, given twice, malformed, or contradicts another.
        BadCursor: the cursor is none of this cluster, or of another scan than the one asked for.
    """
    given = parse_raw_query(query, SCAN_PARAMETERS)
    flags = _flags(given)
    is_count = flags.get("count", False)
    if is_count:
        for name in NOT_COUNTED:
            if name in given:
                raise BadParameter(f"{name} is not for a count")
    keys = whole = _key_range(given, flags.get("reverse", False))
    if "cursor" in given:
        cursor = _cursor(given, whole, keyspace, cluster_id)
        keys, whole = cursor.keys.after(cursor.last_key), cursor.keys
    keys_only, allow_partial = flags.get("keys_only", False), flags.get("allow_partial", False)
    return ScanQuery(keys, whole, _limit(given), keys_only, is_count, allow_partial)


def parse_removal(query: str) -> KeyRange:
    """The range that is to be removed; raises BadParameter."""
    given = parse_raw_query(query, REMOVAL_PARAMETERS)
    keys = _key_range(given, False)
    if not any(given.get(name) for name in RANGE):
        raise BadParameter("prefix, start or end: name the range that is to be removed")
    if not _flags(given).get("confirm"):
        raise BadParameter("confirm=true is needed to remove a range of keys")
    return keys


def prefix_end(prefix: bytes) -> bytes:
    """The smallest key after all that begin with `prefix`; empty where there is none."""
    head = prefix.rstrip(b"\xff")
    return head[:-1] + bytes((head[-1] + 1,)) if head else b""


def _flags(given: Mapping[str, bytes]) -> dict[str, bool]:
    return {name: parse_flag(name, given[name].decode("utf-8", "replace")) for name in FLAGS if name in given}


def _limit(given: Mapping[str, bytes]) -> int | None:
    text = given.get("limit")
    if text is None:
        return None
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LIMIT_MAX:
        raise BadParameter(f"limit is a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _key_range(given: Mapping[str, bytes], reverse: bool) -> KeyRange:
    for name in RANGE:
        if len(given.get(name, b"")) > KEY_BYTES_MAX:
            raise BadParameter(f"{name} has at most {KEY_BYTES_MAX} bytes")
    start, end, prefix = (given.get(name, b"") for name in RANGE)
    if "end" in given and not end:
        raise BadParameter("end is empty; leave it out for a scan without an end")
    if end and start > end:
        raise BadParameter("start is after end")
    ends = [one for one in (end, prefix_end(prefix)) if one]
    return KeyRange(max(start, prefix), min(ends, default=b""), reverse)


def _cursor(given: Mapping[str, bytes], keys: KeyRange, keyspace: str, cluster_id: bytes) -> Cursor:
    """The cursor, whose scan may be named again beside it."""
    cursor = decode_cursor(given["cursor"].decode("utf-8", "replace"), cluster_id)
    if cursor.keyspace != keyspace:
        raise BadCursor(f"cursor: of a scan of keyspace {cursor.keyspace!r}")
    names_range = any(name in given for name in RANGE)
    if names_range and (keys.start, keys.end) != (cursor.keys.start, cursor.keys.end):
        raise BadCursor("cursor: of a scan with another start, end or prefix")
    if "reverse" in given and keys.reverse != cursor.keys.reverse:
        raise BadCursor("cursor: of a scan in the other direction")
    return cursor
