"""What a round trip of the RPC costs over a socket of this machine: one call at a time, and 32 at once."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

import pytest
import uvloop
from pytest_benchmark.fixture import BenchmarkFixture

from kvstore.messages import Envelope, Read, ReadOne, ReadResult, Welcome
from kvstore.rpc.client import Identity, dial
from kvstore.rpc.connection import Connection
from kvstore.rpc.server import Server

CLUSTER = b"cluster1"
TIMEOUT_S = 5.0
CALLS = 32
QUESTION, ANSWER = Read([ReadOne(1, 7, b"b100-000001")]), ReadResult(1, [b"v" * 100])


class Ends(NamedTuple):
    """Both ends of a connection, on one loop."""

    runner: asyncio.Runner
    connection: Connection


def answer(connection: Connection, envelope: Envelope) -> None:
    is_read = isinstance(envelope.body, Read)
    connection.answer(envelope.call, ANSWER if is_read else Welcome(CLUSTER, "n1", 1))


def ignore(_connection: Connection, _envelope: Envelope) -> None:
    raise AssertionError("the node asks nothing")


@pytest.fixture
def ends() -> Iterator[Ends]:
    server = Server(answer, cluster_id=lambda: None)

    async def connect() -> Connection:
        port = await server.listen("127.0.0.1", 0)
        return await dial(f"127.0.0.1:{port}", Identity(CLUSTER, "g", "gateway"), ignore, lambda: None)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        connection = runner.run(connect())
        yield Ends(runner, connection)
        connection.close()
        runner.run(server.close())


def test_a_call(benchmark: BenchmarkFixture, ends: Ends) -> None:
    loop = ends.runner.get_loop()
    assert benchmark(lambda: loop.run_until_complete(ends.connection.call(QUESTION, TIMEOUT_S))) == ANSWER


def test_32_calls_at_once(benchmark: BenchmarkFixture, ends: Ends) -> None:
    async def call_all() -> list[object]:
        return await asyncio.gather(*(ends.connection.call(QUESTION, TIMEOUT_S) for _ in range(CALLS)))

    assert benchmark(lambda: ends.runner.run(call_all())) == [ANSWER] * CALLS
