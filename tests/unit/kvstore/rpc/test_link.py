"""A link: dials until somebody fits, again after each loss, and says why it has no connection."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from kvstore.codec import FORMAT
from kvstore.messages import Done, Envelope, Failed, Fault, Hello, Read, ReadResult, Welcome
from kvstore.rpc import client as client_module
from kvstore.rpc.client import Identity, Link, dial, parse_address
from kvstore.rpc.connection import Connection, NotSent, RpcError
from kvstore.rpc.server import Server

CLUSTER = b"cluster1"
ME = Identity(CLUSTER, "gateway-1", "gateway")


class Node:
    """A listener that welcomes; `greeting` may be replaced."""

    def __init__(self, **options: Any) -> None:
        self.hellos: list[Hello] = []
        self.greeting: Callable[[Hello], Welcome | Failed | Done | None] = lambda hello: Welcome(CLUSTER, "n1", 7)
        self.server = Server(self._handle, cluster_id=lambda: None, **options)
        self.port = 0

    async def listen(self) -> str:
        self.port = await self.server.listen("127.0.0.1", self.port)
        return f"127.0.0.1:{self.port}"

    def _handle(self, connection: Connection, envelope: Envelope) -> None:
        if isinstance(envelope.body, Hello):
            self.hellos.append(envelope.body)
            greeting = self.greeting(envelope.body)
            if isinstance(greeting, Welcome):
                connection.peer, connection.role = envelope.body.sender, envelope.body.role
            if greeting is not None:
                connection.answer(envelope.call, greeting)
        elif isinstance(envelope.body, Read):
            connection.answer(envelope.call, ReadResult(0, []))

    def cut_all(self) -> None:
        for connection in list(self.server.connections):
            connection.close("cut by the test")


async def until(holds: Callable[[], bool]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to hold")


def ignore(connection: Connection, envelope: Envelope) -> None:
    raise AssertionError("a node of these tests asks nothing")


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    yield node
    await node.server.close()


class Watched:
    """A link and what it told."""

    def __init__(self, address: str, node_id: str = "n1") -> None:
        self.events: asyncio.Queue[str] = asyncio.Queue()
        self.link = Link(
            node_id,
            address,
            ME,
            ignore,
            on_up=lambda connection: self.events.put_nowait(f"up {connection.peer} {connection.boot}"),
            on_down=lambda: self.events.put_nowait("down"),
            on_failed=lambda error: self.events.put_nowait(f"failed {type(error).__name__}: {error}"),
            rng=random.Random(1),
        )
        self.link.start()

    async def next(self) -> str:
        return await asyncio.wait_for(self.events.get(), 10)


async def test_a_link_says_hello_and_is_up_when_it_is_welcomed(node: Node) -> None:
    watched = Watched(await node.listen())
    assert await watched.next() == "up n1 7"
    assert node.hellos == [Hello(CLUSTER, "gateway-1", "gateway", FORMAT)]
    assert watched.link.is_up
    assert await watched.link.call(Read([]), 5) == ReadResult(0, [])
    await watched.link.close()
    assert not watched.link.is_up


async def test_a_link_dials_again_after_each_loss(node: Node) -> None:
    watched = Watched(await node.listen())
    for _ in range(3):
        assert await watched.next() == "up n1 7"
        assert await watched.link.call(Read([]), 5) == ReadResult(0, [])
        node.cut_all()
        assert await watched.next() == "down"
        assert not watched.link.is_up
        with pytest.raises(NotSent):
            watched.link.call(Read([]), 5)
        assert not watched.link.cast(Done())
    assert await watched.next() == "up n1 7"
    await watched.link.close()


async def test_a_link_pauses_after_a_connection_that_did_not_last(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S_MIN", 100.0)
    link = Link("n1", await node.listen(), ME, ignore, on_up=lambda connection: connection.close("cut by the test"))
    link.start()
    await until(lambda: bool(node.hellos))
    for _ in range(50):
        await asyncio.sleep(0.001)
    await link.close()
    assert len(node.hellos) == 1


async def test_a_link_does_not_pause_after_one_that_lasted(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "PAUSE_S_MIN", 100.0)
    monkeypatch.setattr(client_module, "LASTING_S", 0.0)
    link = Link("n1", await node.listen(), ME, ignore)
    link.start()
    await until(lambda: link.is_up)
    node.cut_all()
    await until(lambda: len(node.hellos) == 2)
    await link.close()


async def test_each_hello_says_what_is_known_of_the_node_at_that_moment(node: Node) -> None:
    known = iter((3, 8))
    link = Link("n1", await node.listen(), ME, ignore, boot_floor=lambda: next(known))
    link.start()
    await until(lambda: link.is_up)
    node.cut_all()
    await until(lambda: len(node.hellos) == 2)
    await link.close()
    assert [hello.boot_floor for hello in node.hellos] == [3, 8]


async def test_a_link_finds_a_node_that_comes_later(node: Node) -> None:
    address = await node.listen()
    await node.server.close()
    watched = Watched(address)
    assert (await watched.next()).startswith("failed ConnectionRefusedError")
    with pytest.raises(NotSent, match="no connection to n1"):
        watched.link.call(Read([]), 5)
    await node.listen()
    while (event := await watched.next()) != "up n1 7":
        assert event.startswith("failed")
    await watched.link.close()


async def test_another_node_at_the_address_is_not_taken_for_the_one_expected(node: Node) -> None:
    watched = Watched(await node.listen(), node_id="n2")
    assert "is node n1, not n2" in await watched.next()
    assert not watched.link.is_up
    await watched.link.close()


async def test_a_refusal_is_told_in_the_nodes_own_words(node: Node) -> None:
    node.greeting = lambda _: Failed(Fault("conflict", "this node belongs to another cluster"))
    watched = Watched(await node.listen())
    assert await watched.next() == "failed RpcError: this node belongs to another cluster"
    with pytest.raises(NotSent, match="belongs to another cluster"):
        watched.link.call(Read([]), 5)
    await watched.link.close()


@pytest.mark.parametrize("greeting", [Welcome(b"another!", "n1", 1), Done()])
async def test_an_answer_that_is_no_welcome_to_this_cluster_is_refused(node: Node, greeting: Welcome | Done) -> None:
    node.greeting = lambda _: greeting
    with pytest.raises(RpcError, match="unexpected answer"):
        await dial(await node.listen(), ME, ignore, lambda: None)


async def test_a_node_that_does_not_answer_is_given_up(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client_module, "CONNECT_TIMEOUT_S", 0.05)
    node.greeting = lambda _: None
    closed = asyncio.Event()
    with pytest.raises(RpcError, match="deadline"):
        await dial(await node.listen(), ME, ignore, closed.set)
    await asyncio.wait_for(closed.wait(), 5)


async def test_a_closed_link_dials_no_more(node: Node) -> None:
    watched = Watched(await node.listen())
    await watched.next()
    await watched.link.close()
    assert await watched.next() == "down"
    await asyncio.sleep(0.2)
    assert len(node.hellos) == 1
    assert watched.events.empty()


async def test_a_link_that_is_closed_while_it_dials_leaves_nothing_behind(node: Node) -> None:
    node.greeting = lambda _: None
    watched = Watched(await node.listen())
    await until(lambda: bool(node.hellos))
    await watched.link.close()
    await until(lambda: not node.server.connections)
    assert watched.events.empty()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("h:1", ("h", 1)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("[::1]:8000", ("::1", 8000)),
        ("a.b:65535", ("a.b", 65535)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, address: tuple[str, int]) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    "text", ["", "host", "host:", ":80", "host:-1", "host:65536", "host:8O", "host:٣", "host:1.5", "[]:1"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="HOST:PORT"):
        parse_address(text)
