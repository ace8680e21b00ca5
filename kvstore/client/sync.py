"""The synchronous face of the client, for scripts and shells.

Guarantees: the same calls, answers and errors as `Client`, on an event loop of its own in one background thread, so it
may be called from any thread, and connections are watched between calls. Leaves to others: everything else (`Client`).
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self

from kvstore.client.answers import Readiness
from kvstore.client.client import DEFAULT_GATEWAY, Client
from kvstore.client.keyspaces import Keyspace, Strategy
from kvstore.client.sync_calls import SyncCalls

if TYPE_CHECKING:
    from kvstore.client.read_cache import ReadCache


class SyncClient(SyncCalls):
    """Talks to one gateway; use it as `with SyncClient(...) as client`. Arguments and errors as for `Client`."""

    def __init__(
        self,
        gateway: str = DEFAULT_GATEWAY,
        *,
        timeout_s: float = 10.0,
        token: str | None = None,
        cache_bytes: int | None = None,
        cache: ReadCache | None = None,
    ) -> None:
        self._client: Client = Client(gateway, timeout_s=timeout_s, token=token, cache_bytes=cache_bytes, cache=cache)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="kvstore-client", daemon=True)

    def __enter__(self) -> Self:
        return self.open()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def open(self) -> Self:
        """What `with` does at its beginning, for a session in a shell; `close` ends it."""
        self._thread.start()
        self._run(self._client.open())
        return self

    def close(self) -> None:
        """Close all connections and end the thread; calls under way in other threads are refused."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            self._run(self._end())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join()
        self._loop.close()

    async def _end(self) -> None:
        calls = asyncio.all_tasks() - {asyncio.current_task()}
        for call in calls:
            call.cancel()
        await asyncio.gather(*calls, return_exceptions=True)
        await self._client.close()

    def ids(self, count: int = 1) -> list[int]:
        return self._run(self._client.ids(count))

    def status(self) -> dict[str, Any]:
        return self._run(self._client.status())

    def operate(
        self, method: str, path: str, document: Mapping[str, Any] | None = None, *, once: bool = False
    ) -> dict[str, Any]:
        return self._run(self._client.operate(method, path, document, once=once))

    def force_promote(
        self, *, partition: int | None = None, all_of: str = "", confirmed_stopped: Sequence[str]
    ) -> dict[str, Any]:
        return self._run(
            self._client.force_promote(partition=partition, all_of=all_of, confirmed_stopped=confirmed_stopped)
        )

    def verify(self) -> dict[str, Any]:
        return self._run(self._client.verify())

    def balance(self, keyspace: str = "default") -> dict[str, Any]:
        return self._run(self._client.balance(keyspace))

    def ready(self) -> Readiness:
        return self._run(self._client.ready())

    def keyspace(self, name: str) -> SyncKeyspace:
        """The keys of a keyspace; it lives as long as this client."""
        return SyncKeyspace(self._client.keyspace(name), self._loop, self._thread)

    def keyspaces(self) -> list[dict[str, Any]]:
        return self._run(self._client.keyspaces())

    def create_keyspace(
        self,
        name: str,
        strategy: Strategy = "consistent",
        *,
        partitions: int | None = None,
        replicas: int | Literal["all"] | None = None,
        min_in_sync: int | None = None,
        default_ttl_s: float | None = None,
        max_value_bytes: int | None = None,
        splits: Sequence[str | bytes] = (),
        regions: Mapping[str, str] | None = None,
        default_zone: str | None = None,
    ) -> dict[str, Any]:
        return self._run(
            self._client.create_keyspace(
                name,
                strategy,
                partitions=partitions,
                replicas=replicas,
                min_in_sync=min_in_sync,
                default_ttl_s=default_ttl_s,
                max_value_bytes=max_value_bytes,
                splits=splits,
                regions=regions,
                default_zone=default_zone,
            )
        )

    def delete_keyspace(self, name: str, *, confirm: str) -> None:
        self._run(self._client.delete_keyspace(name, confirm=confirm))


class SyncKeyspace(SyncCalls):
    """The keys of one keyspace. Arguments, answers and errors as for `Keyspace`."""

    def __init__(self, keyspace: Keyspace, loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
        self._client: Keyspace = keyspace
        self._loop = loop
        self._thread = thread

    @property
    def name(self) -> str:
        return self._client.name

    def describe(self) -> dict[str, Any]:
        return self._run(self._client.describe())

    def tenant(self, name: str | bytes) -> dict[str, Any]:
        return self._run(self._client.tenant(name))

    def tenants(self) -> Iterator[tuple[bytes, int]]:
        tenants = self._client.tenants()
        while (one := self._run(_next(tenants))) is not None:
            yield one

    def move_tenant(self, name: str | bytes, partition: int | None = None) -> dict[str, Any]:
        return self._run(self._client.move_tenant(name, partition))


async def _next(tenants: AsyncIterator[tuple[bytes, int]]) -> tuple[bytes, int] | None:
    return await anext(tenants, None)
