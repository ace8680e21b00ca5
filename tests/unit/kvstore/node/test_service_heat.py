"""Who may ask a node for its heat, and for a point to cut a partition at."""

from __future__ import annotations

from collections.abc import AsyncIterator
from unittest.mock import Mock

import pytest

from kvstore.clock import SystemClock
from kvstore.messages import AskHeat, CopyReport, Envelope, Failed, FindSplit, GroupBy, Heat, HeatOf, SplitBy
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.memory import MemoryEngine

ASK = AskHeat([5, 99], GroupBy.KEY, 3)


@pytest.fixture
async def service() -> AsyncIterator[Service]:
    partitions = Partitions(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
    partitions.create_copies([5])
    shell = Shell(MemoryEngine(), partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=False)
    service.bind(shell)
    yield service
    shell._writer.close()


@pytest.mark.parametrize("role", ["gateway", "control", "admin"])
async def test_heat_is_told_of_the_copies_that_are_here(service: Service, role: str) -> None:
    connection = Mock(role=role, peer="g1")
    service.handle(connection, Envelope(7, 0, ASK))
    connection.answer.assert_called_once_with(7, Heat([HeatOf(CopyReport(5, 0, False, 0, 0))]))


async def test_other_nodes_are_not_told(service: Service) -> None:
    connection = Mock(role="node", peer="n2")
    service.handle(connection, Envelope(7, 0, ASK))
    connection.answer.assert_not_called()
    connection.close.assert_called_once()


async def test_control_asks_where_to_cut(service: Service) -> None:
    connection = Mock(role="control", peer="control")
    service.handle(connection, Envelope(7, 0, FindSplit(5, 1, SplitBy.LOAD)))
    call, answer, _ = connection.answer.call_args.args
    assert call == 7
    assert isinstance(answer, Failed)


async def test_nobody_else_asks_where_to_cut(service: Service) -> None:
    connection = Mock(role="gateway", peer="g1")
    service.handle(connection, Envelope(7, 0, FindSplit(5, 1, SplitBy.LOAD)))
    connection.answer.assert_not_called()
    connection.close.assert_called_once()
