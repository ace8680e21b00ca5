"""Requests on transactions: to carry one out, and where one stands.

Guarantees: a body is read only when everything before it is in order; asking where a transaction stands changes
nothing. Leaves to others: which request it is (`routes`), doing it (`service`), bodies (`txn_bodies`).
"""

from __future__ import annotations

from typing import Protocol

from aiohttp import hdrs

from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.body_forms import accepted_form, form_of
from cluster.gateway.conditions import parse_name, parse_query
from cluster.gateway.http_request import Request
from cluster.gateway.key_routes import token_of
from cluster.gateway.txn_bodies import TXN_BYTES_MAX, decode_txn, encode_outcome, encode_standing
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding
from kvstore.errors import BadBody, BodyTooLarge, MethodNotAllowed

# Under which those that are committed are measured, by the number of their partitions.
_OPERATIONS = {1: "txn_1", 2: "txn_2"}


class Transactor(Protocol):
    """Who carries transactions out; failures are raised as `KvError`."""

    async def transact(self, transaction: Transaction) -> TxnOutcome: ...

    async def transaction(self, id_text: str) -> TxnStanding: ...


class TxnRoutes:
    """Args: max_value_bytes: the largest value that may be put."""

    def __init__(self, transactor: Transactor, *, max_value_bytes: int) -> None:
        self._transactor = transactor
        self._max_value_bytes = max_value_bytes

    async def transact(self, request: Request, keyspace: str, query: str) -> Answer:
        """Operations on many keys, all or none."""
        request.operation = "txn"
        if request.method != "POST":
            raise MethodNotAllowed(("POST",))
        parse_query(query, ())
        token = token_of(request)
        form = form_of(request.headers.get(hdrs.CONTENT_TYPE, ""))
        answer_form = accepted_form(request.headers.get(hdrs.ACCEPT, ""), form)
        body = await request.read_body(TXN_BYTES_MAX, BodyTooLarge)
        outcome = await self._transactor.transact(decode_txn(body, form, keyspace, token, self._max_value_bytes))
        request.operation = _OPERATIONS.get(outcome.partitions, "txn_many")
        headers = f"Content-Type: {answer_form.value}\r\nCache-Control: no-store\r\n"
        return Answer(200, headers, encode_outcome(outcome, answer_form))

    async def state(self, request: Request, raw_id: str, query: str) -> Answer:
        """Where the transaction stands that `raw_id`, a piece of a raw path, names."""
        request.operation = "txn_state"
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))
        if request.has_body:
            raise BadBody(f"{request.method} takes no body")
        parse_query(query, ())
        standing = await self._transactor.transaction(parse_name("txn", raw_id))
        return json_answer(200, encode_standing(standing))
