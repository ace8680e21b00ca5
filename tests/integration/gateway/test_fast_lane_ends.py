"""The short way where the client shuts its side early, or sends what goes on where a request was cut."""

from __future__ import annotations

import asyncio
import socket

import pytest
from integration.gateway.conftest import Gateway, RawClient, StartGateway

from kvstore.messages import Fault

HOST = "Host: test\r\n"


def request(method: str, path: str, body: str = "") -> bytes:
    length = f"Content-Length: {len(body)}\r\n" if method == "PUT" else ""
    return f"{method} {path} HTTP/1.1\r\n{HOST}{length}\r\n{body}".encode()


@pytest.fixture
async def held(gateway: Gateway) -> Gateway:
    """Its nodes answer when they are released."""
    hold = asyncio.Event()
    for node in gateway.nodes:
        node.hold = hold
    return gateway


def release(gateway: Gateway) -> None:
    for node in gateway.nodes:
        assert node.hold is not None
        node.hold.set()


async def under_way(gateway: Gateway, data: bytes) -> RawClient:
    """A client whose request has reached a node."""
    client = await gateway.connect()
    client.send(data)
    await gateway.until(lambda: any(node.reads + node.writes for node in gateway.nodes))
    return client


async def shut(client: RawClient) -> None:
    """The client says that nothing follows, and the gateway has heard it."""
    client.writer.write_eof()
    await asyncio.sleep(0.05)


async def test_a_client_that_shut_its_side_is_answered_the_long_way_too(held: Gateway) -> None:
    client = await under_way(held, request("GET", "/v1/kv/a"))
    await shut(client)
    for node in held.nodes:
        node.fault = Fault("locked", "a transaction holds the key")
    release(held)
    assert (await client.answer()).code == "locked"
    assert await client.is_closed()


@pytest.mark.parametrize("second", ["GET", "HEAD"])
async def test_what_follows_a_read_under_way_is_answered_after_it(gateway: Gateway, second: str) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a", b"one")).status == 201
    hold = asyncio.Event()
    for node in gateway.nodes:
        node.hold = hold
    client = await gateway.connect()
    client.send(request("GET", "/v1/kv/a"))
    await gateway.until(lambda: any(node.reads for node in gateway.nodes))
    client.send(request(second, "/v1/kv/a"))
    await asyncio.sleep(0.02)
    release(gateway)
    assert (await client.answer()).body == b"one"
    head = await asyncio.wait_for(client.reader.readuntil(b"\r\n\r\n"), 5)
    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b"Content-Length: 3\r\n" in head
    client.send(request("GET", "/v1/kv/b"))
    after = await asyncio.wait_for(client.reader.readexactly(12), 5)
    assert after.startswith(b"oneHTTP/1.1 " if second == "GET" else b"HTTP/1.1 404")


async def test_what_was_asked_before_a_client_shut_its_side_is_answered(held: Gateway) -> None:
    client = await under_way(held, request("PUT", "/v1/kv/a", "one"))
    client.send(request("GET", "/v1/kv/a"))
    await shut(client)
    release(held)
    assert (await client.answer()).status == 201
    second = await client.answer()
    assert (second.body, second.headers["connection"]) == (b"one", "close")
    assert await client.is_closed()


async def test_a_whole_request_inside_the_head_of_another_is_none(gateway: Gateway) -> None:
    client = await gateway.connect()
    client.send(request("GET", "/v1/kv/a") + b"PUT /v1/kv/b HTTP/1.1\r\nContent-Length: 1\r\nUser-Agent: ")
    assert (await client.answer()).status == 404
    client.send(request("DELETE", "/v1/kv/c"))
    await asyncio.sleep(0.02)
    client.send(b"x")
    assert (await client.answer()).status == 201, "that line is the agent's name"
    assert (await gateway.ask("GET", "/v1/kv/b")).body == b"x"


@pytest.mark.parametrize(
    "cut", [slice(-3, None), slice(-2, None), slice(-10, -9)], ids=["before the body", "within it", "within the head"]
)
async def test_a_put_that_came_in_pieces_is_followed_by_the_short_way(gateway: Gateway, cut: slice) -> None:
    client = await gateway.connect()
    put = request("PUT", "/v1/kv/a", "one")
    client.send(put[: cut.start])
    await asyncio.sleep(0.02)
    client.send(put[cut.start :])
    assert (await client.answer()).status == 201
    client.send(request("GET", "/v1/kv/a"))
    assert (await client.answer()).body == b"one"
    client.send(put)
    assert (await client.answer()).status == 204
    long = 2 if cut.stop else 1
    assert gateway.dispatcher.carried == long


async def test_a_slow_reader_that_shut_its_side_is_closed_when_it_has_read_all(start_gateway: StartGateway) -> None:
    size = 16 * 1024 * 1024
    gateway = await start_gateway(max_value_bytes=size)
    assert (await gateway.ask("PUT", "/v1/kv/large", b"v" * size)).status == 201
    plain = socket.create_connection(("127.0.0.1", gateway.port))
    plain.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(plain, request("GET", "/v1/kv/large"))
    await gateway.until(lambda: any(one._paused for one in gateway.server._connections))
    plain.shutdown(socket.SHUT_WR)
    await asyncio.sleep(0.05)
    got = 0
    async with asyncio.timeout(10):
        while data := await loop.sock_recv(plain, 1 << 20):
            got += len(data)
    plain.close()
    assert got > size
