"""The client of etcd against members whose every answer is scripted."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import web

from cluster.control.map_store import StoreRefused, StoreUnavailable
from cluster.control.map_store.etcd_client import (
    Compare,
    EtcdClient,
    Operation,
    Put,
    Range,
    Row,
    Transaction,
    endpoints_of,
)
from kvstore.errors import OperatorError

HEADER = {"cluster_id": "10144879847569953045", "member_id": "1", "revision": "7", "raft_term": "2"}
REFUSED = "127.0.0.1:1"


class Member:
    """Answers everything with `status` and `answer`, and remembers what it was asked."""

    def __init__(self) -> None:
        self.status = 200
        self.answer: dict[str, Any] = {"header": HEADER}
        self.asked: list[tuple[str, Any]] = []

    async def handle(self, request: web.Request) -> web.Response:
        self.asked.append((request.path, await request.json()))
        return web.json_response(self.answer, status=self.status)


StartMember = Callable[[], Awaitable[tuple[Member, str]]]
Connect = Callable[..., EtcdClient]


@pytest.fixture
async def closing() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as stack:
        yield stack


@pytest.fixture
def start_member(closing: AsyncExitStack) -> StartMember:
    async def start() -> tuple[Member, str]:
        member = Member()
        application = web.Application()
        application.router.add_post("/{path:.*}", member.handle)
        runner = web.AppRunner(application, access_log=None)
        await runner.setup()
        closing.push_async_callback(runner.cleanup)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return member, "{}:{}".format(*runner.addresses[0][:2])

    return start


@pytest.fixture
def connect(closing: AsyncExitStack) -> Connect:
    def make(*endpoints: str) -> EtcdClient:
        client = EtcdClient(endpoints)
        closing.push_async_callback(client.close)
        return client

    return make


WRITE = Transaction([Operation(request_put=Put(b"key", b"\x00\xff"))], [Compare(b"key", 3)])


async def test_numbers_come_as_strings_and_what_is_empty_is_left_out(
    start_member: StartMember, connect: Connect
) -> None:
    member, endpoint = await start_member()
    member.answer |= {"kvs": [{"key": "aw==", "mod_revision": "9007199254740993"}], "count": "1"}
    answer = await connect(endpoint).range(Range(b"k", b"l", 5))
    assert answer.header.revision == 7
    assert answer.kvs == [Row(b"k", 9007199254740993, b"")]
    assert member.asked == [("/v3/kv/range", {"key": "aw==", "range_end": "bA==", "min_mod_revision": 5})]


async def test_a_transaction_that_fails_its_comparison_has_not_succeeded(
    start_member: StartMember, connect: Connect
) -> None:
    member, endpoint = await start_member()
    member.answer |= {"responses": [{"response_range": {"kvs": [{"key": "aw==", "mod_revision": "2"}]}}]}
    answer = await connect(endpoint).transact(WRITE)
    assert not answer.succeeded
    assert answer.responses[0].response_range.kvs == [Row(b"k", 2)]
    (_, asked) = member.asked[0]
    assert asked["compare"] == [{"key": "a2V5", "mod_revision": 3, "target": "MOD", "result": "EQUAL"}]
    assert asked["success"] == [{"request_put": {"key": "a2V5", "value": "AP8="}}]


async def test_a_lease_that_has_ended_is_known_by_an_answer_without_time(
    start_member: StartMember, connect: Connect
) -> None:
    member, endpoint = await start_member()
    client = connect(endpoint)
    member.answer = {"result": {"header": HEADER, "ID": "5", "TTL": "4"}}
    assert await client.keep_alive(5)
    member.answer = {"result": {"header": HEADER, "ID": "5"}}
    assert not await client.keep_alive(5)


async def test_a_member_that_fails_gives_way_to_the_next_and_is_not_asked_again(
    start_member: StartMember, connect: Connect
) -> None:
    (ill, first), (well, second) = await start_member(), await start_member()
    ill.status = 503
    client = connect(REFUSED, first, second)
    for _ in range(3):
        await client.range(Range(b"k"))
    assert (len(ill.asked), len(well.asked)) == (1, 3)


async def test_a_transaction_is_sent_to_another_member_only_if_it_never_left(
    start_member: StartMember, connect: Connect
) -> None:
    (ill, first), (well, second) = await start_member(), await start_member()
    ill.status, ill.answer = 503, {"message": "etcdserver: request timed out"}
    client = connect(REFUSED, first, second)
    with pytest.raises(StoreUnavailable, match="request timed out"):
        await client.transact(WRITE)
    assert (len(ill.asked), len(well.asked)) == (1, 0)
    await client.transact(WRITE)
    assert (len(ill.asked), len(well.asked)) == (1, 1)


@pytest.mark.parametrize("status", [400, 404])
async def test_what_etcd_refuses_is_not_asked_again(start_member: StartMember, connect: Connect, status: int) -> None:
    (member, first), (other, second) = await start_member(), await start_member()
    member.status, member.answer = status, {"message": "etcdserver: request is too large"}
    with pytest.raises(StoreRefused, match="request is too large"):
        await connect(first, second).transact(WRITE)
    assert not other.asked


async def test_what_is_no_etcd_is_unavailable(start_member: StartMember, connect: Connect) -> None:
    member, endpoint = await start_member()
    member.answer = {"hello": json.dumps("world")}
    with pytest.raises(StoreUnavailable):
        await connect(endpoint).range(Range(b"k"))


async def test_members_of_two_clusters_are_an_operators_mistake(start_member: StartMember, connect: Connect) -> None:
    (member, first), (other, second) = await start_member(), await start_member()
    other.answer = {"header": HEADER | {"cluster_id": "2"}}
    client = connect(first, second)
    await client.range(Range(b"k"))
    member.status = 503
    with pytest.raises(OperatorError, match="another etcd cluster"):
        await client.range(Range(b"k"))


def test_the_url_names_the_members() -> None:
    assert endpoints_of("etcd://a:2379,127.0.0.1:1,[::1]:2") == ("a:2379", "127.0.0.1:1", "[::1]:2")


@pytest.mark.parametrize(
    "url",
    [
        *("", "etcd", "http://a:1", "etcd://", "etcd://a", "etcd://a:0", "etcd://a:x", "etcd://a:65536"),
        *("etcd://a:1,", "etcd://a:1/b", "etcd://u@a:1", "etcd://a:1 ,b:2"),
    ],
)
def test_what_is_no_such_url_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        endpoints_of(url)
