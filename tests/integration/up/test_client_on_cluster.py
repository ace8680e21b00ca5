"""The client against a whole cluster: versions, conditions, batches, times to live, awkward keys."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from probe.up import Up

from kvstore.client import Delete, Deleted, Get, Put, SyncClient, Value, Written
from kvstore.errors import KeyNotFound, PreconditionFailed, ValueTooLarge

AWKWARD = [b"..", b"a/../b", b"a//b", b"/", b"x/", b"%2F", b"\xff\x00", b"?q#f", b" ", "ключ".encode()]


def test_the_client_gets_what_the_contract_promises(start_up: Callable[..., Up]) -> None:
    with SyncClient(start_up().wait_ready().url, timeout_s=30) as client:
        versions_and_conditions(client)
        batches(client)
        awkward_keys(client)
        times_to_live(client)
        with pytest.raises(ValueTooLarge):
            client.put("large", bytes(1024 * 1024 + 1))
        assert client.status()["state"] == "healthy"
        assert client.locate("k")["leader"] in {"n1", "n2", "n3"}


def versions_and_conditions(client: SyncClient) -> None:
    first = client.put("k", b"1", content_type="text/plain", if_none_match="*")
    assert (first.created, first.copies) == (True, 2)
    assert client.get("k") == Value(b"1", first.etag, "text/plain")
    with pytest.raises(PreconditionFailed):
        client.put("k", b"2", if_none_match="*")
    second = client.put("k", b"2", if_match=first.etag)
    assert not second.created
    assert second.etag != first.etag
    with pytest.raises(PreconditionFailed):
        client.delete("k", if_match=first.etag)
    client.delete("k", if_match=second.etag)
    with pytest.raises(KeyNotFound):
        client.get("k")


def batches(client: SyncClient) -> None:
    ops = [Put("b", b"\x00\xff"), Get("b"), Put("b", b"", if_none_match="*"), Delete("b"), Get("b")]
    written, value, refused, deleted, missing = client.batch(ops)
    assert isinstance(written, Written)
    assert value == Value(b"\x00\xff", written.etag, "application/octet-stream")
    assert isinstance(refused, PreconditionFailed)
    assert isinstance(deleted, Deleted)
    assert isinstance(missing, KeyNotFound)


def awkward_keys(client: SyncClient) -> None:
    for key in AWKWARD:
        client.put(key, b"one by one " + key)
    values = client.batch([Get(key) for key in AWKWARD])
    assert [value.data for value in values if isinstance(value, Value)] == [b"one by one " + key for key in AWKWARD]


def times_to_live(client: SyncClient) -> None:
    client.put("t", b"", ttl_s=1000)
    left_s = client.get("t").ttl_s
    assert left_s is not None
    assert 900 < left_s <= 1000
    client.put("t", b"")
    assert client.get("t").ttl_s is None
