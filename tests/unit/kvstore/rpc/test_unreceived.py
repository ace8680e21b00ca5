"""A connection whose peer receives nothing, or is not there any more, is not waited for."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

from kvstore.rpc.connection import PROBE_S, SILENT_S_MAX, UNRECEIVED_MS_MAX, Connection


async def options_of_both_ends(*options: tuple[int, int]) -> list[list[int]]:
    """What each end of a connection has set."""
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
    values = []
    for connection in accepted:
        own: Any = connection._transport
        sock = own.get_extra_info("socket")
        values.append([sock.getsockopt(*option) for option in options])
        connection.close()
    transport.close()
    server.close()
    return values


async def test_both_ends_give_up_what_is_not_received() -> None:
    set_ = await options_of_both_ends((socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT))
    assert set_ == [[UNRECEIVED_MS_MAX]] * 2


async def test_both_ends_ask_a_silent_peer_whether_it_is_there_before_they_would_give_it_up() -> None:
    tcp = socket.IPPROTO_TCP
    asked = await options_of_both_ends(
        (socket.SOL_SOCKET, socket.SO_KEEPALIVE), (tcp, socket.TCP_KEEPIDLE), (tcp, socket.TCP_KEEPINTVL)
    )
    assert asked == [[1, SILENT_S_MAX, PROBE_S]] * 2
    # Where there is such a bound, Linux ends a connection by it and not by the number of probes: at the first one that
    # is due after it, if one was sent before.
    assert (SILENT_S_MAX + PROBE_S) * 1000 <= UNRECEIVED_MS_MAX
