"""Requests on how a keyspace is spread.

Guarantees: nothing that the contract does not name is taken. Leaves to others: which request it is (`routes`), asking
the nodes (`balance`), the words of the answer (`balance_answer`).
"""

from __future__ import annotations

import msgspec

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.balance import Balance
from cluster.gateway.balance_answer import told
from cluster.gateway.conditions import parse_query
from cluster.gateway.http_request import Request
from kvstore.errors import BadBody, MethodNotAllowed

_JSON = msgspec.json.Encoder()


class BalanceRoutes:
    """Args: balance: asks the nodes."""

    def __init__(self, balance: Balance) -> None:
        self._balance = balance

    async def show(self, request: Request, keyspace: str, query: str) -> Answer:
        """How keys and load are spread over partitions and nodes."""
        request.operation = "balance"
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        parse_query(query, ())
        return json_answer(200, _JSON.encode(told(await self._balance.ask(keyspace))))
