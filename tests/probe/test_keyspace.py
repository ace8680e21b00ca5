"""Where a client of a keyspace goes with what it asks, and which keyspaces a trial has clients on."""

from __future__ import annotations

import pytest
from probe.crowd import CLIENTS, clients_on
from probe.keyspace import DEFAULT, KEYSPACES, Keyspace
from probe.workloads.names import key_name

from kvstore.client.transport import Answer, Request, Transport
from kvstore.keys import tenant_of


def test_paths_are_those_of_the_keyspace() -> None:
    assert (Keyspace().root, Keyspace("k").root) == ("/v1", "/v1/keyspaces/k")


@pytest.mark.parametrize(("name", "path"), [(DEFAULT, "/v1/kv/a"), ("k", "/v1/keyspaces/k/kv/a")])
async def test_a_client_asks_for_keys_of_its_keyspace(name: str, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    async def send(_: Transport, request: Request) -> Answer:
        asked.append(request.path)
        return Answer(200, {"ETag": '"1"'}, b"")

    monkeypatch.setattr(Transport, "send", send)
    async with Keyspace(name).client("http://127.0.0.1:1", 1.0) as client:
        await client.get("a")
    assert asked == [path]


def test_what_belongs_together_is_of_different_tenants() -> None:
    assert len({tenant_of(key_name("account", number).encode()) for number in range(4)}) == 4


def test_without_keyspaces_the_load_is_as_it_was() -> None:
    assert clients_on(()) == {DEFAULT: CLIENTS}


def test_keys_rise_where_partitions_are_split() -> None:
    assert [name for name, clients in clients_on(tuple(KEYSPACES)).items() if "tide" in clients] == ["range"]
