"""What the service lets through to a transaction, and what it refuses first."""

from __future__ import annotations

from unittest.mock import AsyncMock, Mock

import pytest

from cluster.gateway.router import Router
from cluster.gateway.service import KvService
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding, TxnState, txn_id
from kvstore.errors import NotFound, ValueTooLarge
from kvstore.messages import OpKind, TxnName, TxnOp

VALUE_BYTES_MAX = 10
NAME = TxnName(1, b"t" * 16, 2)


@pytest.fixture
def transactions() -> AsyncMock:
    return AsyncMock()


@pytest.fixture
async def service(transactions: AsyncMock) -> KvService:
    router = Router(b"cluster1")
    return KvService(Mock(), router, transactions, max_value_bytes=VALUE_BYTES_MAX, batch_answer_bytes_max=1)


def put(size: int) -> tuple[TxnOp, ...]:
    return (TxnOp(0, OpKind.PUT, b"k", b"v" * size),)


@pytest.mark.parametrize("branch", ["then", "otherwise"])
async def test_a_value_beyond_the_limit_is_refused_in_either_branch(
    service: KvService, transactions: AsyncMock, branch: str
) -> None:
    branches = {"then": (), "otherwise": (), branch: put(VALUE_BYTES_MAX + 1)}
    with pytest.raises(ValueTooLarge):
        await service.transact(Transaction("default", (), **branches))
    transactions.transact.assert_not_called()


async def test_a_transaction_within_the_limits_is_carried_out(service: KvService, transactions: AsyncMock) -> None:
    asked = Transaction("default", (), put(VALUE_BYTES_MAX), ())
    transactions.transact.return_value = TxnOutcome("id", True, [])
    assert await service.transact(asked) == TxnOutcome("id", True, [])
    transactions.transact.assert_awaited_once_with(asked)


async def test_a_transaction_is_looked_up_by_its_id(service: KvService, transactions: AsyncMock) -> None:
    transactions.standing.return_value = TxnStanding(TxnState.PENDING)
    assert await service.transaction(txn_id(NAME)) == TxnStanding(TxnState.PENDING)
    transactions.standing.assert_awaited_once_with(NAME)


@pytest.mark.parametrize("text", ["", "1", "1-ff-1", "x-" + "0" * 32 + "-1", "1-" + "0" * 32 + "-0"])
async def test_an_id_that_can_be_none_is_not_found(service: KvService, transactions: AsyncMock, text: str) -> None:
    with pytest.raises(NotFound):
        await service.transaction(text)
    transactions.standing.assert_not_called()
