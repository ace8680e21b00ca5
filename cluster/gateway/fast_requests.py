"""Requests that are recognised as a whole, without a parser.

Guarantees: what matches is a complete request on one key of the default keyspace, in the plainest form there is, which
aiohttp's parser and the routes would understand exactly so; whatever is written in any other way, though it may be
valid, does not match, and is left to them. Leaves to others: answering (`fast_lane`). Sans-IO.
"""

from __future__ import annotations

import re

import msgspec

from cluster.gateway.conditions import DEFAULT_CONTENT_TYPE, check_content_type
from kvstore.errors import BadRequest
from kvstore.keys import KEY_BYTES_MAX

REQUEST_BYTES_MAX = 32 * 1024
HEAD_BYTES_MAX = 2048

# No escape, no query, nothing that any reader might fold; fields that change nothing, each on one line.
_KEY = rb"/v1/kv/([A-Za-z0-9._~:@!$&'()*+,;={}/-]{1,%d})" % KEY_BYTES_MAX
_HOST = rb"Host: [A-Za-z0-9.:\[\]-]{1,255}\r\n"
_PLAIN = rb"(?:User-Agent|Accept|Accept-Encoding|Accept-Language): [ -~]{0,255}\r\n"
_OF_BODY = rb"Content-Length: (?:[1-9][0-9]{0,6}|0)\r\n|Content-Type: [!-~](?:[ -~]{0,253}[!-~])?\r\n"
_READ = re.compile(rb"(GET|HEAD|DELETE) " + _KEY + rb" HTTP/1\.1\r\n(?:" + _HOST + rb"|" + _PLAIN + rb"){1,9}\r\n")
_PUT = re.compile(
    rb"PUT " + _KEY + rb" HTTP/1\.1(\r\n(?:" + _HOST + rb"|" + _PLAIN + rb"|" + _OF_BODY + rb"){2,11})\r\n"
)
_AGENT_FIELD = b"\r\nUser-Agent: "
_HOST_FIELD, _LENGTH_FIELD, _TYPE_FIELD = b"\r\nHost: ", b"\r\nContent-Length: ", b"\r\nContent-Type: "


_METHODS = {b"GET": "GET", b"HEAD": "HEAD", b"DELETE": "DELETE"}


class FastRequest(msgspec.Struct, frozen=True):
    """`method` is the request's; `value` and `content_type` are those of a PUT."""

    method: str
    key: bytes
    value: bytes | None = None
    content_type: str = ""


def recognise(data: bytes) -> FastRequest | None:
    """The request that `data` is, from its first byte to its last, if it is one of the plainest form."""
    if data.startswith(b"PUT "):
        return _put(data) if len(data) <= REQUEST_BYTES_MAX else None
    if len(data) > HEAD_BYTES_MAX:
        return None
    found = _READ.fullmatch(data)
    if found is None or not _are_single(data):
        return None
    return FastRequest(_METHODS[found[1]], found[2])


def _put(data: bytes) -> FastRequest | None:
    found = _PUT.match(data, 0, HEAD_BYTES_MAX)
    if found is None:
        return None
    fields, body = found[2], data[found.end() :]
    if not _are_single(fields) or fields.count(_LENGTH_FIELD) != 1:
        return None
    if int(_value_of(fields, _LENGTH_FIELD)) != len(body):
        return None
    types = fields.count(_TYPE_FIELD)
    if not types:
        return FastRequest("PUT", found[1], body, DEFAULT_CONTENT_TYPE)
    if types != 1:
        return None
    try:
        content_type = check_content_type(str(_value_of(fields, _TYPE_FIELD), "ascii"))
    except BadRequest:
        return None
    return FastRequest("PUT", found[1], body, content_type)


def _are_single(fields: bytes) -> bool:
    """Whether those fields are there once that the parser refuses when they are repeated, and a host is."""
    return fields.count(_HOST_FIELD) == 1 and fields.count(_AGENT_FIELD) <= 1


def _value_of(fields: bytes, field: bytes) -> bytes:
    start = fields.index(field) + len(field)
    return fields[start : fields.index(b"\r", start)]
