"""Beside TCP there is a stream of this machine, for its own user only."""

from __future__ import annotations

import asyncio
import gc
import os
import socket
from collections.abc import Callable

import pytest
import uvloop

from kvstore.messages import Envelope, Hello, Welcome
from kvstore.rpc import local
from kvstore.rpc.client import Identity, dial
from kvstore.rpc.connection import Connection, NotSent
from kvstore.rpc.server import Server

CLUSTER = b"cluster1"

pytestmark = pytest.mark.skipif(not hasattr(socket, "SO_PEERCRED"), reason="only Linux names sockets so")


def welcome(connection: Connection, envelope: Envelope) -> None:
    assert isinstance(envelope.body, Hello)
    connection.answer(envelope.call, Welcome(CLUSTER, "n1", 1))


async def family_of_a_link_to(host: str, port: int) -> int:
    """How a connection to that address is made."""
    connection = await dial(f"{host}:{port}", Identity(CLUSTER, "g", "gateway"), welcome, lambda: None)
    assert connection._transport is not None
    family: int = connection._transport.get_extra_info("socket").family
    connection.close()
    return family


async def test_a_loopback_address_is_reached_without_tcp() -> None:
    server = Server(welcome, cluster_id=lambda: None)
    port = await server.listen("127.0.0.1", 0)
    assert await family_of_a_link_to("127.0.0.1", port) == socket.AF_UNIX
    await server.close()
    assert local.dialled("127.0.0.1", port) is None


async def test_who_listens_with_tcp_only_is_reached_with_tcp() -> None:
    server = Server(welcome, cluster_id=lambda: None)
    plain = await asyncio.get_running_loop().create_server(server._accept, "127.0.0.1", 0)
    assert await family_of_a_link_to("127.0.0.1", plain.sockets[0].getsockname()[1]) == socket.AF_INET
    plain.close()
    await server.close()


async def test_another_users_socket_is_not_spoken_to(monkeypatch: pytest.MonkeyPatch) -> None:
    server = Server(welcome, cluster_id=lambda: None)
    port = await server.listen("127.0.0.1", 0)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert await family_of_a_link_to("127.0.0.1", port) == socket.AF_INET
    await server.close()


async def test_a_name_that_is_taken_keeps_nobody_from_listening(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as taken:
        taken.bind(f"\0taken by {os.getpid()}")
        monkeypatch.setattr(local, "_name", lambda _host, _port: taken.getsockname())
        server = Server(welcome, cluster_id=lambda: None)
        port = await server.listen("127.0.0.1", 0)
        assert await family_of_a_link_to("127.0.0.1", port) == socket.AF_INET
        await server.close()


@pytest.mark.parametrize("host", ["10.0.0.1", "0.0.0.0", "::", "node-1.example"])
def test_only_a_loopback_address_has_such_a_stream(host: str) -> None:
    assert local.listening(host, 1) is None
    assert local.dialled(host, 1) is None


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.9.1", "::1", "localhost"])
def test_every_loopback_address_may_have_one(host: str) -> None:
    sock = local.listening(host, os.getpid())
    assert sock is not None
    dialled = local.dialled(host, os.getpid())
    assert dialled is not None
    dialled.close()
    sock.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_listener_that_ends_while_it_is_dialled_takes_no_other_file_with_it(
    new_loop: Callable[[], asyncio.AbstractEventLoop],
) -> None:
    async def opened_after_the_loss(port: int) -> list[int]:
        listening = local.listening("127.0.0.1", port)
        assert listening is not None
        # After it was connected to, and before anything was written.
        asyncio.get_running_loop().call_soon(listening.close)
        try:
            await dial(f"127.0.0.1:{port}", Identity(CLUSTER, "g", "gateway"), welcome, lambda: None)
        except NotSent:
            # They take the numbers of files that are closed, as clients' connections do that come while a link, which
            # holds the error for so long, waits to dial again.
            return [os.open(os.devnull, os.O_RDONLY) for _ in range(16)]
        raise AssertionError("it was connected to")

    with socket.create_server(("127.0.0.1", 0)) as reserved, asyncio.Runner(loop_factory=new_loop) as runner:
        files = runner.run(opened_after_the_loss(reserved.getsockname()[1]))
        gc.collect()
        for file in files:
            os.close(file)
