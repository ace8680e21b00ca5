"""Header fields and query parameters, parsed strictly.

Guarantees: every text is taken whole or refused with an error that names it; nothing is guessed, cut or ignored.
Leaves to others: which fields and parameters a request may have (`routes`). Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence
from urllib.parse import unquote_to_bytes

from kvstore.errors import BadKey, BadParameter, BadRequest, KeyTooLong
from kvstore.keys import decode_key

TTL_S_MAX = 315_576_000
CONTENT_TYPE_BYTES_MAX = 255
DEFAULT_CONTENT_TYPE = "application/octet-stream"
FORM_CONTENT_TYPE = "application/x-www-form-urlencoded"

IDEMPOTENCY_KEY = "Idempotency-Key"

_TOKEN = re.compile(r"[\x20-\x7e]{1,255}")
_SECONDS = re.compile(r"[0-9]+(?:\.[0-9]+)?")
_ETAG = re.compile(r'(W/)?"([\x21\x23-\x7e]*)"[ \t]*')
# A list may have empty elements, which mean nothing (RFC 9110, section 5.6.1.2).
_NO_ETAGS = re.compile(r"[ \t,]*")
_LONE_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A media type and its parameters (RFC 9110, section 8.3.1), without spaces at its ends, which a header would lose.
_MEDIA_TYPE = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+/[!#$%&'*+.^_`|~0-9A-Za-z-]+(?:[ \t]*;(?:[ -~\t]*[!-~])?)?")


def parse_query(query: str, allowed: Collection[str]) -> dict[str, str]:
    """The parameters of a query string.

    Raises:
        BadParameter: one is unknown, given twice, or not UTF-8 in clean percent-encoding.
    """
    return {name: _as_text(name, value) for name, value in parse_raw_query(query, allowed).items()} if query else {}


def parse_raw_query(query: str, allowed: Collection[str]) -> dict[str, bytes]:
    """The parameters of a query string, their values as the bytes that they stand for.

    Raises:
        BadParameter: one is unknown, given twice, or not in clean percent-encoding.
    """
    parameters: dict[str, bytes] = {}
    for part in query.split("&") if query else ():
        raw_name, _, raw_value = part.partition("=")
        name = _as_text("a name", _unquote("a name", raw_name))
        if name not in allowed:
            known = f"; known here: {', '.join(sorted(allowed))}" if allowed else "; this request takes none"
            raise BadParameter(f"unknown parameter {name[:64]!r}{known}")
        if name in parameters:
            raise BadParameter(f"parameter {name!r} is given twice")
        parameters[name] = _unquote(name, raw_value)
    return parameters


def parse_name(parameter: str, text: str) -> str:
    """A name that stands in a path, percent-decoded once.

    Raises:
        BadParameter: it is empty, too long, or not in clean percent-encoding; names `parameter`.
    """
    try:
        return decode_key(text).decode("utf-8", "backslashreplace")
    except (BadKey, KeyTooLong) as error:
        raise BadParameter(f"{parameter}: this is no name in percent-encoding") from error


def _unquote(name: str, text: str) -> bytes:
    if "%" not in text and text.isascii():
        return text.encode("ascii")
    if _LONE_PERCENT.search(text):
        raise BadParameter(f"{name}: in {text[:64]!r}, '%' is followed by two hexadecimal digits")
    try:
        return unquote_to_bytes(text.encode("ascii"))
    except UnicodeError as error:
        raise BadParameter(f"{name} is percent-encoded") from error


def _as_text(name: str, value: bytes) -> str:
    try:
        return value.decode()
    except UnicodeError as error:
        raise BadParameter(f"{name} is UTF-8, percent-encoded") from error


def parse_flag(name: str, text: str) -> bool:
    """A parameter that is `true` or `false`; raises BadParameter."""
    if text not in ("true", "false"):
        raise BadParameter(f"{name} is true or false")
    return text == "true"


def parse_ttl_ms(text: str) -> int:
    """A time to live in milliseconds.

    Raises:
        BadParameter: not a positive decimal number of seconds in ASCII digits, or more than ten years.
    """
    return max(1, round(_seconds("ttl", text) * 1000))


def parse_max_stale_ms(text: str) -> int:
    """How far behind an answer may be, in whole milliseconds, never more than asked for; raises as `parse_ttl_ms`."""
    _seconds("max_stale", text)
    whole, _, fraction = text.partition(".")
    # Of zeros in front there may be more than `int` takes.
    return int(whole.lstrip("0") or "0") * 1000 + int(f"{fraction}000"[:3])


def _seconds(name: str, text: str) -> float:
    if not _SECONDS.fullmatch(text) or not 0 < float(text) <= TTL_S_MAX:
        raise BadParameter(f"{name} is a positive decimal number of seconds, at most {TTL_S_MAX} (ten years)")
    return float(text)


def parse_etags(name: str, fields: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The etags of an `If-Match` or `If-None-Match` header, without quotes: the strong ones, and the weak ones.

    `*` stands alone, as itself; a list has at least one etag, and may have empty elements.

    Raises:
        BadRequest: not `*` and not a list of quoted etags.
    """
    text = ",".join(fields).strip(" \t")
    if text == "*":
        return ("*",), ()
    strong: list[str] = []
    weak: list[str] = []
    position = _behind_commas(text, 0)
    while match := _ETAG.match(text, position):
        (weak if match.group(1) else strong).append(match.group(2))
        comma = match.end()
        position = _behind_commas(text, comma)
        if position == len(text):
            return tuple(strong), tuple(weak)
        if position == comma:
            break
    raise BadRequest(f'{name} is * or a list of etags in quotes, such as "1.2.3"')


def _behind_commas(text: str, position: int) -> int:
    match = _NO_ETAGS.match(text, position)
    return position if match is None else match.end()


def parse_token(fields: Sequence[str]) -> str:
    """The token of an `Idempotency-Key` header.

    Raises:
        BadRequest: it is given more than once, or is no token.
    """
    if len(fields) != 1 or not _TOKEN.fullmatch(fields[0]):
        raise BadRequest(f"{IDEMPOTENCY_KEY} is given once, as 1 to 255 printable ASCII characters")
    return fields[0]


def check_content_type(text: str) -> str:
    """The content type to store for the one given; curl's default means none.

    Raises:
        BadRequest: too long, or no media type, so that it would not come back in a header as it was.
    """
    if not text or text.partition(";")[0].strip().lower() == FORM_CONTENT_TYPE:
        return DEFAULT_CONTENT_TYPE
    if len(text) > CONTENT_TYPE_BYTES_MAX or not _MEDIA_TYPE.fullmatch(text):
        raise BadRequest(f"Content-Type is type/subtype in visible ASCII, at most {CONTENT_TYPE_BYTES_MAX} bytes")
    return text
