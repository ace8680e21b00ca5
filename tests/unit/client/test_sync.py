"""The synchronous client: when it may be called."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kvstore.client import SyncClient

CALLS: list[Callable[[SyncClient], object]] = [
    lambda client: client.get("k"),
    lambda client: client.status(),
    lambda client: list(client.scan(prefix="")),
    lambda client: client.keyspace("other").get("k"),
    lambda client: list(client.keyspace("other").tenants()),
]


@pytest.mark.parametrize("call", CALLS)
def test_a_call_before_open_is_refused(call: Callable[[SyncClient], object]) -> None:
    client = SyncClient(timeout_s=1)
    with pytest.raises(RuntimeError, match="not open"):
        call(client)
    client.close()


@pytest.mark.parametrize("call", CALLS)
def test_a_call_after_close_is_refused(call: Callable[[SyncClient], object]) -> None:
    client = SyncClient(timeout_s=1).open()
    client.close()
    with pytest.raises(RuntimeError, match="not open"):
        call(client)
