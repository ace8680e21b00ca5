"""Requests that are recognised as a whole, without a parser.

Guarantees: what matches is a complete request on one key of the default keyspace, in the plainest form there is, which
aiohttp's parser and the routes would understand exactly so; whatever is written in any other way, though it may be
valid, does not match, and is left to them. Leaves to others: answering (`fast_lane`). Sans-IO.
"""

from __future__ import annotations

import re

import msgspec

from cluster.gateway.conditions import DEFAULT_CONTENT_TYPE, check_content_type
from cluster.gateway.operations import Change
from cluster.gateway.tokens import with_token
from kvstore.errors import BadRequest
from kvstore.keys import KEY_BYTES_MAX

REQUEST_BYTES_MAX = 32 * 1024
HEAD_BYTES_MAX = 2048

# No escape, no query, nothing that any reader might fold; fields that change nothing, each on one line.
_KEY_BYTE = rb"[A-Za-z0-9._~:@!$&'()*+,;={}/-]"
_KEY = rb"/v1/kv/(%b{1,%d})" % (_KEY_BYTE, KEY_BYTES_MAX)
_HOST = rb"Host: [A-Za-z0-9.:\[\]-]{1,255}\r\n"
_PLAIN = rb"(?:User-Agent|Accept|Accept-Encoding|Accept-Language): [ -~]{0,255}\r\n"
_OF_BODY = rb"Content-Length: (?:[1-9][0-9]{0,6}|0)\r\n|Content-Type: [!-~](?:[ -~]{0,253}[!-~])?\r\n"
_OF_WRITE = (
    rb"Idempotency-Key: [!-~](?:[ -~]{0,253}[!-~])?\r\n"
    rb"|If-Match: (?:\*|\"[!#-~]{0,64}\")\r\n"
    rb"|If-None-Match: \*\r\n"
)
_READ = re.compile(rb"(GET|HEAD) " + _KEY + rb" HTTP/1\.1\r\n(?:" + _HOST + rb"|" + _PLAIN + rb"){1,9}\r\n")
_QUERY = rb"/v1/kv(?:\?([A-Za-z0-9._~:@!$&'()*,;={}/%-]*))?"
_PAGE = re.compile(rb"GET " + _QUERY + rb" HTTP/1\.1\r\n(?:" + _HOST + rb"|" + _PLAIN + rb"){1,9}\r\n")
_FIELDS = _HOST + rb"|" + _PLAIN + rb"|" + _OF_BODY + rb"|" + _OF_WRITE
_WRITE = re.compile(rb"(PUT|DELETE) " + _KEY + rb" HTTP/1\.1(\r\n(?:" + _FIELDS + rb"){1,14})\r\n")
_AGENT_FIELD, _HOST_FIELD = b"\r\nUser-Agent: ", b"\r\nHost: "
_ACCEPT_FIELD = b"\r\nAccept: "
_LENGTH_FIELD, _TYPE_FIELD = b"\r\nContent-Length: ", b"\r\nContent-Type: "
_TOKEN_FIELD, _MATCH_FIELD, _NONE_MATCH_FIELD = b"\r\nIdempotency-Key: ", b"\r\nIf-Match: ", b"\r\nIf-None-Match: "


_METHODS = {b"GET": "GET", b"HEAD": "HEAD"}

_GET = b"GET /v1/kv/"
_GET_BYTES = len(_GET)
_PUT = b"PUT /v1/kv/"
_PUT_BYTES = len(_PUT)
# A letter for each byte that a key may have, and for all others what is none.
_PLAIN_KEY_BYTES = bytes(ord("a") if re.fullmatch(_KEY_BYTE, bytes((byte,))) else 0 for byte in range(256))
# With it and the longest key a request is shorter than `HEAD_BYTES_MAX`.
_REST_BYTES_MAX = 1024


class PageRequest(msgspec.Struct, frozen=True):
    """A GET of the keyspace's keys: what stands behind the question mark, and in its field `Accept`, if it has one."""

    query: str
    accept: str


class FastRequest(msgspec.Struct, frozen=True, gc=False):
    """`method` is the request's; `value` and `content_type` are those of a PUT; a write may have an idempotency
    `token`, and conditions as `Change` takes them."""

    method: str
    key: bytes
    value: bytes | None = None
    content_type: str = ""
    token: str = ""
    if_match: str | None = None
    if_none_match: str | None = None


def recognise(data: bytes) -> FastRequest | None:
    """The request that `data` is, from its first byte to its last, if it is one of the plainest form."""
    if data.startswith((b"PUT ", b"DELETE ")):
        return _write(data) if len(data) <= REQUEST_BYTES_MAX else None
    if len(data) > HEAD_BYTES_MAX:
        return None
    found = _READ.fullmatch(data)
    if found is None or not _are_single(data):
        return None
    return FastRequest(_METHODS[found[1]], found[2])


def recognise_page(data: bytes) -> PageRequest | None:
    """The request for a page, or for another answer to the same question, that `data` is, if it is one of the plainest
    form."""
    if len(data) > HEAD_BYTES_MAX:
        return None
    found = _PAGE.fullmatch(data)
    if found is None or not _are_single(data):
        return None
    try:
        accept = _value_of(data, _ACCEPT_FIELD)
    except _Repeated:
        return None
    return PageRequest(str(found[1] or b"", "ascii"), accept or "")


def rest_of(data: bytes, request: FastRequest) -> bytes:
    """What follows the key in these bytes, which are that request, for `key_before` to know again; nothing where that
    will not."""
    rest = data[_GET_BYTES + len(request.key) :] if request.method == "GET" else b""
    return rest if len(rest) <= _REST_BYTES_MAX else b""


def key_before(rest: bytes, data: bytes) -> bytes | None:
    """The key of a GET that `recognise` would recognise, in which `rest_of` of a former one follows it: whoever asks
    for one key after the other sends all else alike. None for what is no such request."""
    if not rest or not data.endswith(rest) or data[:_GET_BYTES] != _GET:
        return None
    key = data[_GET_BYTES : -len(rest)]
    return key if key.translate(_PLAIN_KEY_BYTES).isalpha() and len(key) <= KEY_BYTES_MAX else None


class PutHead(msgspec.Struct, frozen=True):
    """What followed the key in the head of a PUT, how many bytes of body that announces, and what type."""

    rest: bytes
    body_bytes: int
    content_type: str


def head_of(data: bytes, request: FastRequest) -> PutHead | None:
    """The head in these bytes, which are that request, for `put_before` to know again; None where that will not."""
    if request.method != "PUT" or request.value is None or request.token:
        return None
    if request.if_match is not None or request.if_none_match is not None:
        return None
    body_bytes = len(request.value)
    rest = data[_PUT_BYTES + len(request.key) : len(data) - body_bytes]
    return PutHead(rest, body_bytes, request.content_type) if len(rest) <= _REST_BYTES_MAX else None


def put_before(head: PutHead, data: bytes) -> FastRequest | None:
    """The PUT that `recognise` would recognise, in which the head of a former one follows the key: whoever puts values
    of one size sends all else alike. None for what is no such request."""
    end = len(data) - head.body_bytes
    if end < 0 or data[:_PUT_BYTES] != _PUT or not data.endswith(head.rest, 0, end) or len(data) > REQUEST_BYTES_MAX:
        return None
    key = data[_PUT_BYTES : end - len(head.rest)]
    if not key.translate(_PLAIN_KEY_BYTES).isalpha() or len(key) > KEY_BYTES_MAX:
        return None
    return FastRequest("PUT", key, data[end:], head.content_type)


def change_of(keyspace: str, request: FastRequest) -> Change:
    """What a write asks for, in this keyspace."""
    change = Change(
        keyspace,
        request.key,
        request.value,
        request.content_type,
        if_match=request.if_match,
        if_none_match=request.if_none_match,
    )
    return with_token(change, request.token) if request.token else change


def _write(data: bytes) -> FastRequest | None:
    found = _WRITE.match(data, 0, HEAD_BYTES_MAX)
    if found is None:
        return None
    fields, body = found[3], data[found.end() :]
    if not _are_single(fields) or not _is_length(fields, len(body)):
        return None
    try:
        token, if_match, if_none_match = _of_write(fields)
        content_type = _value_of(fields, _TYPE_FIELD)
        if found[1] == b"DELETE":
            return None if body else FastRequest("DELETE", found[2], None, "", token, if_match, if_none_match)
        if _LENGTH_FIELD not in fields:
            return None
        kind = DEFAULT_CONTENT_TYPE if content_type is None else check_content_type(content_type)
    except (_Repeated, BadRequest):
        return None
    return FastRequest("PUT", found[2], body, kind, token, if_match, if_none_match)


class _Repeated(Exception):
    """A field is there twice, which some readers refuse and others fold."""


def _are_single(fields: bytes) -> bool:
    """Whether those fields are there once that the parser refuses when they are repeated, and a host is."""
    return fields.count(_HOST_FIELD) == 1 and fields.count(_AGENT_FIELD) <= 1


def _is_length(fields: bytes, size: int) -> bool:
    """Whether the body has the length that is announced, if one is."""
    try:
        length = _value_of(fields, _LENGTH_FIELD)
    except _Repeated:
        return False
    return size == (0 if length is None else int(length))


def _of_write(fields: bytes) -> tuple[str, str | None, str | None]:
    """The token and the two conditions."""
    if b"\r\nI" not in fields:
        return "", None, None
    if_match = _value_of(fields, _MATCH_FIELD)
    return (
        _value_of(fields, _TOKEN_FIELD) or "",
        None if if_match is None else if_match.strip('"'),
        _value_of(fields, _NONE_MATCH_FIELD),
    )


def _value_of(fields: bytes, field: bytes) -> str | None:
    start = fields.find(field)
    if start < 0:
        return None
    start += len(field)
    end = fields.index(b"\r", start)
    if fields.find(field, end) >= 0:
        raise _Repeated
    return str(fields[start:end], "ascii")
