"""Whose hello a node takes: one that is well formed, once, in a role that there is."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest

from kvstore.clock import SystemClock
from kvstore.codec import FORMAT, decode_frame, encode_frame
from kvstore.messages import Envelope, Failed, Frame, Hello, Welcome
from kvstore.node import shell as shell_module
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.memory import MemoryEngine

CLUSTER = b"cluster1"


async def new_service(cluster_id: bytes) -> Service:
    partitions = Partitions(NodeState("n1", cluster_id, 1, 1), lambda: bytes(16), 1 << 20)
    shell = Shell(MemoryEngine(), partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=not cluster_id)
    service.bind(shell)
    return service


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    service = await new_service(CLUSTER)
    yield service
    service.shell._writer.close()


@pytest.fixture
async def new(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Service]:
    """Of a node that belongs to no cluster yet. Its turns end no process, whatever they break on."""
    monkeypatch.setattr(shell_module, "end_process", Mock())
    service = await new_service(b"")
    yield service
    service.shell._writer.close()


def greet(service: Service, hello: Hello, connection: Mock | None = None) -> Mock:
    connection = connection or Mock(role="", peer="")
    service.handle(connection, Envelope(7, 0, hello))
    return connection


def assert_refused(connection: Mock) -> None:
    ((_, answer, _), _) = connection.answer.call_args
    assert isinstance(answer, Failed)
    assert (connection.role, connection.peer) == ("", "")


@pytest.mark.parametrize("role", ["gateway", "node", "bulk", "admin"])
async def test_a_member_of_the_cluster_is_welcome_in_each_role(service: Service, role: str) -> None:
    connection = greet(service, Hello(CLUSTER, "x", role, FORMAT))
    ((_, answer, _), _) = connection.answer.call_args
    assert isinstance(answer, Welcome)
    assert (connection.role, connection.peer) == (role, "x")


@pytest.mark.parametrize(("sender", "role"), [("n2", ""), ("n2", "worker"), ("n2", "Node"), ("", "node"), ("", "")])
async def test_who_does_not_say_who_it_is_is_refused(service: Service, sender: str, role: str) -> None:
    assert_refused(greet(service, Hello(CLUSTER, sender, role, FORMAT)))


async def test_the_highest_boot_that_is_told_can_be_saved(new: Service) -> None:
    hello = Hello(CLUSTER, "control", "control", FORMAT, 2**62 - 1)
    decode_frame(encode_frame(Frame(FORMAT, CLUSTER, 0, [Envelope(7, 0, hello)])))
    greet(new, hello)
    await asyncio.sleep(0)
    assert new.shell.partitions.state.boot == 2**62
    assert not new.shell.partitions.needs_batch


@pytest.mark.parametrize("cluster_id", [b"", b"c", bytes(9)])
async def test_a_cluster_that_there_cannot_be_is_refused_and_not_joined(new: Service, cluster_id: bytes) -> None:
    assert_refused(greet(new, Hello(cluster_id, "control", "control", FORMAT)))
    assert new.shell.partitions.state == NodeState("n1", b"", 1, 1)


async def test_who_says_hello_again_is_cut_off_and_stays_who_it_was(service: Service) -> None:
    connection = greet(service, Hello(CLUSTER, "n2", "bulk", FORMAT))
    greet(service, Hello(CLUSTER, "n3", "node", FORMAT), connection)
    assert (connection.peer, connection.role) == ("n2", "bulk")
    connection.close.assert_called_once()
    assert connection.answer.call_count == 1
