"""What a transaction is called, and which requests are the same one."""

from __future__ import annotations

import msgspec
import pytest

from cluster.txn.names import Names
from cluster.txn.parts import smallest_key
from cluster.txn.transaction import Transaction, parse_txn_id, txn_id
from kvstore.errors import NotFound
from kvstore.messages import SCOPE_BYTES, OpKind, TxnIf, TxnOp


def putting(*keys: bytes, token: str = "t", value: bytes = b"v") -> Transaction:
    operations = tuple(TxnOp(index, OpKind.PUT, key, value) for index, key in enumerate(keys))
    return Transaction("default", (), operations, (), token)


def token_of(asked: Transaction, incarnation: int = 1) -> bytes:
    return Names(incarnation).first(asked, 5, smallest_key(asked)).token


def test_a_gateway_never_draws_a_token_twice() -> None:
    asked = putting(b"a", token="")
    drawn = [names.first(asked, 5, b"a") for names in (Names(1), Names(2)) for _ in range(3)]
    assert len({name.token for name in drawn}) == 6
    assert not any(name.is_clients for name in drawn)
    assert {(name.primary, name.attempt) for name in drawn} == {(5, 1)}


def test_a_clients_token_is_the_same_at_every_gateway() -> None:
    asked = putting(b"b", b"a")
    assert token_of(asked, 1) == token_of(putting(b"b", b"a"), 2)
    assert Names(1).first(asked, 5, b"a").is_clients


@pytest.mark.parametrize(
    "other",
    [putting(b"a", token="other"), putting(b"0", b"a"), msgspec.structs.replace(putting(b"a"), keyspace="other")],
)
def test_token_keyspace_and_smallest_key_are_the_scope(other: Transaction) -> None:
    assert token_of(other)[:SCOPE_BYTES] != token_of(putting(b"a"))[:SCOPE_BYTES]


@pytest.mark.parametrize(
    "other",
    [
        putting(b"a", value=b"w"),
        putting(b"a", b"b"),
        msgspec.structs.replace(putting(b"a"), conditions=(TxnIf(b"a", exists=True),)),
        msgspec.structs.replace(putting(b"a"), otherwise=putting(b"a").then),
    ],
)
def test_all_that_is_asked_is_the_fingerprint(other: Transaction) -> None:
    mine, others = token_of(putting(b"a")), token_of(other)
    assert mine[:SCOPE_BYTES] == others[:SCOPE_BYTES]
    assert mine != others


@pytest.mark.parametrize("where", ["conditions", "then", "otherwise"])
def test_the_smallest_key_is_looked_for_everywhere(where: str) -> None:
    smallest = (TxnIf(b"a", exists=True),) if where == "conditions" else putting(b"a").then
    asked = Transaction("default", (TxnIf(b"c", exists=True),), putting(b"d").then, putting(b"e").then)
    assert smallest_key(msgspec.structs.replace(asked, **{where: smallest})) == b"a"


@pytest.mark.parametrize("token", ["", "t"])
def test_a_name_can_be_read_back_from_its_id(token: str) -> None:
    name = Names(1).first(putting(b"a", token=token), 5, b"a")
    assert parse_txn_id(txn_id(name)) == name


@pytest.mark.parametrize("size", [SCOPE_BYTES - 1, SCOPE_BYTES + 1, 2 * SCOPE_BYTES - 1, 2 * SCOPE_BYTES + 1])
def test_no_transaction_has_a_token_of_another_size(size: int) -> None:
    with pytest.raises(NotFound):
        parse_txn_id(f"5-{bytes(size).hex()}-1")
