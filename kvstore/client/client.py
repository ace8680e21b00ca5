"""The asynchronous client: one method a request of the contract, on one pool of connections.

Guarantees: it is open between `async with` and its end, and is one set of calls. Leaves to others: the calls
(`keys`, `transactions`, `ranges`, `keyspaces`, `operations`), deadlines and retries (`transport`).
"""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from kvstore.client.keyspaces import KeyspaceCalls
from kvstore.client.operations import OperationCalls
from kvstore.client.ranges import RangeCalls
from kvstore.client.transactions import TxnCalls
from kvstore.client.transport import Transport

if TYPE_CHECKING:
    from kvstore.client.read_cache import ReadCache

DEFAULT_GATEWAY = "http://127.0.0.1:8000"


class Client(RangeCalls, TxnCalls, KeyspaceCalls, OperationCalls):
    """Talks to one gateway. Use it as `async with Client(...) as client`, within one event loop. Its calls on keys are
    on those of the default keyspace.

    Args:
        gateway: its address, `http://HOST:PORT`.
        timeout_s: the deadline of each call, retries included, in seconds. Imports, exports and removals of a range
            take any time; they are given up where nothing comes for a minute.
        connections_max: how many connections are open at a time; further calls wait for one.
        token: sent as `Authorization: Bearer`, for what stands before a gateway; a gateway itself does not ask for it.
        cache_bytes: keep answers to `get(max_stale=...)` in so many bytes, for others of that key; by default none is.
        cache: a `ReadCache` to share with other clients, in the place of an own one.

    Raises:
        ValueError: `gateway` is no such address, `token` cannot stand in a header, or both caches are given.
        ImportError: a cache needs aiohttp-client-cache (the extra `client`).
    """

    def __init__(
        self,
        gateway: str = DEFAULT_GATEWAY,
        *,
        timeout_s: float = 10.0,
        connections_max: int = 64,
        token: str | None = None,
        cache_bytes: int | None = None,
        cache: ReadCache | None = None,
    ) -> None:
        if cache_bytes is not None:
            if cache is not None:
                raise ValueError("cache_bytes is for an own cache, cache for a shared one; not both")
            cache = _own_cache(cache_bytes)
        self._transport = Transport(
            gateway, timeout_s=timeout_s, connections_max=connections_max, token=token, cache=cache
        )

    @property
    def gateway(self) -> str:
        return self._transport.gateway

    async def __aenter__(self) -> Self:
        return await self.open()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def open(self) -> Self:
        """What `async with` does at its beginning, for a session in a shell; `close` ends it."""
        await self._transport.open()
        return self

    async def close(self) -> None:
        """Close all connections."""
        await self._transport.close()


def _own_cache(cache_bytes: int) -> ReadCache:
    try:
        from kvstore.client.read_cache import ReadCache
    except ImportError as error:
        raise ImportError("a cache needs aiohttp-client-cache: pip install aiohttp-client-cache") from error
    return ReadCache(cache_bytes)
