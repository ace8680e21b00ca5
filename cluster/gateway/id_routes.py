"""The request for ids.

Guarantees: as many ids as asked for in one answer, or none. Leaves to others: making them (`id_source`).
"""

from __future__ import annotations

import re
from typing import Protocol

import msgspec

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.conditions import IDEMPOTENCY_KEY, parse_query
from cluster.gateway.http_request import Request
from kvstore.errors import BadBody, BadParameter, BadRequest, MethodNotAllowed

COUNT_MAX = 10_000

_COUNT = re.compile(r"[0-9]{1,9}", re.ASCII)
_JSON = msgspec.json.Encoder()


class Ids(Protocol):
    """Where ids come from."""

    async def draw(self, count: int) -> list[int]:
        """So many, rising, and higher than all before; a refusal is raised as `KvError`."""


class IdRoutes:
    """Args: ids: where they come from."""

    def __init__(self, ids: Ids) -> None:
        self._ids = ids

    async def draw(self, request: Request, query: str) -> Answer:
        """New ids, as decimal text: not every client's numbers have 63 bits."""
        request.operation = "ids"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        count = _count(parse_query(query, ("count",)).get("count", "1"))
        if IDEMPOTENCY_KEY in request.headers:
            raise BadRequest(f"{IDEMPOTENCY_KEY}: a request for ids takes none; sent again, it gets other ids")
        if request.has_body:
            raise BadBody("this request takes no body")
        return json_answer(200, _JSON.encode({"ids": [str(one) for one in await self._ids.draw(count)]}))


def _count(text: str) -> int:
    if not _COUNT.fullmatch(text) or not 1 <= int(text) <= COUNT_MAX:
        raise BadParameter(f"count is a decimal number from 1 to {COUNT_MAX}")
    return int(text)
