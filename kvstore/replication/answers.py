"""Answers that leaders give in place of a result, and that they answer later. Sans-IO."""

from __future__ import annotations

from enum import Enum
from typing import TypeVar

from kvstore.messages import Done, Fault, Transacted, TxnKnown, Voted, Written

Result = Written | Voted | Transacted | TxnKnown | Done | Fault
R = TypeVar("R", bound=Result)

NO_LEADER = Fault("no_leader", "the partition's leader does not serve yet")
NO_LEASE = Fault("no_leader", "the partition's leader lacks the lease of a copy")
PASSING_ON = Fault("no_leader", "the partition's leader is handing over")
FROZEN = Fault("no_leader", "the partition stands still until keys of it are handed over")
ELSEWHERE = Fault("no_leader", "the key is on its way to another partition, or from it")
NOT_ENOUGH = Fault("not_enough_copies", "a copy of the partition cannot be reached")
FULL = Fault("storage_full", "the store is full; reads and deletes still work")
OVERLOADED = Fault("overloaded", "too many writes wait for their copies")
FAILED_CONDITION = Fault("precondition_failed", "the key's version is not the one asked for")
REUSED = Fault("token_reused", "the Idempotency-Key stands for another request")
UNKNOWN = Fault("outcome_unknown", "leadership ended before the write was known to be durable")


class Later(Enum):
    """The answer comes later, as a `Reply`."""

    LATER = 0


LATER = Later.LATER
