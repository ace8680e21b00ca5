"""The listener: whom it takes in, who has to give way, and how it ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from unit.kvstore.rpc.test_link import CLUSTER, ME, Node, ignore, until

from kvstore.codec import FORMAT
from kvstore.errors import OperatorError
from kvstore.messages import Done, Envelope, Failed, Fault, Hello
from kvstore.rpc.client import dial
from kvstore.rpc.connection import Connection, RpcError
from kvstore.rpc.framing import PREAMBLE

Opened = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.server.close()


async def silent(node: Node) -> Opened:
    """A connection on which nothing is said, once the node knows it."""
    before = len(node.server.connections)
    opened = await asyncio.open_connection("127.0.0.1", node.port)
    await until(lambda: len(node.server.connections) > before)
    return opened


async def is_cut(reader: asyncio.StreamReader) -> bool:
    """Whether the other side ends the connection; waits until it does."""
    try:
        return await asyncio.wait_for(reader.read(1), 10) == b""
    except ConnectionError:
        return True


# ---- how many -------------------------------------------------------------------------------------------------------


async def test_no_more_connections_than_allowed_are_kept() -> None:
    node = Node(connections_max=2)
    address = await node.listen()
    peers = [await dial(address, ME, ignore, lambda: None) for _ in range(2)]
    with pytest.raises(RpcError):
        await dial(address, ME, ignore, lambda: None)
    assert all(peer.is_open for peer in peers)
    assert len(node.server.connections) == 2
    peers[0].close("enough")
    await until(lambda: len(node.server.connections) == 1)
    assert (await dial(address, ME, ignore, lambda: None)).is_open
    await node.server.close()


async def test_a_newcomer_takes_the_place_of_the_oldest_that_said_no_hello() -> None:
    node = Node(connections_max=3)
    address = await node.listen()
    peer = await dial(address, ME, ignore, lambda: None)
    (first, one), (second, other) = await silent(node), await silent(node)
    assert (await dial(address, ME, ignore, lambda: None)).is_open
    assert await is_cut(first)
    assert not second.at_eof()
    assert peer.is_open
    assert len(node.server.connections) == 3
    await node.server.close()
    one.close()
    other.close()


async def test_a_port_full_of_silent_connections_takes_every_peer_in() -> None:
    node = Node(connections_max=4)
    address = await node.listen()
    opened = [await asyncio.open_connection("127.0.0.1", node.port) for _ in range(20)]
    peers = [await dial(address, ME, ignore, lambda: None) for _ in range(4)]
    assert all(peer.is_open for peer in peers)
    assert len(node.server.connections) == 4
    await node.server.close()
    for _, writer in opened:
        writer.close()


# ---- for how long ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("said", [b"", PREAMBLE[:3], PREAMBLE, PREAMBLE + b"\0"])
async def test_who_says_no_hello_is_cut_off(said: bytes) -> None:
    node = Node(hello_timeout_s=0.05)
    await node.listen()
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    writer.write(said)
    assert await is_cut(reader)
    assert not node.server.connections
    writer.close()
    await node.server.close()


async def test_whose_hello_is_refused_is_cut_off() -> None:
    node = Node(hello_timeout_s=0.05)
    node.greeting = lambda _: Failed(Fault("conflict", "not here"))
    await node.listen()
    loop = asyncio.get_running_loop()
    _, connection = await loop.create_connection(
        lambda: Connection(ignore, cluster_id=CLUSTER, dialled=True), "127.0.0.1", node.port
    )
    assert isinstance(await connection.call(Hello(CLUSTER, "g", "gateway", FORMAT), 5), Failed)
    await until(lambda: not connection.is_open)
    assert not node.server.connections
    await node.server.close()


async def test_who_said_hello_may_be_silent_for_longer() -> None:
    node = Node(hello_timeout_s=0.05)
    peer = await dial(await node.listen(), ME, ignore, lambda: None)
    reader, writer = await asyncio.open_connection("127.0.0.1", node.port)
    assert await is_cut(reader)
    assert peer.is_open
    assert len(node.server.connections) == 1
    writer.close()
    await node.server.close()


# ---- its beginning and its end ---------------------------------------------------------------------------------------


async def test_a_port_in_use_is_told_in_one_line(node: Node) -> None:
    await node.listen()
    other = Node()
    other.port = node.port
    with pytest.raises(OperatorError, match=f"cannot listen on 127.0.0.1:{node.port}") as refusal:
        await other.listen()
    assert "\n" not in str(refusal.value)


async def test_closing_the_listener_sends_what_is_queued_and_ends_every_connection(node: Node) -> None:
    connection = await dial(await node.listen(), ME, ignore, lambda: None)
    (accepted,) = node.server.connections
    answer = accepted.call(Done(), 5)
    got: asyncio.Future[Envelope] = asyncio.get_running_loop().create_future()
    connection._handler = lambda _, envelope: got.set_result(envelope)
    await node.server.close()
    assert isinstance((await asyncio.wait_for(got, 5)).body, Done)
    with pytest.raises(RpcError):
        await answer
    await until(lambda: not connection.is_open)
