"""What a keyspace asks of its values, in each way of writing them."""

from __future__ import annotations

import pytest

from cluster.gateway.operations import Change
from cluster.gateway.value_rules import ValueRules, rules_of
from kvstore.errors import ValueTooLarge
from kvstore.map_values import KeyspaceInfo
from kvstore.messages import OpKind, TxnOp

PUT = Change("k", b"a", b"12345")


def keyspace(default_ttl_ms: int = 0, max_value_bytes: int = 0) -> KeyspaceInfo:
    return KeyspaceInfo("k", "hash", (1,), 1, 1, 0, default_ttl_ms, max_value_bytes)


def test_a_keyspace_without_rules_has_the_gateways() -> None:
    assert rules_of(keyspace(), 9) == rules_of(None, 9) == ValueRules(9)
    assert rules_of(keyspace(), 9).applied(PUT) is PUT


@pytest.mark.parametrize(("own", "limit", "whose"), [(4, 4, "k"), (9, 9, ""), (100, 9, "")])
def test_the_smaller_limit_counts_and_is_told_as_whose_it_is(own: int, limit: int, whose: str) -> None:
    rules = rules_of(keyspace(max_value_bytes=own), 9)
    assert (rules.max_value_bytes, rules.keyspace) == (limit, whose)
    rules.check(b"x" * limit)
    with pytest.raises(ValueTooLarge, match=f"{'keyspace .k.' if whose else 'a value'} has at most {limit} bytes"):
        rules.check(b"x" * (limit + 1))


def test_a_put_without_an_end_gets_that_of_its_keyspace_and_a_delete_none() -> None:
    rules = rules_of(keyspace(default_ttl_ms=50), 9)
    assert rules.applied(PUT).ttl_ms == 50
    assert rules.applied(Change("k", b"a", b"1", ttl_ms=7)).ttl_ms == 7
    delete = Change("k", b"a", None)
    assert rules.applied(delete) is delete


def test_in_transactions_puts_and_increases_get_an_end() -> None:
    rules = rules_of(keyspace(default_ttl_ms=50, max_value_bytes=2), 9)
    ends = {kind: rules.applied_to_op(TxnOp(0, kind, b"a", b"1")).ttl_ms for kind in OpKind}
    assert ends == {OpKind.PUT: 50, OpKind.INCR: 50, OpKind.GET: None, OpKind.DELETE: None}
    assert rules.applied_to_op(TxnOp(0, OpKind.PUT, b"a", b"1", ttl_ms=7)).ttl_ms == 7
    with pytest.raises(ValueTooLarge):
        rules.applied_to_op(TxnOp(0, OpKind.PUT, b"a", b"123"))
