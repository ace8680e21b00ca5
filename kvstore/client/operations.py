"""Calls on the cluster as a whole: its state, members and moves, promotions, ids.

Guarantees: an answer that is no JSON object is told as one that did not come. Leaves to others: sending (`transport`).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

from kvstore.client import answers
from kvstore.client.answers import JSON, Readiness, Unreachable
from kvstore.client.documents import json_answer
from kvstore.client.transport import Request, Transport, within
from kvstore.client.urls import query_of


class OperationCalls:
    """Calls on the cluster as a whole, as operators make them, and `ids`: part of `Client`."""

    _transport: Transport

    async def ids(self, count: int = 1) -> list[int]:
        """`count` new numbers of 63 bits, 1 to 10,000, unique in the cluster for ever, rising per gateway.

        Raises:
            BadParameter: `count` is not allowed.
            KvError: any other refusal.
        """
        path = "/v1/ids" + query_of({"count": count})
        drawn = await json_answer(self._transport, Request("POST", path))
        try:
            return [int(one) for one in drawn["ids"]]
        except (KeyError, TypeError, ValueError) as error:
            raise Unreachable(f"{self._transport.gateway}{path} did not answer with ids") from error

    async def status(self) -> dict[str, Any]:
        """The state of the cluster, as `GET /v1/cluster` gives it."""
        return await json_answer(self._transport, Request("GET", "/v1/cluster"))

    async def operate(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, once: bool = False
    ) -> dict[str, Any]:
        """A request on members, moves and prepared transactions, below `/v1/cluster/`, as the contract describes it.

        Args:
            once: it is sent once, whatever comes of it, for what is answered only after a while.

        Raises:
            OutcomeUnknown: it may have been done: see `status`.
            KvError: any other refusal; nothing was done.
        """
        headers = None if document is None else {"Content-Type": JSON}
        body = None if document is None else json.dumps(document).encode()
        request = Request(method, f"/v1/cluster/{path}", body, headers, is_write=method != "GET")
        return await json_answer(self._transport, request, once=once)

    async def force_promote(
        self, *, partition: int | None = None, all_of: str = "", confirmed_stopped: Sequence[str]
    ) -> dict[str, Any]:
        """Let a copy lead that was not in sync, because all that were are dead; acknowledged writes may be lost.

        Args:
            partition: the partition, or
            all_of: every one whose last in-sync copy was on this node.
            confirmed_stopped: the nodes of the in-sync copies, of which you know that they do not run.

        Returns:
            `promoted` and `refused`, partition by partition.

        Raises:
            Conflict: nothing may be promoted.
            OutcomeUnknown: it may have been done: see `status`.
            KvError: any other refusal; nothing was done.
        """
        asked: dict[str, Any] = {"confirmed_stopped": list(confirmed_stopped)}
        asked |= {"partition": partition} if partition is not None else {}
        asked |= {"all_of": all_of} if all_of else {}
        headers = {"Content-Type": JSON}
        body = json.dumps(asked).encode()
        return await json_answer(
            self._transport, Request("POST", "/v1/cluster/force-promote", body, headers, is_write=True)
        )

    async def verify(self) -> dict[str, Any]:
        """Compare the copies of every partition, as `POST /v1/cluster/verify` does: `ok`, `partitions`, `differences`.

        It takes as long as reading all data slowly does; `timeout_s` is for all of it.
        """
        return await json_answer(self._transport, Request("POST", "/v1/cluster/verify", None))

    async def balance(self, keyspace: str = "default") -> dict[str, Any]:
        """How a keyspace is spread over partitions and nodes, and what is to be said of its shard key.

        Raises:
            NotFound: there is no such keyspace.
            KvError: any other refusal.
        """
        path = f"/v1/keyspaces/{quote(keyspace, safe='')}/balance"
        return await json_answer(self._transport, Request("GET", path))

    async def ready(self) -> Readiness:
        """Ask once whether every partition has a reachable leader; raises Unreachable where no gateway answers."""
        answer = await self._transport.send_once(Request("GET", "/readyz"), within(self._transport.timeout_s))
        return answers.readiness_of(answer.status, answer.body)
