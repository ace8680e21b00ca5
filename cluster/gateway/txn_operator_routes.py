"""Requests of operators on transactions: which are prepared, and how one ends whose primary does not say.

Guarantees: nothing in a body or a path is taken that the contract does not name; keys that are no text stand as
`key_b64`. Leaves to others: which request it is (`routes`), asking the nodes (`txn_operators`).
"""

from __future__ import annotations

from typing import Any, Literal, Protocol

import msgspec
from msgspec import UNSET, UnsetType

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.conditions import parse_name, parse_query
from cluster.gateway.documents import decoded_json
from cluster.gateway.http_request import Request
from cluster.gateway.item_fields import text_or_b64
from cluster.gateway.txn_bodies import encode_standing
from cluster.gateway.txn_operators import Forced, Prepared
from cluster.txn.transaction import TxnStanding, parse_txn_id, txn_id
from kvstore.errors import BadParameter, MethodNotAllowed
from kvstore.messages import PreparedTxn, TxnName


class Operators(Protocol):
    """Who asks the nodes; see `TxnOperators`."""

    async def prepared(self) -> Prepared: ...

    async def settle(self, name: TxnName) -> TxnStanding: ...

    async def force(self, name: TxnName, *, commits: bool, then: bool) -> Forced: ...


class _Resolution(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    outcome: Literal["abort", "commit"] | UnsetType = UNSET
    branch: Literal["then", "else"] | UnsetType = UNSET


_RESOLUTION = msgspec.json.Decoder(_Resolution)
_JSON = msgspec.json.Encoder()


class TxnOperatorRoutes:
    """Args: operators: who asks the nodes."""

    def __init__(self, operators: Operators) -> None:
        self._operators = operators

    async def prepared(self, request: Request) -> Answer:
        """Which transactions are prepared, oldest first."""
        request.operation = "txn_prepared"
        found = await self._operators.prepared()
        listed = [_told(txn) for txn in found.txns]
        return json_answer(200, _JSON.encode({"prepared": listed, "missing": found.missing}))

    async def resolve(self, request: Request, raw_id: str, query: str) -> Answer:
        """End a transaction: as its primary decides, or by an operator's word."""
        request.operation = "txn_resolve"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        parse_query(query, ())
        name = parse_txn_id(parse_name("txn", raw_id))
        asked = await decoded_json(request, _RESOLUTION) if request.has_body else _Resolution()
        if asked.outcome == "commit" and asked.branch is UNSET:
            raise BadParameter("branch: then or else, with outcome commit")
        if asked.outcome != "commit" and asked.branch is not UNSET:
            raise BadParameter("branch goes with outcome commit only")
        if asked.outcome is UNSET:
            return json_answer(200, encode_standing(await self._operators.settle(name)))
        forced = await self._operators.force(name, commits=asked.outcome == "commit", then=asked.branch == "then")
        return json_answer(200, _JSON.encode(forced))


def _told(txn: PreparedTxn) -> dict[str, Any]:
    keys = [text_or_b64("key", key) for key in txn.keys]
    return {"txn": txn_id(txn.txn), "partition": txn.pid, "age_s": txn.age_ms / 1000, "keys": keys}
