"""A coordinator that asks for decisions is answered, whoever leads the primary."""

from __future__ import annotations

from unittest.mock import Mock

import pytest

from kvstore.clock import SystemClock
from kvstore.messages import Envelope, InDoubt, Resolved, ResolveTxns, TxnName, TxnsResolved
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.memory import MemoryEngine

NAME = TxnName(1, b"t" * 32, 1)
ASK = InDoubt(NAME, 2, 1, 9, False)


@pytest.mark.parametrize("outcomes", [[], [Resolved(NAME, 2, 1, 9, True, True)]])
async def test_a_coordinators_question_is_answered_where_there_is_nothing_to_tell_too(
    outcomes: list[Resolved],
) -> None:
    partitions = Partitions(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
    partitions.doubts = Mock(are_waiting=False, decisions=lambda asks, view, now: outcomes if asks == [ASK] else None)
    shell = Shell(MemoryEngine(), partitions, SystemClock(), NodeMetrics(partitions), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=False)
    service.bind(shell)
    connection = Mock(role="gateway", peer="gateway")
    service.handle(connection, Envelope(7, 0, ResolveTxns([ASK])))
    connection.answer.assert_called_once_with(7, TxnsResolved(outcomes))
    shell._writer.close()
