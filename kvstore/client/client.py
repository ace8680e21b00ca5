"""The asynchronous client: one method a request of the contract, on one pool of connections.

Guarantees: it is open between `async with` and its end, and is one set of calls. Leaves to others: the calls
(`keys`, `ranges`, `operations`), deadlines and retries (`transport`).
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from kvstore.client.operations import OperationCalls
from kvstore.client.ranges import RangeCalls
from kvstore.client.transport import Transport

DEFAULT_GATEWAY = "http://127.0.0.1:8000"


class Client(RangeCalls, OperationCalls):
    """Talks to one gateway. Use it as `async with Client(...) as client`, within one event loop.

    Args:
        gateway: its address, `http://HOST:PORT`.
        timeout_s: the deadline of each call, retries included, in seconds.
        connections_max: how many connections are open at a time; further calls wait for one.
        token: sent as `Authorization: Bearer`, for what stands before a gateway; a gateway itself does not ask for it.

    Raises:
        ValueError: `gateway` is no such address, or `token` cannot stand in a header.
    """

    def __init__(
        self,
        gateway: str = DEFAULT_GATEWAY,
        *,
        timeout_s: float = 10.0,
        connections_max: int = 64,
        token: str | None = None,
    ) -> None:
        self._transport = Transport(gateway, timeout_s=timeout_s, connections_max=connections_max, token=token)

    @property
    def gateway(self) -> str:
        return self._transport.gateway

    async def __aenter__(self) -> Self:
        await self._transport.open()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()
