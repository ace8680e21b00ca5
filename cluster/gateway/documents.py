"""Small JSON documents that describe what is asked of the cluster.

Guarantees: a body is JSON of exactly the declared shape, at most `BODY_BYTES_MAX` long, or raises. Leaves to others:
what it means (`cluster_routes`, `rebalance_routes`).
"""

from __future__ import annotations

from typing import TypeVar

import msgspec
from aiohttp import hdrs

from cluster.gateway.body_forms import FORM_TYPES, Format, decode_json, media_type
from cluster.gateway.http_request import Request
from kvstore.errors import BadBody, BodyTooLarge, UnsupportedMediaType

BODY_BYTES_MAX = 64 * 1024

_Body = TypeVar("_Body")


def check_no_body(request: Request) -> None:
    """Refuse a body where nothing is described by one; raises BadBody."""
    if request.has_body:
        raise BadBody("this request takes no body")


async def decoded_json(request: Request, decoder: msgspec.json.Decoder[_Body]) -> _Body:
    """The body of a request.

    Raises:
        UnsupportedMediaType: it is not said to be JSON.
        BadBody: it is none, or has another shape.
        BodyTooLarge: it is too long.
    """
    given = media_type(request.headers.get(hdrs.CONTENT_TYPE, ""))
    if given not in FORM_TYPES and given != Format.JSON.value:
        raise UnsupportedMediaType(f"this body is {Format.JSON.value}")
    body = await request.read_body(BODY_BYTES_MAX, BodyTooLarge)
    return decode_json(body, decoder)
