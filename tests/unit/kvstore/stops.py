"""What makes a leader's reads of the key `k` take more than a look."""

from __future__ import annotations

from collections.abc import Callable

from unit.kvstore.story import PID, StoryNode
from unit.kvstore.txn.coordinating import named, part, prepare, put

from kvstore.map_values import Transfer, TransferState
from kvstore.replication.peer import LEASE_MS


def pass_on(n1: StoryNode) -> None:
    n1.leader.is_passing_on = True


def freeze(n1: StoryNode) -> None:
    n1.leader.freeze(1, n1._story.now)


def hide(n1: StoryNode) -> None:
    n1.leader.hidden = Transfer(1, PID + 1, PID, TransferState.COPYING)


def lose_the_lease(n1: StoryNode) -> None:
    n1._story.pass_ms(100 * LEASE_MS)


def not_serve(n1: StoryNode) -> None:
    n1.leader.is_serving = False


def begin_a_transaction(n1: StoryNode) -> None:
    prepare(n1, "p", named("t"), part(put(b"k")))
    n1._story.settle()


STOPS = (pass_on, freeze, hide, lose_the_lease, not_serve, begin_a_transaction)


def name_of(stop: Callable[[StoryNode], None]) -> str:
    return stop.__name__
