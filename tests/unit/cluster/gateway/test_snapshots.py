"""Reading many keys as they were at one moment: rounds that find the same, or a transaction."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from cluster.gateway.operations import Found, Get, Result
from cluster.gateway.snapshots import TRIES, Snapshots
from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import BodyTooLarge, KeyNotFound, KvError, Locked, NoLeader, OutcomeUnknown, TxnConflict
from kvstore.messages import Absence, OpKind, TxnResult

KEYS = [Get("default", b"a"), Get("default", b"b")]
ABSENT = KeyNotFound("nothing")


def found(version: str) -> Found:
    return Found(version.encode(), "text/plain", version, None)


class Rounds:
    """A dispatcher whose rounds of reads find what is laid down, the last one again and again."""

    def __init__(self, *rounds: tuple[Sequence[Result], dict[int, Absence]]) -> None:
        self._rounds = list(rounds)
        self.count = 0
        self.pauses_left = 2

    def patience_end_s(self) -> float:
        return 5.0

    def pauses(self, end_s: float) -> Any:
        return SimpleNamespace(next=self._pause)

    async def _pause(self) -> bool:
        self.pauses_left -= 1
        return self.pauses_left >= 0

    async def collect(self, gets: Sequence[Get], bytes_max: int, end_s: float) -> tuple[list[Result], Any]:
        assert (bytes_max, end_s) == (100, 5.0)
        self.count += 1
        results, absences = self._rounds.pop(0) if len(self._rounds) > 1 else self._rounds[0]
        return list(results), absences


class Transactor:
    """Carries transactions out as laid down; without anything it must not be asked."""

    def __init__(self, *outcomes: TxnOutcome | KvError) -> None:
        self._outcomes = list(outcomes)
        self.asked: list[Transaction] = []

    async def __call__(self, transaction: Transaction) -> TxnOutcome:
        self.asked.append(transaction)
        outcome = self._outcomes.pop(0)
        if isinstance(outcome, KvError):
            raise outcome
        return outcome


async def read(rounds: Rounds, *outcomes: TxnOutcome | KvError) -> tuple[list[Result], list[Transaction]]:
    transactor = Transactor(*outcomes)
    dispatcher: Any = rounds
    return await Snapshots(dispatcher, transactor, 100).read(KEYS), transactor.asked


def changing() -> Rounds:
    """Every round finds another version."""
    return Rounds(*[([found(f"v{number}"), found("b")], {}) for number in range(10)])


OUTCOME = TxnOutcome("id", True, [TxnResult(0, 200, "v9", b"value", "text/plain", 1500), TxnResult(1, 404)])


async def test_two_rounds_that_find_the_same_are_one_moment() -> None:
    rounds = Rounds(([found("a1"), found("b1")], {}))
    assert await read(rounds) == ([found("a1"), found("b1")], [])
    assert rounds.count == 2


async def test_what_changed_between_two_rounds_is_read_again() -> None:
    rounds = Rounds(
        ([found("a1"), found("b1")], {}), ([found("a1"), found("b2")], {}), ([found("a1"), found("b2")], {})
    )
    assert (await read(rounds))[0] == [found("a1"), found("b2")]
    assert rounds.count == 3


async def test_a_key_that_came_or_went_has_changed() -> None:
    rounds = Rounds(
        ([found("a1"), ABSENT], {1: (1, 0)}), ([found("a1"), found("b1")], {}), ([found("a1"), ABSENT], {1: (1, 5)})
    )
    assert (await read(rounds))[0] == [found("a1"), ABSENT]
    assert rounds.count == 4


async def test_an_absent_key_that_was_there_between_the_rounds_has_changed() -> None:
    rounds = Rounds(([found("a1"), ABSENT], {1: (1, 3)}), ([found("a1"), ABSENT], {1: (1, 9)}))
    await read(rounds)
    assert rounds.count == 3


async def test_another_leader_of_an_absent_key_is_a_change() -> None:
    rounds = Rounds(([found("a1"), ABSENT], {1: (1, 3)}), ([found("a1"), ABSENT], {1: (2, 3)}))
    await read(rounds)
    assert rounds.count == 3


async def test_an_absence_of_which_nothing_is_known_is_never_the_same() -> None:
    rounds = Rounds(([found("a1"), ABSENT], {}))
    results, asked = await read(rounds, OUTCOME)
    assert rounds.count == 1 + TRIES
    assert len(asked) == 1
    assert results[0] == Found(b"value", "text/plain", "v9", 1.5)


async def test_keys_that_keep_changing_are_read_by_a_transaction() -> None:
    rounds = changing()
    results, (asked,) = await read(rounds, OUTCOME)
    assert rounds.count == 1 + TRIES
    assert [(op.index, op.kind, op.key) for op in asked.then] == [(0, OpKind.GET, b"a"), (1, OpKind.GET, b"b")]
    assert (asked.keyspace, asked.conditions, asked.otherwise, asked.token) == ("default", (), (), "")
    assert results[0] == Found(b"value", "text/plain", "v9", 1.5)
    assert isinstance(results[1], KeyNotFound)


async def test_a_transaction_that_lost_is_tried_again_and_then_the_keys_are_locked() -> None:
    results, asked = await read(changing(), TxnConflict(), TxnConflict(), OUTCOME)
    assert len(asked) == 3
    assert isinstance(results[0], Found)
    with pytest.raises(Locked):
        await read(changing(), TxnConflict(), TxnConflict(), TxnConflict())


async def test_a_transaction_whose_outcome_is_unknown_told_nothing_and_changed_nothing() -> None:
    with pytest.raises(NoLeader):
        await read(changing(), OutcomeUnknown())


@pytest.mark.parametrize("error", [NoLeader(), Locked(), BodyTooLarge()])
async def test_what_is_not_known_of_one_key_ends_the_whole(error: KvError) -> None:
    with pytest.raises(type(error)):
        await read(Rounds(([found("a1"), error], {})))


async def test_no_keys_are_no_question() -> None:
    dispatcher: Any = Rounds()
    assert await Snapshots(dispatcher, Transactor(), 100).read([]) == []
