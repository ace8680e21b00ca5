"""What aiohttp's parser refuses, in the words of the contract.

Guarantees: every refusal becomes an error that names what is wrong. Leaves to others: answering it (`http_protocol`).
"""

from __future__ import annotations

from aiohttp.http import HttpProcessingError
from aiohttp.http_exceptions import LineTooLong

from kvstore.errors import BadKey, BadRequest, HeadersTooLarge, KvError, UriTooLong

TOO_MANY_HEADERS = "Too many headers received"
BAD_PATH = "Invalid char in url path"


def refusal_of(error: HttpProcessingError, line_bytes_max: int) -> KvError:
    """The contract's word for what aiohttp's parser did not take.

    The error tells which limit was passed, not in which line: that of fields is one byte above the request line's.
    """
    if isinstance(error, LineTooLong):
        if int(error.args[1]) == line_bytes_max:
            return UriTooLong("the request line is too long")
        return HeadersTooLarge("a header field is too long")
    text = error.message.split("\n", 1)[0].rstrip(":")
    if text == TOO_MANY_HEADERS:
        return HeadersTooLarge("too many header fields")
    if text == BAD_PATH:
        return BadKey("a byte of the path is not printable ASCII: in a key it stands as %XX")
    return BadRequest(f"not a valid HTTP/1.1 request: {text}")
