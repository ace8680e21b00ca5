"""Where a client of a keyspace goes with what it asks, and which keyspaces a trial has clients on."""

from __future__ import annotations

import pytest
from probe.crowd import CLIENTS, clients_on
from probe.keyspace import DEFAULT, KEYSPACES, Keyspace
from probe.workloads.names import key_name

from kvstore.keys import tenant_of

K = Keyspace("k")


@pytest.mark.parametrize(
    "path", ["/kv/a/b?ttl=1", "/kv?prefix=a", "/kv", "/batch", "/batch?consistent=true", "/txn", "/import", "/locate/a"]
)
def test_what_is_about_keys_goes_to_the_keyspace(path: str) -> None:
    assert K.path(f"/v1{path}") == f"/v1/keyspaces/k{path}"
    assert Keyspace().path(f"/v1{path}") == f"/v1{path}"


@pytest.mark.parametrize("path", ["/v1/cluster", "/v1/ids?count=1", "/v1/txn/17", "/v1/keyspaces/other", "/readyz"])
def test_anything_else_stays(path: str) -> None:
    assert K.path(path) == path


def test_what_belongs_together_is_of_different_tenants() -> None:
    assert len({tenant_of(key_name("account", number).encode()) for number in range(4)}) == 4


def test_without_keyspaces_the_load_is_as_it_was() -> None:
    assert clients_on(()) == {DEFAULT: CLIENTS}


def test_keys_rise_where_partitions_are_split() -> None:
    assert [name for name, clients in clients_on(tuple(KEYSPACES)).items() if "tide" in clients] == ["range"]
