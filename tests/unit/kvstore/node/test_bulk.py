"""Connections for data: dialled when there is something to ask, closed when not, and used for nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from unittest.mock import Mock

import pytest

from kvstore.clock import SystemClock
from kvstore.codec import FORMAT
from kvstore.effects import Send
from kvstore.map_values import Rid
from kvstore.messages import (
    Append,
    Body,
    Chunk,
    Envelope,
    Hello,
    KeysFound,
    KeysPiece,
    PackedChunk,
    Ping,
    PullChunk,
    PullKeys,
    SeekKeys,
    Welcome,
)
from kvstore.node.bulk import IDLE_S, BulkAnswers, BulkLinks
from kvstore.node.metrics import NodeMetrics
from kvstore.node.packing import Packer
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.rpc.client import Identity
from kvstore.rpc.connection import Connection
from kvstore.rpc.server import Server
from kvstore.storage.memory import MemoryEngine

CLUSTER = b"cluster1"
COPY = Rid("n2", b"s" * 16)
FIRST, SECOND = PullChunk(1, COPY, 1, b""), PullChunk(1, COPY, 1, b"\x00k")
PLAIN = Chunk(1, COPY, 1, b"", b"\x00k", 7, [(b"\x00k", b"row")], False, 5)
LOOSE = Chunk(1, COPY, 1, b"", b"\x00k", 7, [(b"\x00k", bytes(100_000))], False, 5)
PACKED = Packer().pack(LOOSE, LOOSE.size_bytes)


class Asked:
    """A node that is asked for data."""

    def __init__(self) -> None:
        self.hellos: list[Hello] = []
        self.pulls: list[Body] = []
        self.server = Server(self._handle, cluster_id=lambda: None)
        self.link = Mock(node_id="n1")

    async def listen(self) -> None:
        self.link.address = f"127.0.0.1:{await self.server.listen('127.0.0.1', 0)}"

    def _handle(self, connection: Connection, envelope: Envelope) -> None:
        if isinstance(envelope.body, Hello):
            self.hellos.append(envelope.body)
            connection.role = envelope.body.role
            connection.answer(envelope.call, Welcome(CLUSTER, "n1", 1))
        else:
            self.pulls.append(envelope.body)

    def say(self, body: Body) -> None:
        (connection,) = self.server.connections
        connection.cast(body)


class Asking:
    """The links of a node that is filled, and what came on them."""

    def __init__(self) -> None:
        self.taken: list[tuple[str, Chunk]] = []
        identity = Identity(CLUSTER, "n2", "bulk")
        self.links = BulkLinks(lambda: identity, lambda node, chunk: self.taken.append((node, chunk)))

    def close_idle(self, seconds: float) -> None:
        self.links.close_idle(asyncio.get_running_loop().time() + seconds)


async def until(holds: Callable[[], object]) -> None:
    for _ in range(1000):
        if holds():
            return
        await asyncio.sleep(0.005)
    raise AssertionError("it never came to hold")


@pytest.fixture
async def asked() -> AsyncIterator[Asked]:
    asked = Asked()
    await asked.listen()
    yield asked
    await asked.server.close()


@pytest.fixture
async def asking() -> AsyncIterator[Asking]:
    asking = Asking()
    yield asking
    await asking.links.close()


# ---- where it is asked ----------------------------------------------------------------------------------------------


async def test_the_first_question_dials_and_is_asked_when_there_is_a_connection(asked: Asked, asking: Asking) -> None:
    await asyncio.sleep(0.02)
    assert not asked.hellos
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls == [FIRST])
    assert asked.hellos == [Hello(CLUSTER, "n2", "bulk", FORMAT)]
    asking.links.ask(asked.link, SECOND)
    await until(lambda: asked.pulls == [FIRST, SECOND])
    assert len(asked.hellos) == 1


async def test_of_questions_that_wait_for_a_connection_only_the_last_is_asked(asked: Asked, asking: Asking) -> None:
    asking.links.ask(asked.link, FIRST)
    asking.links.ask(asked.link, SECOND)
    await until(lambda: asked.pulls)
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls == [SECOND, FIRST])


async def test_chunks_are_taken_as_they_were_before_they_were_packed(asked: Asked, asking: Asking) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    asked.say(PLAIN)
    asked.say(PACKED)
    await until(lambda: asking.taken == [("n1", PLAIN), ("n1", LOOSE)])


@pytest.mark.parametrize("body", [PackedChunk(b"no frame"), Ping(1, []), Append(1, COPY, 1, 0, 0, 0, []), FIRST])
async def test_what_is_no_chunk_ends_the_connection_and_the_next_question_goes_over_another(
    asked: Asked, asking: Asking, body: Body
) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    asked.say(body)
    await until(lambda: len(asked.hellos) == 2)
    assert asking.taken == []
    asking.links.ask(asked.link, SECOND)
    await until(lambda: asked.pulls == [FIRST, SECOND])


async def test_a_question_whose_connection_was_lost_is_left_to_who_asks_again(asked: Asked, asking: Asking) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    for connection in list(asked.server.connections):
        connection.close("cut by the test")
    await until(lambda: len(asked.hellos) == 2)
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls == [FIRST, FIRST])


async def test_a_connection_that_is_not_used_is_closed_and_the_next_question_dials(
    asked: Asked, asking: Asking
) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    asking.close_idle(IDLE_S / 2)
    await asyncio.sleep(0.02)
    assert len(asked.server.connections) == 1
    asking.close_idle(IDLE_S)
    await until(lambda: not asked.server.connections)
    await asyncio.sleep(0.2)
    assert len(asked.hellos) == 1
    asking.links.ask(asked.link, SECOND)
    await until(lambda: asked.pulls == [FIRST, SECOND])


async def test_a_chunk_that_comes_is_use_of_a_connection(asked: Asked, asking: Asking) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    idle_at_s = asyncio.get_running_loop().time() + IDLE_S
    await asyncio.sleep(0.02)
    asked.say(PLAIN)
    await until(lambda: asking.taken)
    asking.links.close_idle(idle_at_s)
    asking.links.ask(asked.link, SECOND)
    await until(lambda: asked.pulls == [FIRST, SECOND])
    assert len(asked.hellos) == 1


async def test_a_peer_that_is_forgotten_is_dialled_no_more(asked: Asked, asking: Asking) -> None:
    asking.links.ask(asked.link, FIRST)
    await until(lambda: asked.pulls)
    asking.links.forget("n1")
    asking.links.forget("never known")
    await until(lambda: not asked.server.connections)
    await asyncio.sleep(0.2)
    assert len(asked.hellos) == 1


# ---- where it is answered -------------------------------------------------------------------------------------------


def connection(peer: str = "n2", role: str = "bulk") -> Mock:
    return Mock(peer=peer, role=role)


def test_a_chunk_goes_back_to_where_its_node_asked_last() -> None:
    sent = Mock()
    answers, former, newer, other = BulkAnswers(sent), connection(), connection(), connection("n3")
    for one in (former, other, newer):
        answers.asked(one)
    answers.answer("n2", PLAIN)
    answers.closed(former)
    answers.answer("n2", LOOSE)
    assert [call.args[0] for call in newer.cast.call_args_list] == [PLAIN, PACKED]
    assert not former.cast.called
    assert not other.cast.called
    assert isinstance(PACKED, PackedChunk)
    assert [call.args for call in sent.call_args_list] == [
        (PLAIN.size_bytes, PLAIN.size_bytes),
        (LOOSE.size_bytes, len(PACKED.packed)),
    ]


def test_a_chunk_for_a_connection_that_is_gone_or_full_is_lost() -> None:
    sent = Mock()
    answers, full = BulkAnswers(sent), connection()
    full.cast.return_value = False
    answers.answer("n2", PLAIN)
    answers.asked(full)
    answers.answer("n2", PLAIN)
    answers.closed(full)
    answers.closed(full)
    answers.answer("n2", PLAIN)
    assert full.cast.call_count == 1
    assert not sent.called


# ---- between service and shell --------------------------------------------------------------------------------------


class Heard(Partitions):
    """Notes what it is given."""

    def __init__(self) -> None:
        super().__init__(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
        self.heard: list[tuple[str, Body]] = []
        self.transfers.handle = lambda node, news: self.heard.append((node, news))  # type: ignore[method-assign]

    def handle(self, node: str, message: Body, now: object) -> list[Send]:  # type: ignore[override]
        self.heard.append((node, message))
        return []


@pytest.fixture
async def node() -> AsyncIterator[tuple[Heard, Shell, Service]]:
    heard = Heard()
    shell = Shell(MemoryEngine(), heard, SystemClock(), NodeMetrics(heard), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=False)
    service.bind(shell)
    yield heard, shell, service
    shell._writer.close()


APPEND = Append(1, COPY, 1, 0, 0, 0, [])
PULL = PullKeys(1, 1, b"", -1, False, False, 0)
PIECE = KeysPiece(1, 1, b"", -1, False, b"\x00k", 3, False, 0, [(b"\x00k", b"row"), (b"\x00l", None)])


@pytest.mark.parametrize(
    ("role", "body", "is_heard"),
    [
        ("bulk", FIRST, True),
        ("bulk", PULL, True),
        ("bulk", PIECE, False),
        ("bulk", SeekKeys(1, 1), False),
        ("node", PULL, False),
        ("node", SeekKeys(1, 1), True),
        ("node", KeysFound(1, 1), True),
        ("gateway", SeekKeys(1, 1), False),
        ("bulk", APPEND, False),
        ("bulk", Ping(1, []), False),
        ("bulk", PLAIN, False),
        ("bulk", PACKED, False),
        ("node", FIRST, False),
        ("node", PLAIN, False),
        ("node", APPEND, True),
        ("node", Ping(1, []), True),
        ("", APPEND, True),
        ("", PLAIN, False),
        ("gateway", FIRST, False),
        ("gateway", APPEND, False),
        ("gateway", Ping(1, []), False),
    ],
)
async def test_a_node_says_on_each_connection_what_belongs_there(
    node: tuple[Heard, Shell, Service], role: str, body: Body, is_heard: bool
) -> None:
    heard, _, service = node
    said = connection("n2", role)
    service.handle(said, Envelope(0, 0, body))
    assert heard.heard == ([("n2", body)] if is_heard else [])
    assert said.close.called is not is_heard


async def test_data_is_asked_for_and_sent_beside_the_link_of_replication(
    node: tuple[Heard, Shell, Service], asked: Asked
) -> None:
    _heard, shell, service = node
    shell.partitions.state = NodeState("n1", CLUSTER, 1, 1)
    shell.peers["n2"] = asked.link
    asked.link.node_id = "n1"
    learner = connection("n2")
    service.handle(learner, Envelope(0, 0, FIRST))
    shell.perform([Send("n2", PLAIN), Send("n2", APPEND), Send("n2", SECOND), Send("unknown", SECOND)])
    await until(lambda: asked.pulls == [SECOND])
    assert [call.args[0] for call in learner.cast.call_args_list] == [PLAIN]
    assert [call.args[0] for call in asked.link.cast.call_args_list] == [APPEND]
    assert b"kvstore_node_chunk_bytes_total 5.0" in shell.metrics.text()
    service.closed(learner)
    shell.perform([Send("n2", PLAIN)])
    assert learner.cast.call_count == 1
    service.handle(learner, Envelope(0, 0, PULL))
    shell.perform([Send("n2", PIECE), Send("n2", PULL)])
    await until(lambda: asked.pulls == [SECOND, PULL])
    assert learner.cast.call_args.args[0] == PIECE
    assert b"kvstore_node_chunk_bytes_total 12.0" in shell.metrics.text()
    await shell._bulk_links.close()
