"""The synchronous client: when it may be called."""

from __future__ import annotations

import socket
import threading
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


def test_a_call_under_way_in_another_thread_ends_at_the_close() -> None:
    ended: list[BaseException] = []

    def call() -> None:
        try:
            client.get("k")
        except BaseException as error:
            ended.append(error)

    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = SyncClient(f"http://127.0.0.1:{silent.getsockname()[1]}", timeout_s=60).open()
        calling = threading.Thread(target=call, daemon=True)
        calling.start()
        connection, _ = silent.accept()
        with connection:
            client.close()
            calling.join(10)
    assert not calling.is_alive()
    assert isinstance(ended[0], RuntimeError)
    assert "not open" in str(ended[0])


def test_a_call_that_came_too_late_for_the_loop_ends_too(monkeypatch: pytest.MonkeyPatch) -> None:
    client = SyncClient(timeout_s=1).open()
    client.close()
    monkeypatch.setattr(client, "_thread", threading.Thread(target=lambda: None))
    alive = iter([True])
    monkeypatch.setattr(client._thread, "is_alive", lambda: next(alive, False))
    with pytest.raises(RuntimeError, match="not open"):
        client.get("k")
