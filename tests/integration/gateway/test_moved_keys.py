"""Requests whose keys change their partition between two attempts: they go where the keys are, or end as unknown."""

from __future__ import annotations

import asyncio
from typing import Any

import msgspec
import pytest
from integration.gateway.test_keyspaces import PATH, RANGE, tell

from kvstore.map_values import Entry
from kvstore.messages import Envelope, Fault, MapUpdate, Read, Write
from kvstore.rpc.connection import Connection


class Move:
    """The key `n` belongs to partition 12, which node n1 leads, and then to 11, which n2 does; the nodes know of that
    before the gateway does."""

    def __init__(self, gateway: Any) -> None:
        self._gateway = gateway
        tell(gateway, RANGE)
        self.entries: list[Entry] = [
            msgspec.structs.replace(gateway.router.map.entries[pid], ver=2, layout=1) for pid in RANGE.pids
        ]

    def happen(self) -> None:
        for node in self._gateway.nodes:
            node.entries |= {entry.pid: entry for entry in self.entries}

    def tell(self) -> None:
        moved = msgspec.structs.replace(RANGE, layout=1, bounds=(b"o",))
        self._gateway.dispatcher.take(MapUpdate(self._gateway.router.map.map_ver + 1, [], self.entries, [moved]))

    @property
    def asked(self) -> list[tuple[int, int, int, bool]]:
        """The writes that the two nodes were asked for."""
        return [(one.pid, one.ver, one.number, one.again) for node in self._gateway.nodes for one in node.asked]


@pytest.fixture
async def move(start_gateway: Any) -> Any:
    gateway = await start_gateway(request_timeout_s=2.0)
    return gateway, Move(gateway)


async def sent(gateway: Any, method: str, headers: str = "") -> Any:
    client = await gateway.connect()
    body = "Content-Length: 1\r\n\r\nv" if method == "PUT" else "\r\n"
    client.send(f"{method} {PATH}/kv/n HTTP/1.1\r\nHost: test\r\n{headers}{body}".encode())
    return client


@pytest.mark.parametrize(("method", "status"), [("PUT", 201), ("GET", 404), ("DELETE", 204)])
async def test_what_was_refused_waits_for_news_and_goes_where_the_key_is(move: Any, method: str, status: int) -> None:
    gateway, moved = move
    moved.happen()
    client = await sent(gateway, method)
    await gateway.until(lambda: gateway.router.map.entries[12].layout == 1)
    await asyncio.sleep(0.02)
    before = [node.writes + node.reads for node in gateway.nodes]
    assert before == [1, 0]
    moved.tell()
    assert (await client.answer()).status == status
    assert [node.writes + node.reads for node in gateway.nodes] == [1, 1]
    if method != "GET":
        # A number of the lane that the new partition has.
        assert moved.asked == [(12, 1, 1, False), (11, 2, 1, False)]


def lose_first_write(gateway: Any, then: Any) -> None:
    """The node carries the first write out, and its connection ends before the answer."""
    node = gateway.nodes[0]
    answer = node._answer

    def cut(connection: Connection, envelope: Envelope) -> None:
        node._answer = answer
        if isinstance(envelope.body, Write | Read):
            then()
            connection.close("cut")
        else:
            answer(connection, envelope)

    node._answer = cut


async def test_a_write_that_may_have_been_carried_out_is_not_sent_to_another_partition(move: Any) -> None:
    gateway, moved = move

    def happen() -> None:
        moved.happen()
        moved.tell()

    lose_first_write(gateway, happen)
    answer = await (await sent(gateway, "PUT")).answer()
    assert (answer.status, answer.code) == (504, "outcome_unknown")
    assert moved.asked == [(12, 1, 1, False)]


async def test_a_write_with_a_token_goes_after_its_key_and_is_told_as_sent_again(move: Any) -> None:
    gateway, moved = move

    def happen() -> None:
        moved.happen()
        moved.tell()

    lose_first_write(gateway, happen)
    answer = await (await sent(gateway, "PUT", "Idempotency-Key: t\r\n")).answer()
    assert answer.status == 201
    assert moved.asked == [(12, 1, 0, False), (11, 2, 0, True)]


async def test_a_read_that_may_have_been_lost_goes_after_its_key(move: Any) -> None:
    gateway, moved = move

    def happen() -> None:
        moved.happen()
        moved.tell()

    lose_first_write(gateway, happen)
    assert (await (await sent(gateway, "GET")).answer()).status == 404


async def test_news_that_do_not_come_leave_a_request_refused(move: Any) -> None:
    gateway, moved = move
    moved.happen()
    for path in ("", "?consistency=stale"):
        gateway.nodes[0].stale_fault = Fault("wrong_leader", "moved", moved.entries[1])
        gateway.nodes[1].stale_fault = gateway.nodes[0].stale_fault
        answer = await gateway.ask("GET", f"{PATH}/kv/n{path}")
        assert (answer.status, answer.code) == (503, "no_leader")
        assert "news" in answer.detail
