"""Calls on transactions: to carry one out, and to ask where one stands.

Guarantees: a transaction carries a token of its own, so it is applied once, however often it is sent. Leaves to others:
bytes of requests and answers (`ops`, `answers`), sending and retries (`transport`).
"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import quote

from kvstore.client import answers
from kvstore.client.answers import JSON, MSGPACK, TxnOutcome, TxnState
from kvstore.client.ops import Get, If, TxnOp, encode_txn
from kvstore.client.transport import Request, Transport
from kvstore.client.urls import ROOT, key_path


class TxnCalls:
    """Calls on transactions over the keys of one keyspace, part of `Client` and of `Keyspace`."""

    _transport: Transport
    # The path of the keyspace whose keys these are.
    _root: str = ROOT

    async def txn(
        self, *, conditions: Sequence[If] = (), then: Sequence[TxnOp] = (), otherwise: Sequence[TxnOp] = ()
    ) -> TxnOutcome:
        """Carry out `then` if all conditions hold, else `otherwise`, all operations of it or none, over any keys.

        At the return it is on disk on all in-sync copies. Operations on one key happen in order, and later ones see
        earlier ones.

        Raises:
            TxnConflict: it lost to another transaction; nothing was changed, and it may be asked for anew.
            OutcomeUnknown: it may or may not have been carried out.
            KvError: any other refusal; nothing was changed.
        """
        changed = tuple(key_path(op.key, self._root) for op in (*then, *otherwise) if not isinstance(op, Get))
        headers = {"Content-Type": MSGPACK, "Accept": MSGPACK}
        body = encode_txn(conditions, then, otherwise)
        request = Request("POST", f"{self._root}/txn", body, headers, is_write=True, has_token=True, changed=changed)
        return answers.txn_outcome_of(then, otherwise, (await self._transport.send(request)).body)

    async def txn_document(self, document: bytes) -> bytes:
        """Send a transaction that is a JSON document already and return the JSON answer as it came; errors as `txn`."""
        headers = {"Content-Type": JSON, "Accept": JSON}
        request = Request("POST", f"{self._root}/txn", document, headers, is_write=True, has_token=True)
        return (await self._transport.send(request)).body

    async def transaction(self, txn: str) -> TxnState:
        """Where the transaction of this id stands; asking changes nothing.

        Raises:
            NotFound: there is none, or it is long over.
            KvError: any other refusal.
        """
        answer = await self._transport.send(Request("GET", f"{ROOT}/txn/{quote(txn, safe='')}"))
        return answers.txn_state_of(answer.body)
