"""Fields that the operations of batches and transactions and the items of an import have in common.

Guarantees: a field is taken whole or refused with `BadBody` that names it; one that is not there is UNSET, so that null
is no value of any. Leaves to others: where the field stands, which the caller adds to the message (`bodies`,
`import_stream`). Sans-IO.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Iterable
from typing import TypeVar

from msgspec import UNSET, UnsetType

from cluster.gateway.conditions import TTL_S_MAX
from kvstore.errors import BadBody

TEXT_BYTES_MAX = 8192

_Field = TypeVar("_Field")


def or_none(field: _Field | UnsetType) -> _Field | None:
    """The field's value, None where it is not there."""
    return None if field is UNSET else field


def bytes_of(text: str | UnsetType, b64: str | UnsetType, name: str) -> bytes | UnsetType:
    """The bytes that stand as `name` or as `name_b64`, UNSET where neither does. Raises BadBody for both."""
    if text is not UNSET:
        if b64 is not UNSET:
            raise BadBody(f"has both {name} and {name}_b64")
        return text.encode()
    if b64 is UNSET:
        return UNSET
    try:
        return base64.b64decode(b64, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadBody(f"{name}_b64: {error}") from error


def required(data: bytes | UnsetType, name: str) -> bytes:
    """`data`; raises BadBody where there is none."""
    if data is UNSET:
        raise BadBody(f"needs one of {name} and {name}_b64")
    return data


def ttl_ms_of(ttl_s: float | UnsetType) -> int | None:
    """A time to live in milliseconds, at least one. Raises BadBody."""
    if ttl_s is UNSET:
        return None
    if not 0 < ttl_s <= TTL_S_MAX:
        raise BadBody(f"ttl is a positive number of seconds, at most {TTL_S_MAX}")
    return max(1, round(ttl_s * 1000))


def distinct_fields(pairs: Iterable[tuple[object, object]]) -> dict[object, object]:
    """The map of these pairs, for MessagePack; raises ValueError for a key that is there twice."""
    listed = list(pairs)
    fields = dict(listed)
    if len(fields) != len(listed):
        raise ValueError("a map has the same key twice")
    return fields


def text_or_b64(name: str, value: bytes) -> dict[str, str]:
    """The field of a JSON answer that holds these bytes: `name`, or `name_b64` where they are no text."""
    try:
        return {name: value.decode()}
    except UnicodeDecodeError:
        return {f"{name}_b64": base64.b64encode(value).decode()}
