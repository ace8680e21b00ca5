"""Transactions as the parts of the gateway hand them to each other, and the text of their names.

Guarantees: frozen values; an id names one attempt of one transaction, and whoever reads it back gets the same name.
Leaves to others: what is asked in which body (`gateway.txn_bodies`), carrying it out (`coordinator`, `driver`).
Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

import re
from enum import StrEnum

import msgspec

from kvstore.errors import NotFound
from kvstore.messages import SCOPE_BYTES, TxnIf, TxnName, TxnOp, TxnResult

_ID = re.compile(r"([0-9a-f]{1,12})-((?:[0-9a-f]{2}){16,32})-([1-9][0-9]{0,8})")


class Transaction(msgspec.Struct, frozen=True):
    """All conditions hold: `then`, else `otherwise`. `token` is the client's idempotency token, empty for none."""

    keyspace: str
    conditions: tuple[TxnIf, ...]
    then: tuple[TxnOp, ...]
    otherwise: tuple[TxnOp, ...]
    token: str = ""


class TxnOutcome(msgspec.Struct, frozen=True):
    """A committed transaction: its id, the branch that was taken, the results in the order of its operations, and over
    how many partitions it went."""

    id: str
    then: bool
    results: list[TxnResult]
    partitions: int = 1


class TxnState(StrEnum):
    """Where a transaction stands; each word is the contract's."""

    COMMITTED = "committed"
    ABORTED = "aborted"
    PENDING = "pending"


class TxnStanding(msgspec.Struct, frozen=True):
    """Where a transaction stands; `then` is the branch of one that is committed."""

    state: TxnState
    then: bool = False


def txn_id(name: TxnName) -> str:
    """The text of a name."""
    return f"{name.primary:x}-{name.token.hex()}-{name.attempt}"


def parse_txn_id(text: str) -> TxnName:
    """The name that a text stands for.

    Raises:
        NotFound: there can be no such transaction.
    """
    match = _ID.fullmatch(text)
    if match is None or len(match[2]) // 2 not in (SCOPE_BYTES, 2 * SCOPE_BYTES):
        raise NotFound("there is no transaction of this id")
    return TxnName(int(match[1], 16), bytes.fromhex(match[2]), int(match[3]))
