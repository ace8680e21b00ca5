"""A connection that does not open as ours is another protocol's, with every byte it sent."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest
from unit.kvstore.rpc.wax import CAST, End

from kvstore.messages import Done
from kvstore.rpc.connection import NotSent
from kvstore.rpc.framing import PREAMBLE


class OtherProtocol(asyncio.Protocol):
    def __init__(self) -> None:
        self.transport: asyncio.BaseTransport | None = None
        self.data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        self.data += data


@pytest.mark.parametrize("pieces", [[b"GET / HTTP/1.1"], [b"K", b"V", b"X of another kind"], [b"KVR0"]])
async def test_a_connection_that_opens_otherwise_is_handed_over_with_all_it_sent(pieces: list[bytes]) -> None:
    other = OtherProtocol()
    listener = End(dialled=False, fallback=lambda: other)
    for piece in pieces:
        listener.connection.data_received(piece)
    assert other.data == b"".join(pieces)
    assert other.transport is listener.transport
    assert listener.transport.protocol is cast(asyncio.BaseProtocol, other)
    assert (listener.closed, listener.got) == (1, [])
    with pytest.raises(NotSent):
        listener.connection.call(Done(), 1)


async def test_a_connection_that_opens_otherwise_is_cut_where_nobody_takes_it() -> None:
    listener = End(dialled=False)
    listener.connection.data_received(b"GET / HTTP/1.1")
    assert listener.transport.is_aborted


async def test_the_beginning_of_the_preamble_is_waited_for() -> None:
    listener = End(dialled=False)
    listener.connection.data_received(PREAMBLE[:3])
    assert not listener.transport.is_aborted
    listener.connection.data_received(PREAMBLE[3:])
    listener.receive(CAST)
    assert len(listener.got) == 1
