"""A connection whose peer receives nothing is not waited for."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from kvstore.rpc.connection import UNRECEIVED_MS_MAX, Connection


async def test_both_ends_give_up_what_is_not_received() -> None:
    loop = asyncio.get_running_loop()
    accepted: list[Connection] = []

    def new(dialled: bool) -> Connection:
        connection = Connection(lambda _c, _e: None, cluster_id=b"c" * 8, dialled=dialled)
        accepted.append(connection)
        return connection

    server = await loop.create_server(lambda: new(False), "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    transport, _ = await loop.create_connection(lambda: new(True), host, port)
    while len(accepted) < 2 or accepted[1]._transport is None:  # noqa: ASYNC110
        await asyncio.sleep(0.001)
    for connection in accepted:
        own: Any = connection._transport
        sock = own.get_extra_info("socket")
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) == UNRECEIVED_MS_MAX
        connection.close()
    transport.close()
    server.close()
