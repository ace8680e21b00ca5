"""Listening: accepts connections and keeps count of them.

Guarantees: at most `connections_max` at a time, of which strangers give way to newcomers, and none is one for longer
than `hello_timeout_s`; a port in use is reported as an operator's error; `close` ends every connection. Leaves to
others: the handshake and every message (the handler), and what becomes of connections that it handed over (`fallback`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from kvstore.errors import OperatorError
from kvstore.rpc import local
from kvstore.rpc.connection import Connection, Fallback, Handler

CONNECTIONS_MAX = 1024
# Longer than who dials waits for the answer to its hello, `client.CONNECT_TIMEOUT_S`.
HELLO_TIMEOUT_S = 5.0


class Server:
    """An RPC listener.

    Args:
        handler: sets the `role` of each connection whose hello it takes; until then the other end is a stranger.
        on_closed: told of each connection that ended.
        fallback: makes the protocol that serves what is not RPC (HTTP health and metrics).
    """

    def __init__(
        self,
        handler: Handler,
        *,
        cluster_id: Callable[[], bytes | None],
        on_closed: Callable[[Connection], None] | None = None,
        fallback: Fallback | None = None,
        connections_max: int = CONNECTIONS_MAX,
        hello_timeout_s: float = HELLO_TIMEOUT_S,
    ) -> None:
        # In the order in which they came.
        self.connections: dict[Connection, None] = {}
        self._handler = handler
        self._cluster_id = cluster_id
        self._on_closed = on_closed
        self._fallback = fallback
        self._connections_max = connections_max
        self._hello_timeout_s = hello_timeout_s
        self._servers: list[asyncio.Server] = []

    async def listen(self, host: str, port: int) -> int:
        """Bind and return the port. Who dials it from this machine may find a stream beside it (`local`).

        Raises:
            OperatorError: the address cannot be bound.
        """
        loop = asyncio.get_running_loop()
        try:
            server = await loop.create_server(self._accept, host, port)
        except OSError as error:
            raise OperatorError(f"cannot listen on {host}:{port}: {error.strerror or error}") from error
        self._servers.append(server)
        bound = int(server.sockets[0].getsockname()[1])
        beside = local.listening(host, bound)
        if beside is not None:
            self._servers.append(await loop.create_unix_server(self._accept, sock=beside))
        return bound

    async def close(self) -> None:
        """Stop accepting and end every connection."""
        for server in self._servers:
            server.close()
        for connection in list(self.connections):
            await connection.drain_and_close()
        for server in self._servers:
            await server.wait_closed()

    def _accept(self) -> Connection:
        connection = Connection(
            self._handler,
            cluster_id=self._cluster_id(),
            dialled=False,
            on_closed=self._drop,
            fallback=self._fallback,
            hello_timeout_s=self._hello_timeout_s,
        )
        if len(self.connections) >= self._connections_max:
            self._make_room()
        if len(self.connections) < self._connections_max:
            self.connections[connection] = None
        else:
            connection.close("too many connections")
        return connection

    def _make_room(self) -> None:
        oldest = next((one for one in self.connections if one.is_stranger), None)
        if oldest is not None:
            # Now, not when it is gone: as many as come in one loop turn would take its place.
            del self.connections[oldest]
            oldest.close("a newcomer takes its place")

    def _drop(self, connection: Connection, _error: Exception | None) -> None:
        self.connections.pop(connection, None)
        if self._on_closed is not None:
            self._on_closed(connection)
