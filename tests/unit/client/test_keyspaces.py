"""Keyspaces by the client: the same calls on other paths, and what is asked of keyspaces themselves."""

from __future__ import annotations

import asyncio
import io
import json
from collections.abc import Callable
from typing import Any

import msgpack
import pytest
from aiohttp import web
from fakes.gateway import Gateway, refuse

from kvstore.client import Client, Put, SyncClient, Unreachable
from kvstore.errors import Conflict, NotFound

MSGPACK = "application/msgpack"


def answering(gateway: Gateway, answer: Callable[[web.BaseRequest], web.Response]) -> list[bytes]:
    """Let the gateway answer so; returns the bodies that it is sent."""
    bodies: list[bytes] = []

    async def handler(request: web.BaseRequest) -> web.StreamResponse:
        bodies.append(await request.read())
        return answer(request)

    gateway.handler = handler
    return bodies


def in_json(document: Any, status: int = 200) -> Callable[[web.BaseRequest], web.Response]:
    return lambda _request: web.json_response(document, status=status)


def packed(document: Any) -> web.Response:
    return web.Response(body=msgpack.packb(document), content_type=MSGPACK)


def any_answer(request: web.BaseRequest) -> web.Response:
    """What fits the request, with nothing in it."""
    path = request.path
    if path.endswith("/batch"):
        return packed({"results": [{"status": 201, "etag": "1"}]})
    if path.endswith("/txn"):
        return packed({"txn": "1-00-1", "branch": "then", "results": []})
    if path.endswith("/import"):
        return web.json_response({"imported": 0})
    if request.method == "DELETE" and path.endswith("/kv"):
        return web.Response(body=b'{"deleted":0,"done":true}\n')
    if path.endswith("/kv"):
        is_page = request.headers.get("Accept") == MSGPACK
        return packed({"items": []}) if is_page else web.json_response({"count": 3})
    return web.json_response({}, status=204 if request.method == "DELETE" else 200, headers={"ETag": '"1"'})


@pytest.mark.parametrize(("name", "root"), [("default", "/v1"), ("orders", "/v1/keyspaces/orders"), ("a b/", None)])
async def test_every_call_on_keys_goes_to_its_keyspace(gateway: Gateway, name: str, root: str | None) -> None:
    root = root or "/v1/keyspaces/a%20b%2F"
    answering(gateway, any_answer)
    async with Client(gateway.url) as client:
        keyspace = client.keyspace(name)
        await keyspace.put("k", b"v")
        await keyspace.get("k")
        await keyspace.delete("k")
        await keyspace.locate("k")
        await keyspace.batch([Put("k", b"v")])
        await keyspace.txn()
        assert await keyspace.count() == 3
        assert (await keyspace.scan_page()).items == []
        await keyspace.delete_range(prefix="k")
        await keyspace.export(io.BytesIO())
        await keyspace.import_(_nothing())
    paths = [path.partition("?")[0] for _, path in gateway.asked]
    assert paths == [
        *[f"{root}/kv/k"] * 3,
        *(f"{root}/{call}" for call in ("locate/k", "batch", "txn")),
        *[f"{root}/kv"] * 4,
        f"{root}/import",
    ]


async def _nothing() -> Any:
    for piece in ():
        yield piece


async def test_where_a_transaction_stands_is_asked_of_all_keyspaces_alike(gateway: Gateway) -> None:
    answering(gateway, in_json({"state": "pending"}))
    async with Client(gateway.url) as client:
        await client.keyspace("orders").transaction("1-00-1")
    assert gateway.asked == [("GET", "/v1/txn/1-00-1")]


async def test_a_keyspace_is_asked_for_by_what_is_given_alone(gateway: Gateway) -> None:
    bodies = answering(gateway, in_json({"name": "orders"}, 201))
    async with Client(gateway.url) as client:
        assert await client.create_keyspace("orders") == {"name": "orders"}
        await client.create_keyspace(
            "orders",
            "range",
            replicas="all",
            min_in_sync=2,
            default_ttl_s=1.5,
            max_value_bytes=9,
            splits=["a", b"b", b"\xff"],
        )
        await client.create_keyspace("geo", "geo", partitions=4, regions={"eu": "z"}, default_zone="y")
    assert [json.loads(body) for body in bodies] == [
        {"strategy": "consistent"},
        {
            "strategy": "range",
            "replicas": "all",
            "min_in_sync": 2,
            "default_ttl": 1.5,
            "max_value_bytes": 9,
            "splits": ["a", "b", {"key_b64": "/w=="}],
        },
        {"strategy": "geo", "partitions": 4, "regions": {"eu": "z"}, "default_zone": "y"},
    ]
    assert gateway.asked[0] == ("PUT", "/v1/keyspaces/orders")


async def test_refusals_are_those_of_the_gateway(gateway: Gateway) -> None:
    async with Client(gateway.url) as client:
        answering(gateway, lambda _: refuse("conflict", 409))
        with pytest.raises(Conflict):
            await client.create_keyspace("orders")
        answering(gateway, lambda _: refuse("not_found", 404))
        with pytest.raises(NotFound):
            await client.keyspace("orders").describe()
        with pytest.raises(NotFound):
            await client.delete_keyspace("orders", confirm="orders")
    assert gateway.asked[-1] == ("DELETE", "/v1/keyspaces/orders?confirm=orders")


async def test_tenants_come_page_by_page_as_bytes(gateway: Gateway) -> None:
    pages = {
        "": {"tenants": [{"tenant": "a", "partition": 7}], "next_b64": "Yv8="},
        "b\udcff": {"tenants": [{"tenant_b64": "Yv8=", "partition": 8}]},
    }
    answering(gateway, lambda request: web.json_response(pages["b\udcff" if "from" in request.path_qs else ""]))
    async with Client(gateway.url) as client:
        assert [one async for one in client.keyspace("k").tenants()] == [(b"a", 7), (b"b\xff", 8)]
    assert gateway.asked[1] == ("GET", "/v1/keyspaces/k/directory?from=b%FF")


async def test_what_is_no_page_of_tenants_did_not_come(gateway: Gateway) -> None:
    answering(gateway, in_json({"tenants": [{}]}))
    async with Client(gateway.url) as client:
        with pytest.raises(Unreachable, match="tenants"):
            async for _ in client.keyspace("k").tenants():
                pass


async def test_the_synchronous_client_has_the_same_calls(gateway: Gateway) -> None:
    bodies = answering(gateway, in_json({"tenants": [], "keyspaces": [], "partition": 2, "transfer": 1}))

    def work() -> None:
        with SyncClient(gateway.url) as client:
            assert client.keyspaces() == []
            client.create_keyspace("k", "directory", partitions=2)
            keyspace = client.keyspace("k")
            assert keyspace.name == "k"
            keyspace.describe()
            assert list(keyspace.tenants()) == []
            keyspace.tenant("a/.")
            keyspace.move_tenant(b"\xff", 2)
            keyspace.move_tenant("a")
            client.delete_keyspace("k", confirm="k")
            answering(gateway, any_answer)
            keyspace.batch([Put("k", b"v")])

    await asyncio.to_thread(work)
    assert [f"{method} {path}" for method, path in gateway.asked] == [
        "GET /v1/keyspaces",
        "PUT /v1/keyspaces/k",
        "GET /v1/keyspaces/k",
        "GET /v1/keyspaces/k/directory",
        "GET /v1/keyspaces/k/directory/a%2F%2E",
        "PUT /v1/keyspaces/k/directory/%FF",
        "PUT /v1/keyspaces/k/directory/a",
        "DELETE /v1/keyspaces/k?confirm=k",
        "POST /v1/keyspaces/k/batch",
    ]
    assert [json.loads(body) for body in bodies if body] == [
        {"strategy": "directory", "partitions": 2},
        {"partition": 2},
        {},
    ]
