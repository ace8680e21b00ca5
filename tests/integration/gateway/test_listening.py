"""The address of a gateway, alone and shared by its workers."""

from __future__ import annotations

import contextlib
import selectors
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cluster.gateway.listening import bind, bind_shared, url_of
from cluster.gateway.settings import GatewaySettings
from kvstore.errors import OperatorError


@pytest.fixture
def settings(tmp_path: Path) -> Any:
    """Settings for an address."""
    return lambda listen, workers=1: GatewaySettings(data=tmp_path, listen=listen, workers=workers)


@contextlib.contextmanager
def shared(settings: GatewaySettings) -> Iterator[list[socket.socket]]:
    with contextlib.ExitStack() as stack:
        yield [stack.enter_context(one) for one in bind_shared(settings)]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "[::1]:0"])
def test_every_worker_has_a_socket_of_the_same_address_and_gets_connections(settings: Any, listen: str) -> None:
    with shared(settings(listen, 3)) as sockets:
        address = sockets[0].getsockname()
        assert address[1]
        assert {one.getsockname() for one in sockets} == {address}
        got: set[int] = set()
        with selectors.DefaultSelector() as selector, contextlib.ExitStack() as stack:
            for number, one in enumerate(sockets):
                selector.register(one, selectors.EVENT_READ, number)
            # Each goes to one of three by chance: that one gets none of 200 is nothing that happens.
            for _ in range(200):
                stack.enter_context(socket.create_connection(address[:2]))
                for key, _ in selector.select(10):
                    got.add(key.data)
                    stack.enter_context(sockets[key.data].accept()[0])
        assert got == {0, 1, 2}


@pytest.mark.parametrize("workers", [1, 3])
def test_an_address_that_workers_share_is_taken_for_others(settings: Any, workers: int) -> None:
    with shared(settings("127.0.0.1:0", 2)) as sockets:
        listen = url_of(sockets[0]).removeprefix("http://")
        with pytest.raises(OperatorError, match=f"cannot listen on {listen}: .*in use"):
            (bind if workers == 1 else bind_shared)(settings(listen, workers))


def test_who_connected_waits_for_a_worker_that_is_not_there_yet(settings: Any) -> None:
    with shared(settings("127.0.0.1:0", 2)) as sockets, socket.create_connection(sockets[0].getsockname()) as client:
        client.sendall(b"hello")
        with selectors.DefaultSelector() as selector:
            for one in sockets:
                selector.register(one, selectors.EVENT_READ)
            ready = [key.fileobj for key, _ in selector.select(10)]
        assert len(ready) == 1
        assert isinstance(ready[0], socket.socket)
        # A worker that starts again has the socket as another object, with what waits there.
        with ready[0].dup() as again, again.accept()[0] as accepted:
            assert accepted.recv(5) == b"hello"


def test_an_address_can_be_taken_again_at_once(settings: Any) -> None:
    with shared(settings("127.0.0.1:0", 2)) as sockets:
        listen = url_of(sockets[0]).removeprefix("http://")
    with shared(settings(listen, 3)) as sockets:
        assert url_of(sockets[2]) == f"http://{listen}"
