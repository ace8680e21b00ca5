"""Keyspaces of each strategy on a cluster: all of the API on each, apart from each other, and their end."""

from __future__ import annotations

import io
import json
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from probe.processes import Cluster, ask, wait_until

from kvstore.client import Delete, Get, If, Incr, Put, SyncClient, SyncKeyspace
from kvstore.errors import BadParameter, Conflict, KeyNotFound, NotFound, PreconditionFailed, ValueTooLarge

KEYS = [f"{tenant}/{number:03d}" for tenant in ("acme", "eu", "umbrella", "us") for number in range(25)]
ZONES = {"n1": "a", "n2": "a", "n3": "b"}
STRATEGIES: dict[str, dict[str, Any]] = {
    "consistent": {"partitions": 8},
    "hash": {"partitions": 8},
    "range": {"splits": ["b", b"eu/010", "u", "up"]},
    "directory": {"partitions": 4},
    "geo": {"partitions": 3, "replicas": 1, "regions": {"eu": "a", "us": "b"}, "default_zone": "a"},
}
EACH = pytest.mark.parametrize("strategy", STRATEGIES)


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three nodes in two zones; the gateway is in zone b."""
    made = Cluster(tmp_path_factory.mktemp("cluster"), 3, KVSTORE_PARTITIONS="8", KVSTORE_ZONE="b")
    for name, zone in ZONES.items():
        made.start_node(name, "--zone", zone)
    made.wait_ready()
    yield made
    made.close()


@pytest.fixture
def client(cluster: Cluster) -> Iterator[SyncClient]:
    with SyncClient(cluster.url, timeout_s=20) as client:
        yield client


@pytest.fixture
def make(client: SyncClient) -> Iterator[Callable[..., SyncKeyspace]]:
    """Makes keyspaces, which are gone after the test."""
    made: list[str] = []

    def make(strategy: str, name: str = "", **more: Any) -> SyncKeyspace:
        name = name or f"of-{strategy}"
        made.append(name)
        client.create_keyspace(name, strategy, **{**STRATEGIES[strategy], **more})  # type: ignore[arg-type]
        return client.keyspace(name)

    yield make
    for name in set(made):
        if any(one["name"] == name for one in client.keyspaces()):
            client.delete_keyspace(name, confirm=name)


def filled(keyspace: SyncKeyspace) -> SyncKeyspace:
    keyspace.batch([Put(key, key.encode()) for key in KEYS])
    return keyspace


@EACH
def test_the_whole_api_works_on_it(make: Callable[..., SyncKeyspace], strategy: str) -> None:
    keyspace = filled(make(strategy))
    for key in KEYS[::9]:
        assert keyspace.get(key).data == key.encode()
        located = keyspace.locate(key)
        assert located["why"][0] == f"keyspace: {keyspace.name}"
        assert located["leader"] is not None
    expected = sorted(key.encode() for key in KEYS)
    assert [item.key for item in keyspace.scan(page_size=7)] == expected
    assert [item.key for item in keyspace.scan(page_size=7, reverse=True)] == expected[::-1]
    assert [item.key for item in keyspace.scan(start="eu/020", end="umbrella/003")] == [
        key for key in expected if b"eu/020" <= key < b"umbrella/003"
    ]
    assert keyspace.count() == len(KEYS)
    assert keyspace.count(prefix="us/") == 25
    found, gone, absent = keyspace.batch([Get("eu/001"), Delete("eu/001"), Get("eu/001")])
    assert (found.data, absent.code) == (b"eu/001", "key_not_found")  # type: ignore[union-attr]
    assert gone is not None
    with pytest.raises(KeyNotFound):
        keyspace.get("eu/001")


@EACH
def test_transactions_go_over_all_of_its_partitions(make: Callable[..., SyncKeyspace], strategy: str) -> None:
    keyspace = make(strategy)
    keys = [f"{tenant}/n" for tenant in ("acme", "eu", "umbrella", "us", "zoo")]
    assert len({keyspace.locate(key)["partition"] for key in keys if strategy != "directory"}) != 1
    for total in (1, 2):
        done = keyspace.txn(then=[Incr(key, by=1) for key in keys])
        assert [outcome.value for outcome in done.outcomes] == [total] * len(keys)  # type: ignore[union-attr]
    assert len({keyspace.locate(key)["partition"] for key in keys}) > 1
    refused = keyspace.txn(conditions=[If(keys[0], value=b"9")], then=[Incr(keys[1])], otherwise=[Get(keys[1])])
    assert (refused.branch, refused.outcomes[0].data) == ("else", b"2")  # type: ignore[union-attr]
    both = keyspace.snapshot([*keys, "nobody/n"])
    assert [one.data for one in both[:-1]] == [b"2"] * len(keys)  # type: ignore[union-attr]
    assert both[-1].code == "key_not_found"  # type: ignore[union-attr]


@EACH
def test_what_is_exported_can_be_imported_into_another(
    make: Callable[..., SyncKeyspace], strategy: str, tmp_path: Path
) -> None:
    source, target = filled(make(strategy)), make(strategy, "other")
    exported = tmp_path / "items.ndjson"
    assert source.export(exported) == len(KEYS)
    assert target.import_file(exported) == len(KEYS)
    again = io.BytesIO()
    target.export(again)
    assert [json.loads(line)["key"] for line in again.getvalue().splitlines()] == sorted(KEYS)
    assert target.delete_range(prefix="u") == 50
    assert (target.count(), source.count()) == (50, len(KEYS))


@EACH
def test_keyspaces_see_nothing_of_each_other(
    client: SyncClient, make: Callable[..., SyncKeyspace], strategy: str
) -> None:
    one, other = make(strategy), make(strategy, "other")
    for keyspace in (one, other):
        keyspace.put("eu/same", keyspace.name.encode())
    client.put("eu/same", b"default")
    one.put("eu/mine", b"1")
    assert [keyspace.get("eu/same").data for keyspace in (one, other)] == [one.name.encode(), b"other"]
    assert client.get("eu/same").data == b"default"
    assert [item.key for item in other.scan()] == [b"eu/same"]
    assert (one.count(), other.count()) == (2, 1)
    assert b"eu/mine" not in [item.key for item in client.scan()]
    other.delete("eu/same")
    assert one.get("eu/same").data == one.name.encode()


@EACH
def test_one_that_is_made_again_begins_with_nothing_and_other_versions(
    cluster: Cluster, client: SyncClient, make: Callable[..., SyncKeyspace], strategy: str
) -> None:
    keyspace = make(strategy)
    path = f"/v1/keyspaces/{keyspace.name}/kv/eu/a"
    before = put_with_token(cluster, path)
    assert put_with_token(cluster, path) == before
    client.delete_keyspace(keyspace.name, confirm=keyspace.name)
    for call in (keyspace.describe, keyspace.count, lambda: keyspace.get("eu/a"), lambda: keyspace.put("eu/a", b"")):
        with pytest.raises(NotFound):
            call()  # type: ignore[operator]
    make(strategy)
    assert list(keyspace.scan()) == []
    # The outcome that was stored under this token is not this keyspace's.
    after = put_with_token(cluster, path)
    assert after != before
    assert [item.key for item in keyspace.scan()] == [b"eu/a"]
    with pytest.raises(PreconditionFailed):
        keyspace.put("eu/a", b"x", if_match=before)


def put_with_token(cluster: Cluster, path: str) -> str:
    """The version that a put with a token of its own gives."""
    answer = ask(f"{cluster.url}{path}", "PUT", b"v", {"Idempotency-Key": "once"})
    assert answer.status == 201
    return answer.headers["etag"].strip('"')


def test_the_same_one_may_be_asked_for_twice_and_another_not(
    client: SyncClient, make: Callable[..., SyncKeyspace]
) -> None:
    make("range")
    described = client.keyspace("of-range").describe()
    make("range")
    assert client.keyspace("of-range").describe() == described
    with pytest.raises(Conflict):
        make("hash", "of-range")
    with pytest.raises(Conflict):
        client.delete_keyspace("default", confirm="default")
    with pytest.raises(NotFound):
        client.delete_keyspace("nowhere", confirm="nowhere")
    assert [one.get("start") for one in described["placement"]] == [None, "b", "eu/010", "u", "up"]


def test_values_are_held_to_their_keyspaces_limits(make: Callable[..., SyncKeyspace]) -> None:
    keyspace = make("hash", default_ttl_s=3600, max_value_bytes=10)
    keyspace.put("a", b"v")
    keyspace.put("b", b"v", ttl_s=60)
    keyspace.txn(then=[Put("c", b"v"), Incr("d")])
    keyspace.batch([Put("e", b"v")])
    keyspace.import_([b'{"key":"f","value":"v"}\n'])
    left = {key: keyspace.get(key).ttl_s or 0 for key in "abcdef"}
    assert {key for key, ttl_s in left.items() if 3500 < ttl_s <= 3600} == set("acdef")
    assert 50 < left["b"] <= 60
    with pytest.raises(ValueTooLarge, match="'of-hash' has at most 10 bytes"):
        keyspace.put("a", b"x" * 11)
    with pytest.raises(ValueTooLarge):
        keyspace.txn(then=[Put("a", b"x" * 11)])


def test_tenants_are_given_the_least_loaded_partition_and_are_listed(make: Callable[..., SyncKeyspace]) -> None:
    keyspace = make("directory")
    names = [f"tenant-{number}" for number in range(8)]
    keyspace.batch([Put(f"{name}/a", b"v") for name in names])
    tenants = dict(keyspace.tenants())
    assert sorted(tenants) == sorted(name.encode() for name in names)
    assert set(Counter(tenants.values()).values()) == {2}
    for name in names:
        assert keyspace.locate(f"{name}/other")["partition"] == tenants[name.encode()]
    assert keyspace.tenant(names[0])["partition"] == tenants[names[0].encode()]
    with pytest.raises(NotFound):
        keyspace.tenant("nobody")
    with pytest.raises(KeyNotFound):
        keyspace.get("nobody/a")
    assert len(dict(keyspace.tenants())) == len(names)


def test_a_tenant_moves_with_its_keys_and_their_versions(make: Callable[..., SyncKeyspace]) -> None:
    keyspace = filled(make("directory"))
    versions = {item.key: item.etag for item in keyspace.scan()}
    before = keyspace.tenant("acme")["partition"]
    moving = keyspace.move_tenant("acme")
    assert moving["partition"] != before
    wait_until(lambda: keyspace.tenant("acme")["partition"] == moving["partition"])
    assert keyspace.locate("acme/000")["partition"] == moving["partition"]
    assert {item.key: item.etag for item in keyspace.scan()} == versions
    assert keyspace.count(prefix="acme/") == 25
    keyspace.put("acme/000", b"new", if_match=versions[b"acme/000"])
    wait_until(lambda: "transfer" not in keyspace.tenant("acme"))
    for wrong in (lambda: keyspace.move_tenant("acme", moving["partition"]), lambda: keyspace.move_tenant("acme", 1)):
        with pytest.raises((Conflict, BadParameter)):
            wrong()
    with pytest.raises(NotFound):
        keyspace.move_tenant("nobody")


def test_regions_are_kept_in_their_zones(cluster: Cluster, make: Callable[..., SyncKeyspace]) -> None:
    keyspace = filled(make("geo", replicas=2))
    zones = {one["id"]: one["zone"] for one in keyspace.describe()["placement"]}
    shown = {one["id"]: one for one in cluster.status()["partitions"] if one["keyspace"] == "of-geo"}
    assert shown.keys() == zones.keys()
    for pid, partition in shown.items():
        assert {ZONES[node] for node in partition["replicas"]} == {zones[pid]}
    for key, zone in (("eu/001", "a"), ("us/001", "b"), ("acme/001", "a")):
        located = keyspace.locate(key)
        assert zones[located["partition"]] == ZONES[located["leader"]] == zone


def test_a_reference_keyspace_has_a_copy_on_every_node(
    cluster: Cluster, client: SyncClient, make: Callable[..., SyncKeyspace]
) -> None:
    keyspace = make("hash", "reference", replicas="all", partitions=4)
    assert keyspace.describe()["replicas"] == "all"
    keyspace.put("a", b"v")

    def has_all() -> bool:
        return all(
            set(one["in_sync"]) == set(ZONES)
            for one in cluster.status()["partitions"]
            if one["keyspace"] == "reference"
        )

    wait_until(has_all)
    wait_until(lambda: keyspace.get("a", consistency="stale").data == b"v")
