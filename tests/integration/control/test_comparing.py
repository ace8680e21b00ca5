"""Control has a leader compare the copy that a move brings, over a real socket; what it says becomes an event."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from cluster.control.events import Compare, Compared, Connected, Event
from cluster.control.node_link import NodeLink
from kvstore.map_values import Rid
from kvstore.messages import Body, DifferentKey, Envelope, Failed, Fault, Hello, Verified, Verify, Welcome
from kvstore.rpc.client import Identity
from kvstore.rpc.connection import Connection
from kvstore.rpc.server import Server

CLUSTER = b"\x01" * 8
MOVE, PID, VER, EPOCH, SEQ = 7, 3, 5, 2, 40
LEARNER = Rid("n2", b"n2".ljust(16, b"."))


def verified(state: str, epoch: int = EPOCH, **fields: object) -> Verified:
    return Verified(PID, epoch, SEQ, state, **fields)  # type: ignore[arg-type]


@asynccontextmanager
async def leader(answers: list[Body | None]) -> AsyncIterator[tuple[NodeLink, asyncio.Queue[Event], list[Verify]]]:
    """A node that answers questions in that order, None by hanging up; what control's link makes of it."""
    asked: list[Verify] = []

    def received(connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if isinstance(body, Hello):
            connection.role = body.role
            connection.answer(envelope.call, Welcome(body.cluster_id, "n1", 1))
        elif isinstance(body, Verify):
            asked.append(body)
            answer = answers.pop(0)
            if answer is None:
                connection.close()
            else:
                connection.answer(envelope.call, answer)

    server = Server(received, cluster_id=lambda: None)
    port = await server.listen("127.0.0.1", 0)
    events: asyncio.Queue[Event] = asyncio.Queue()
    identity = Identity(CLUSTER, "g1", "control")
    link = NodeLink("n1", f"127.0.0.1:{port}", identity, lambda: 0, lambda: 1, events.put_nowait)
    try:
        assert isinstance(await events.get(), Connected)
        yield link, events, asked
    finally:
        await server.close()
        await link.close()
        # What was aborted closes its socket in the next turn of the loop.
        await asyncio.sleep(0)


async def compared(answers: list[Body | None], connection: int = 1) -> tuple[Compared, list[Verify]]:
    async with leader(answers) as (link, events, asked):
        link.compare(Compare("n1", connection, MOVE, PID, VER, LEARNER, EPOCH))
        async with asyncio.timeout(30):
            while not isinstance(event := await events.get(), Compared):
                pass
        return event, asked


async def test_a_leader_is_asked_under_one_name_until_it_has_compared() -> None:
    event, asked = await compared([verified("running"), verified("running"), verified("clean")])
    assert event == Compared(MOVE, PID, EPOCH)
    assert len(asked) == 3
    assert asked[0] == asked[1] == asked[2] == Verify(PID, VER, MOVE.to_bytes(16, "big"), [LEARNER])


async def test_differences_are_named_by_key_or_by_the_part_of_the_state() -> None:
    key = DifferentKey(b"k1", [("n1", 2, 9), ("n2", 0, 0)])
    event, _ = await compared([verified("different", keys=[key], parts=["keys"])])
    assert event.differences == ("key b'k1'",)
    event, _ = await compared([verified("different", parts=["expiries"])])
    assert event.differences == ("expiries",)
    event, _ = await compared([verified("different")])
    assert event.differences


@pytest.mark.parametrize(
    "answer",
    [
        verified("unfinished", detail="n2 is not heard of"),
        verified("clean", epoch=EPOCH + 1),
        Failed(Fault("no_leader", "another node leads")),
        None,
    ],
    ids=["unfinished", "in another epoch", "not the leader", "gone"],
)
async def test_nothing_is_known_where_a_leader_has_not_compared_in_that_epoch(answer: Body | None) -> None:
    event, _ = await compared([answer])
    assert event.failed
    assert not event.differences


async def test_a_connection_that_is_another_by_now_is_not_asked() -> None:
    event, asked = await compared([], connection=0)
    assert event.failed
    assert not asked
