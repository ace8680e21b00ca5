"""Changes of the cluster: a gateway does not know them again, so they are sent again only where nothing was done."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import pytest
from aiohttp import web
from fakes.gateway import Gateway, cut, refuse

from kvstore.client import Client
from kvstore.errors import OutcomeUnknown

CHANGES: dict[str, Callable[[Client], Awaitable[object]]] = {
    "delete a keyspace": lambda client: client.delete_keyspace("k", confirm="k"),
    "create a keyspace": lambda client: client.create_keyspace("k"),
    "move a tenant": lambda client: client.keyspace("k").move_tenant("t"),
    "remove a node": lambda client: client.operate("DELETE", "nodes/n1"),
    "promote by force": lambda client: client.force_promote(partition=1, confirmed_stopped=["n1"]),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES.keys())
async def test_a_change_that_the_gateway_would_not_know_again_is_not_sent_again_when_its_answer_is_lost(
    gateway: Gateway, change: Callable[[Client], Awaitable[object]]
) -> None:
    tokens: list[str | None] = []

    async def refuse_then_cut(request: web.BaseRequest) -> web.Response:
        tokens.append(request.headers.get("Idempotency-Key"))
        return refuse("no_leader", 503) if len(tokens) == 1 else await cut(request)

    gateway.handler = refuse_then_cut
    async with Client(gateway.url) as client:
        with pytest.raises(OutcomeUnknown):
            await change(client)
    assert tokens == [None, None], "once more after the refusal, which did nothing"
