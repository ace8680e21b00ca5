"""Keyspaces over HTTP: what control is asked, what it answers, and what each of them asks of its values."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceAnswer,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspaceRequest,
    MoveTenant,
    ResolveTenant,
    TenantMoving,
    TenantResolved,
)
from kvstore.errors import BadParameter, Conflict, NotFound
from kvstore.map_values import KeyspaceInfo, Tenant, Transfer, TransferState
from kvstore.messages import MapUpdate

JSON = {"Content-Type": "application/json"}
PATH = "/v1/keyspaces/other"


def tell(gateway: Any, keyspace: KeyspaceInfo, *tenants: Tenant, **of_entries: Any) -> None:
    """News of a keyspace: its partitions are placed and led, as those of `default` are."""
    entries = [
        msgspec.structs.replace(gateway.entry(pid, 1, gateway.nodes[pid % 2]), keyspace=keyspace.name, **of_entries)
        for pid in keyspace.pids
    ]
    for node in gateway.nodes:
        node.entries |= {entry.pid: entry for entry in entries}
    update = MapUpdate(gateway.router.map.map_ver + 1, [], entries, [keyspace], tenants=list(tenants))
    gateway.dispatcher.take(update)


def answer_with(gateway: Any, answer: KeyspaceAnswer | Exception) -> None:
    async def answered(_request: KeyspaceRequest) -> KeyspaceAnswer:
        if isinstance(answer, Exception):
            raise answer
        if isinstance(answer, KeyspaceCreated):
            tell(gateway, answer.keyspace)
        return answer

    gateway.control.of_keyspaces = answered


async def put(gateway: Any, body: Any, path: str = PATH) -> Any:
    return await gateway.ask("PUT", path, json.dumps(body).encode(), JSON)


RANGE = KeyspaceInfo("other", "range", (11, 12), 2, 1, 0, 1500, 10, (b"m",))
GEO = KeyspaceInfo(
    "other", "geo", (11, 12), 1, 1, zones=(("a", 1), ("b", 1)), regions=((b"eu", "a"),), default_zone="b"
)
DIRECTORY = KeyspaceInfo("other", "directory", (11, 12), 0, 1)


async def test_a_keyspace_that_is_made_is_described_with_201_and_one_that_is_there_with_200(gateway: Any) -> None:
    answer_with(gateway, KeyspaceCreated(RANGE, True))
    body = {
        "strategy": "range",
        "replicas": 2,
        "min_in_sync": 1.0,
        "default_ttl": 1.5,
        "max_value_bytes": 10,
        "splits": ["m", {"key_b64": "/w=="}],
    }
    made = await put(gateway, body)
    assert made.status == 201
    assert gateway.control.asked == [
        CreateKeyspace("other", "range", 64, 2, 1, default_ttl_ms=1500, max_value_bytes=10, bounds=(b"m", b"\xff"))
    ]
    described = json.loads(made.body)
    assert described == {
        "name": "other",
        "strategy": "range",
        "partitions": 2,
        "replicas": 2,
        "min_in_sync": 1,
        "max_value_bytes": 10,
        "default_ttl": 1.5,
        "placement": [{"id": 11, "leader": "n2", "end": "m"}, {"id": 12, "leader": "n1", "start": "m"}],
    }
    answer_with(gateway, KeyspaceCreated(RANGE, False))
    again = await put(gateway, {"strategy": "range"})
    assert (again.status, json.loads(again.body)) == (200, described)
    assert json.loads((await gateway.ask("GET", PATH)).body) == described
    listed = json.loads((await gateway.ask("GET", "/v1/keyspaces")).body)["keyspaces"]
    assert [one["name"] for one in listed] == ["default", "other"]
    assert "placement" not in listed[1]


async def test_ranges_without_splits_divide_all_keys_evenly(gateway: Any) -> None:
    answer_with(gateway, KeyspaceCreated(RANGE, True))
    await put(gateway, {"strategy": "range", "partitions": 4})
    assert gateway.control.asked[0].bounds == (b"\x40\x00", b"\x80\x00", b"\xc0\x00")
    await put(gateway, {"strategy": "range", "partitions": 1})
    assert gateway.control.asked[1].bounds == ()


async def test_regions_and_tenants_are_told_where_there_are_any(gateway: Any) -> None:
    tell(gateway, GEO)
    told = json.loads((await gateway.ask("GET", PATH)).body)
    assert (told["regions"], told["default_zone"]) == ({"eu": "a"}, "b")
    assert [one["zone"] for one in told["placement"]] == ["a", "b"]
    stale = Tenant("other", b"old", 1)
    tell(gateway, DIRECTORY, Tenant("other", b"acme", 12), stale)
    told = json.loads((await gateway.ask("GET", PATH)).body)
    assert (told["tenants"], told["replicas"]) == (1, "all")


async def test_geo_is_asked_for_by_its_regions(gateway: Any) -> None:
    answer_with(gateway, KeyspaceCreated(GEO, True))
    body = {"strategy": "geo", "partitions": 1, "replicas": 1, "regions": {"eu": "a"}, "default_zone": "b"}
    assert (await put(gateway, body)).status == 201
    assert gateway.control.asked == [CreateKeyspace("other", "geo", 1, 1, regions=((b"eu", "a"),), default_zone="b")]


async def test_replicas_all_means_a_copy_on_every_node(gateway: Any) -> None:
    answer_with(gateway, KeyspaceCreated(DIRECTORY, True))
    await put(gateway, {"strategy": "directory", "replicas": "all"})
    assert gateway.control.asked[0].replicas == 0


@pytest.mark.parametrize(
    ("body", "code", "named"),
    [
        ({}, "bad_body", "strategy"),
        ({"strategy": 1}, "bad_body", "strategy"),
        ({"strategy": "hash", "colour": 1}, "bad_body", "colour"),
        ({"strategy": "hash", "partitions": 0}, "bad_parameter", "partitions"),
        ({"strategy": "hash", "partitions": 1.5}, "bad_parameter", "partitions"),
        ({"strategy": "range", "partitions": 3, "splits": ["a"]}, "bad_parameter", "partitions"),
        ({"strategy": "hash", "replicas": "some"}, "bad_parameter", "replicas"),
        ({"strategy": "hash", "replicas": 0}, "bad_parameter", "replicas"),
        ({"strategy": "hash", "min_in_sync": 0}, "bad_parameter", "min_in_sync"),
        ({"strategy": "hash", "default_ttl": 0}, "bad_parameter", "default_ttl"),
        ({"strategy": "hash", "default_ttl": 1e9}, "bad_parameter", "default_ttl"),
        ({"strategy": "hash", "max_value_bytes": 2**21}, "bad_parameter", "max_value_bytes"),
        ({"strategy": "range", "splits": [""]}, "bad_parameter", "splits"),
        ({"strategy": "range", "splits": [{"key_b64": "*"}]}, "bad_parameter", "splits"),
        ({"strategy": "range", "splits": ["x" * 481]}, "bad_parameter", "splits"),
        ({"strategy": "geo", "regions": {"eu": 1}}, "bad_body", "regions"),
        ({"strategy": "geo", "default_zone": ""}, "bad_parameter", "default_zone"),
    ],
)
async def test_what_no_keyspace_could_have_is_refused_by_its_name(
    gateway: Any, body: Any, code: str, named: str
) -> None:
    answer = await put(gateway, body)
    assert (answer.status, answer.code) == (400, code)
    assert named in answer.detail
    assert gateway.control.asked == []


@pytest.mark.parametrize(
    ("error", "status"), [(Conflict("another"), 409), (BadParameter("default_zone: no node"), 400)]
)
async def test_what_control_refuses_is_told_as_it_says(gateway: Any, error: Exception, status: int) -> None:
    answer_with(gateway, error)
    answer = await put(gateway, {"strategy": "hash"})
    assert (answer.status, answer.detail) == (status, str(error))


async def test_a_keyspace_is_deleted_only_with_its_name_as_word(gateway: Any) -> None:
    tell(gateway, RANGE)
    for query in ("", "?confirm=default", "?confirm=true"):
        refused = await gateway.ask("DELETE", PATH + query)
        assert (refused.status, refused.code) == (400, "bad_parameter")
        assert "confirm" in refused.detail
    assert gateway.control.asked == []

    async def delete(_request: KeyspaceRequest) -> KeyspaceAnswer:
        tell(gateway, msgspec.structs.replace(RANGE, pids=(), bounds=(), layout=1))
        return KeyspaceDeleted()

    gateway.control.of_keyspaces = delete
    assert (await gateway.ask("DELETE", PATH + "?confirm=other")).status == 204
    assert gateway.control.asked == [DeleteKeyspace("other")]
    for path in (PATH, f"{PATH}/kv/a", f"{PATH}/kv", f"{PATH}/locate/a"):
        assert (await gateway.ask("GET", path)).code == "not_found"
    listed = json.loads((await gateway.ask("GET", "/v1/keyspaces")).body)["keyspaces"]
    assert [one["name"] for one in listed] == ["default"]


async def test_what_is_not_there_is_not_found_and_other_methods_are_refused(gateway: Any) -> None:
    assert (await gateway.ask("GET", PATH)).code == "not_found"
    assert (await gateway.ask("HEAD", PATH)).status == 404
    for method, path, allowed in (
        ("POST", PATH, "GET, HEAD, PUT, DELETE"),
        ("POST", "/v1/keyspaces", "GET, HEAD"),
        ("DELETE", f"{PATH}/directory", "GET, HEAD"),
        ("DELETE", f"{PATH}/directory/a", "GET, HEAD, PUT"),
    ):
        refused = await gateway.ask(method, path)
        assert (refused.status, refused.headers["allow"]) == (405, allowed)


# ---- directories ------------------------------------------------------------------------------------------------


async def test_tenants_are_listed_by_name_page_by_page(gateway: Any) -> None:
    names = [b"a", b"b\xff", b"c"]
    tell(gateway, DIRECTORY, *(Tenant("other", name, 11) for name in names))
    first = json.loads((await gateway.ask("GET", f"{PATH}/directory?limit=1")).body)
    assert first == {"tenants": [{"tenant": "a", "partition": 11}], "next_b64": "Yv8="}
    rest = json.loads((await gateway.ask("GET", f"{PATH}/directory?from=b%ff")).body)
    assert rest == {"tenants": [{"tenant_b64": "Yv8=", "partition": 11}, {"tenant": "c", "partition": 11}]}
    for query in ("limit=0", "limit=x", "limit=10001", "start=1", f"from={'x' * 481}"):
        assert (await gateway.ask("GET", f"{PATH}/directory?{query}")).code == "bad_parameter"
    assert (await gateway.ask("GET", "/v1/keyspaces/default/directory")).code == "conflict"


async def test_a_tenant_is_told_with_the_transfer_of_its_keys(gateway: Any) -> None:
    transfer = Transfer(7, 11, 12, TransferState.COPYING, tenant=b"acme")
    tell(gateway, DIRECTORY, Tenant("other", b"acme", 11), transfer=transfer)
    answer_with(gateway, TenantResolved(11))
    told = json.loads((await gateway.ask("GET", f"{PATH}/directory/acme")).body)
    assert told["transfer"] == {"id": 7, "from": 11, "to": 12, "state": "copying"}
    answer_with(gateway, TenantResolved(None))
    assert (await gateway.ask("GET", f"{PATH}/directory/nobody")).code == "not_found"
    assert gateway.control.asked == [ResolveTenant("other", b"acme"), ResolveTenant("other", b"nobody")]


async def test_a_tenant_is_moved_where_it_is_said_or_where_control_chooses(gateway: Any) -> None:
    tell(gateway, DIRECTORY)
    answer_with(gateway, TenantMoving(12, 7))
    moved = await gateway.ask("PUT", f"{PATH}/directory/a%20b", b'{"partition":12}', JSON)
    assert (moved.status, json.loads(moved.body)) == (202, {"tenant": "a b", "partition": 12, "transfer": 7})
    assert (await gateway.ask("PUT", f"{PATH}/directory/acme")).status == 202
    assert gateway.control.asked == [MoveTenant("other", b"a b", 12), MoveTenant("other", b"acme")]
    for body in (b'{"partition":0}', b'{"partition":1.5}'):
        refused = await gateway.ask("PUT", f"{PATH}/directory/acme", body, JSON)
        assert (refused.code, "partition" in refused.detail) == ("bad_parameter", True)
    assert (await gateway.ask("PUT", f"{PATH}/directory/a/b")).code == "bad_parameter"


async def test_a_new_tenant_is_given_a_partition_by_its_first_write_and_read_as_absent_before(gateway: Any) -> None:
    tell(gateway, DIRECTORY)
    answer_with(gateway, TenantResolved(None))
    assert (await gateway.ask("GET", f"{PATH}/kv/acme/1")).code == "key_not_found"
    stale = await gateway.ask("GET", f"{PATH}/kv/acme/1?consistency=stale")
    assert (stale.code, stale.headers["x-kv-lag-ms"]) == ("key_not_found", "0")
    got = await gateway.ask("POST", f"{PATH}/batch", b'{"ops":[{"op":"get","key":"acme/1"}]}')
    assert json.loads(got.body)["results"][0]["code"] == "key_not_found"
    assert (await gateway.ask("GET", f"{PATH}/locate/acme/1")).code == "not_found"
    assert {one.assign for one in gateway.control.asked} == {False}
    answer_with(gateway, TenantResolved(12))
    assert (await gateway.ask("PUT", f"{PATH}/kv/acme/1", b"v")).status == 201
    assert gateway.control.asked[-1] == ResolveTenant("other", b"acme", True)
    asked = len(gateway.control.asked)
    assert (await gateway.ask("GET", f"{PATH}/kv/acme/1")).body == b"v"
    assert len(gateway.control.asked) == asked
    assert gateway.nodes[0].asked[-1].pid == 12
    located = json.loads((await gateway.ask("GET", f"{PATH}/locate/acme/2")).body)
    assert (located["partition"], located["leader"]) == (12, "n1")


async def test_a_tenant_that_control_refuses_is_told_as_it_says(gateway: Any) -> None:
    tell(gateway, DIRECTORY)
    answer_with(gateway, NotFound("there is no keyspace 'other'"))
    assert (await gateway.ask("PUT", f"{PATH}/kv/acme/1", b"v")).code == "not_found"


# ---- what is asked of values ------------------------------------------------------------------------------------


def ends_of(gateway: Any) -> dict[bytes, int | None]:
    return {one.key: one.ttl_ms for node in gateway.nodes for one in node.asked}


async def test_values_end_as_their_keyspace_says_where_nothing_else_is_said(gateway: Any) -> None:
    tell(gateway, RANGE)
    await gateway.ask("PUT", f"{PATH}/kv/a", b"v")
    await gateway.ask("PUT", f"{PATH}/kv/b?ttl=9", b"v")
    await gateway.ask("POST", f"{PATH}/batch", b'{"ops":[{"op":"put","key":"c","value":"v"}]}')
    await gateway.ask("POST", f"{PATH}/import", b'{"key":"d","value":"v"}\n{"key":"z","value":"v","ttl":9}\n')
    await gateway.ask("PUT", "/v1/kv/e", b"v")
    assert ends_of(gateway) == {b"a": 1500, b"b": 9000, b"c": 1500, b"d": 1500, b"z": 9000, b"e": None}


async def test_values_beyond_the_limit_of_their_keyspace_are_refused_by_its_name(gateway: Any) -> None:
    tell(gateway, RANGE)
    large = b"x" * 11
    refused = await gateway.ask("PUT", f"{PATH}/kv/a", large)
    assert (refused.status, refused.code) == (413, "value_too_large")
    assert "'other' has at most 10 bytes" in refused.detail
    batch = json.dumps({"ops": [{"op": "put", "key": "a", "value": "x" * 11}, {"op": "get", "key": "a"}]}).encode()
    [one, _] = json.loads((await gateway.ask("POST", f"{PATH}/batch", batch)).body)["results"]
    assert (one["status"], one["code"]) == (413, "value_too_large")
    line = await gateway.ask("POST", f"{PATH}/import", b'{"key":"a","value":"%b"}\n' % large)
    assert (line.code, "'other' has at most 10 bytes" in line.detail) == ("bad_body", True)
    assert ends_of(gateway) == {}
    assert (await gateway.ask("PUT", "/v1/kv/a", large)).status == 201


@pytest.mark.parametrize("rule", [{"default_ttl_ms": 1500}, {"max_value_bytes": 10}])
async def test_the_short_way_leaves_a_keyspace_with_rules_to_the_long_one(gateway: Any, rule: dict[str, int]) -> None:
    default = gateway.router.map.keyspaces["default"]
    tell(gateway, msgspec.structs.replace(default, **rule))
    assert (await gateway.ask("PUT", "/v1/kv/a", b"v")).status == 201
    large = await gateway.ask("PUT", "/v1/kv/a", b"x" * 11)
    assert (large.status, ends_of(gateway)[b"a"]) == ((413, None) if "max_value_bytes" in rule else (204, 1500))
