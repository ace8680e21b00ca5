"""The forms that a body has: JSON or MessagePack, by `Content-Type` and `Accept`.

Guarantees: a body is decoded to exactly the declared shape or refused with `BadBody`; in MessagePack no field is there
twice, and nothing is built of what does not fit the shape. Leaves to others: which shape, and how many elements its
lists may have (`bodies`, `txn_bodies`, `documents`), sizes in bytes (`http_request`). Sans-IO.
"""

from __future__ import annotations

import re
from enum import Enum
from typing import TypeVar

import msgpack
import msgspec

from cluster.gateway.item_fields import TEXT_BYTES_MAX, distinct_fields
from kvstore.errors import BadBody, UnsupportedMediaType

# No body has a map of more.
FIELDS_MAX = 16
FORM_TYPES = frozenset(("", "application/x-www-form-urlencoded"))

_WEIGHT = re.compile(r";[ \t]*q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)[ \t]*(?:;|$)", re.IGNORECASE)

_Shape = TypeVar("_Shape")


class Format(Enum):
    """How a body is written; the value is its media type."""

    JSON = "application/json"
    MSGPACK = "application/msgpack"


def decode_json(body: bytes, decoder: msgspec.json.Decoder[_Shape]) -> _Shape:
    """The body as the decoder's shape; raises BadBody."""
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BadBody(str(error)) from error


def decode_packed(body: bytes, decoder: msgspec.msgpack.Decoder[_Shape], name: str) -> _Shape:
    """The body as the decoder's shape; `name` is what it should be. Raises BadBody."""
    try:
        decoded = decoder.decode(body)
        # The decoder takes the last of equal fields. What builds every one of them comes second: where the shape is
        # not known a small body can be a tree of very many empty lists.
        msgpack.unpackb(
            body,
            raw=False,
            strict_map_key=True,
            object_pairs_hook=distinct_fields,
            max_map_len=FIELDS_MAX,
            max_str_len=TEXT_BYTES_MAX,
            max_bin_len=len(body),
            max_ext_len=0,
        )
        return decoded
    except (ValueError, TypeError, RecursionError, OverflowError, msgpack.UnpackException) as error:
        raise BadBody(f"not {name} in MessagePack: {error or type(error).__name__}") from error


def packed_count(body: bytes, most: int) -> int:
    """How many elements the lists in a map's fields have by their heads, together; counted until there are more than
    `most`. What is no such map counts as far as it is one.

    Raises:
        BadBody: it says that it has more fields than any body, or more elements than bytes.
    """
    unpacker = msgpack.Unpacker(max_buffer_size=0)
    unpacker.feed(body)
    count = unread = 0
    try:
        fields = unpacker.read_map_header()
        if fields > FIELDS_MAX:
            raise BadBody(f"this body has {fields} fields, and none has more than {FIELDS_MAX}")
        for _ in range(fields):
            for _ in range(unread + 1):
                unpacker.skip()
            unread = unpacker.read_array_header()
            count += unread
            if count > len(body):
                raise BadBody(f"this body ends before its {count} elements")
            if count > most:
                break
    except (ValueError, msgpack.UnpackException):
        pass
    return count


def media_type(field: str) -> str:
    """The media type of a `Content-Type`, or of one part of an `Accept`, without its parameters."""
    return field.partition(";")[0].strip().lower()


def form_of(content_type: str) -> Format:
    """The form that a `Content-Type` names; none, and curl's default, mean JSON. Raises UnsupportedMediaType."""
    given = media_type(content_type)
    if given in FORM_TYPES:
        return Format.JSON
    for form in Format:
        if given == form.value:
            return form
    raise UnsupportedMediaType(f"this body is {' or '.join(form.value for form in Format)}")


def acceptable(accept: str) -> list[str]:
    """The media types that an `Accept` names, the preferred ones first, without what it refuses (RFC 9110, 12.5.1)."""
    if "," not in accept and ";" not in accept:
        return [media_type(accept)]
    weighed = [(media_type(part), _weight(part)) for part in accept.split(",")]
    preferred = sorted(weighed, key=lambda one: one[1], reverse=True)
    return [media for media, weight in preferred if weight]


def _weight(part: str) -> float:
    found = _WEIGHT.search(part)
    return 1.0 if found is None else float(found[1])


def accepted_form(accept: str, default: Format) -> Format:
    """The form that `Accept` prefers; `default` where it names none."""
    for media in acceptable(accept):
        for form in Format:
            if media == form.value:
                return form
    return default
