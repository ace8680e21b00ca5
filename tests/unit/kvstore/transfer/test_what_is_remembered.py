"""What a partition remembers of writes and transactions goes with its keys."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.kvstore.transfer.carrying import SOURCE, TARGET, TOKEN, Carrying
from unit.kvstore.txn.coordinating import elsewhere, named, part, prepare, put, transact

from kvstore.messages import SCOPE_BYTES, AbortTxn, FinishTxn, Transacted, Written
from kvstore.replication.answers import LATER
from kvstore.replication.outcomes import carried_token, encode_token
from kvstore.storage.records import Record, RecordType, decode_value
from kvstore.transfer.pieces import read_changes, read_copy
from kvstore.txn.log_end import HAS_ENDED
from kvstore.txn.records import ENDED, UNDONE, Ended, Finished, payload_of
from kvstore.txn.state import KEEP_MS, ended_of

CLIENTS = named("c", primary=SOURCE, is_clients=True)
AFTERWARDS = msgspec.structs.replace(CLIENTS, primary=TARGET)


@pytest.fixture
def story() -> Carrying:
    return Carrying()


def decided(story: Carrying, *votes: Any) -> Transacted:
    assert transact(story.n1, "t", CLIENTS, part(put(b"x1")), *votes, pid=SOURCE) is LATER
    story.settle()
    told = story.n1.replies["t"]
    assert isinstance(told, Transacted)
    return told


def test_a_transaction_that_is_asked_for_again_finds_its_decision_at_the_new_primary(story: Carrying) -> None:
    told = decided(story)
    story.hand_over()
    story.switch()
    again = transact(story.n2, "again", AFTERWARDS, part(put(b"x1")), pid=TARGET)
    assert again == Transacted(CLIENTS, True, True, False, told.results)


def test_a_decision_that_not_all_have_heard_of_stays_where_it_was_made(story: Carrying) -> None:
    decided(story, elsewhere())
    story.hand_over()
    story.switch()
    story.settle(apply=True)
    assert CLIENTS.token in story.of(SOURCE).copy.txns.undone
    assert story.of(TARGET).copy.txns.undone == {}
    again = transact(story.n2, "again", AFTERWARDS, part(put(b"x1")), pid=TARGET)
    assert isinstance(again, Transacted)
    assert (again.txn, again.commits) == (CLIENTS, True)
    assert story.of(SOURCE).report(story.now, (0, 0)).open_txns == 1
    assert story.of(TARGET).report(story.now, (0, 0)).open_txns == 0


def test_what_is_prepared_under_the_former_primary_is_not_ended_for_the_sake_of_the_new_one(story: Carrying) -> None:
    """It may be committed, and the participant has not heard of it."""
    former, asked = named("c", primary=8, is_clients=True), part(put(b"b"))
    assert prepare(story.n2, "former", former, asked, pid=TARGET) is LATER
    story.settle()
    vote = story.n2.replies["former"].vote
    assert prepare(story.n2, "newer", msgspec.structs.replace(former, primary=9), asked, pid=TARGET) is LATER
    story.settle()
    held = story.leader(TARGET).txns.participant.held
    assert [(name.primary, one.finish_seq) for name, one in held.items()] == [(8, 0)]
    finish = FinishTxn(TARGET, story.entries[TARGET].ver, former, vote.epoch, vote.seq, True, True)
    story.n2.call("finish", finish)
    story.settle()
    _, row = story.leader(TARGET).overlay.committed[b"b"]
    assert row is not None
    assert decode_value(row).value == b"new"


@pytest.mark.parametrize("is_committed", [True, False])
def test_the_end_of_a_part_keeps_what_is_known_of_the_transaction_by_its_decision(
    story: Carrying, is_committed: bool
) -> None:
    """A partition that decided it before may take part in another attempt, whose abort is remembered for a shorter
    time."""
    primary, time_ms = story.leader(TARGET).txns.primary, story.now.wall_ms
    other = named("c", attempt=2, primary=9, is_clients=True)
    if not is_committed:
        primary.take_remembered(99, Ended(CLIENTS, False, False, time_ms + KEEP_MS))
    assert prepare(story.n2, "other", other, part(put(b"b")), pid=TARGET) is LATER
    story.settle()
    if is_committed:
        primary.take_remembered(0, Ended(CLIENTS, True, True, time_ms + KEEP_MS))
    vote = story.n2.replies["other"].vote
    story.n2.call("f", FinishTxn(TARGET, story.entries[TARGET].ver, other, vote.epoch, vote.seq, False, False))
    held = story.of(TARGET).copy.log.held_after(0)
    queued = [record for _, record, _ in (*(one for row in held for one in row.changes), *story.leader(TARGET)._queue)]
    finished = payload_of(next(one for one in reversed(queued) if one.type == RecordType.FINISH))
    assert isinstance(finished, Finished)
    assert finished.until_ms == (-1 if is_committed else time_ms + KEEP_MS)
    assert ended_of(finished, 7).until_ms == finished.until_ms
    again = prepare(story.n2, "again", msgspec.structs.replace(other, attempt=3), part(put(b"b")), pid=TARGET)
    assert (again is HAS_ENDED) is is_committed


def token_row(time_ms: int, pid: int = SOURCE) -> bytes:
    record = Record(RecordType.PUT, b"x1", token=TOKEN)
    return carried_token(encode_token(record, 1, 9, time_ms), pid)


@pytest.mark.parametrize(("later_ms", "is_news"), [(-1, False), (0, False), (1, True)])
def test_of_two_outcomes_under_one_token_the_newer_counts(story: Carrying, later_ms: int, is_news: bool) -> None:
    time_ms = story.now.wall_ms
    story.put(b"b", b"by token", TARGET, token=TOKEN)
    outcomes, view = story.leader(TARGET).outcomes, story.n2.engine.snapshot()
    assert outcomes.lacks(TOKEN[:SCOPE_BYTES], token_row(time_ms + later_ms), view) is is_news
    story.settle(apply=True)
    view = story.n2.engine.snapshot()
    assert outcomes.lacks(TOKEN[:SCOPE_BYTES], token_row(time_ms + later_ms), view) is is_news


@pytest.mark.parametrize(
    ("known", "other", "both"),
    [
        ((True, 1, 1000), (True, 1, 1000), None),
        ((True, 1, 1000), (False, 2, 900), None),
        ((True, 1, 1000), (False, 2, 2000), (True, 1, 2000)),
        ((True, 1, 0), (True, 1, 1000), None),
        ((False, 1, 1000), (False, 1, 1000), None),
        ((False, 1, 1000), (False, 2, 2000), (False, 2, 2000)),
        ((False, 1, 1000), (False, 2, 900), (False, 2, 1000)),
        ((False, 2, 900), (False, 1, 1000), (False, 2, 1000)),
        ((False, 3, 1000), (True, 1, 900), (True, 1, 1000)),
    ],
)
def test_of_two_decisions_a_commit_counts_or_else_the_later_attempt_for_as_long_as_either_does(
    story: Carrying, known: tuple[bool, int, int], other: tuple[bool, int, int], both: tuple[bool, int, int] | None
) -> None:
    primary, view = story.leader(TARGET).txns.primary, story.n2.engine.snapshot()

    def ended(commits: bool, attempt: int, for_ms: int) -> Ended:
        name = msgspec.structs.replace(CLIENTS, attempt=attempt)
        return Ended(name, commits, True, for_ms and story.now.wall_ms + for_ms)

    assert primary.news(ended(*other), view, story.now) == ended(*other)
    primary.take_remembered(99, ended(*known))
    assert primary.news(ended(*other), view, story.now) == (None if both is None else ended(*both))


def test_the_abort_of_a_part_that_comes_with_keys_takes_nothing_from_how_long_a_decision_counts(
    story: Carrying,
) -> None:
    """The primary is given keys by a partition that took part in a later attempt."""
    story.n2.call("a", AbortTxn(TARGET, story.entries[TARGET].ver, AFTERWARDS))
    story.settle(apply=True)
    primary = story.leader(TARGET).txns.primary
    first = primary.latest(CLIENTS.token, story.n2.engine.snapshot(), story.now)
    assert first is not None
    later = msgspec.structs.replace(CLIENTS, attempt=2, primary=9)
    story.n1.call("f", FinishTxn(SOURCE, story.entries[SOURCE].ver, later, 0, 0, False, False))
    story.hand_over()
    known = primary.latest(CLIENTS.token, story.n2.engine.snapshot(), story.now)
    assert known is not None
    assert (known.txn, known.until_ms) == (later, first.until_ms)


def test_who_took_part_in_a_later_attempt_says_of_an_earlier_one_that_it_is_over(story: Carrying) -> None:
    later = msgspec.structs.replace(CLIENTS, attempt=2, primary=9)
    story.n1.call("f", FinishTxn(SOURCE, story.entries[SOURCE].ver, later, 0, 0, False, False))
    story.settle()
    told = transact(story.n1, "t", CLIENTS, part(put(b"x1")), pid=SOURCE)
    assert isinstance(told, Transacted)
    assert not told.commits
    assert told.fault is not None
    assert told.fault.code == "txn_conflict"


def test_a_commit_of_one_partition_counts_for_as_long_as_the_abort_of_the_attempt_before(story: Carrying) -> None:
    """What was prepared for that attempt elsewhere is gone: it must not be judged anew."""
    primary, time_ms = story.leader(SOURCE).txns.primary, story.now.wall_ms
    primary.take_remembered(0, Ended(CLIENTS, False, False, time_ms + KEEP_MS))
    again = msgspec.structs.replace(CLIENTS, attempt=2)
    assert transact(story.n1, "t", again, part(put(b"x1")), pid=SOURCE) is LATER
    story.settle()
    known = primary.latest(CLIENTS.token, story.n1.engine.snapshot(), story.now)
    assert known is not None
    assert (known.txn, known.commits, known.until_ms) == (again, True, time_ms + KEEP_MS)


def test_it_stands_in_the_data_as_in_the_log_in_the_form_in_which_it_is_kept_elsewhere(story: Carrying) -> None:
    """What is copied and what is replayed are the same rows."""
    story.put(b"a1", b"by token", token=TOKEN)
    decided(story, elsewhere())
    story.begin()
    transfer = story.entries[SOURCE].transfer
    assert transfer is not None
    source = story.of(SOURCE).copy
    replayed: dict[bytes, bytes | None] = {}
    upto = 0
    while upto < source.commit_seq:
        changes = read_changes(source, transfer, upto, 1 << 20, story.n1.engine.snapshot())
        replayed |= dict(changes.rows)
        upto = changes.upto
    story.settle(apply=True)
    copied = dict(read_copy(source, transfer, b"", 1 << 20, story.n1.engine.snapshot()).rows)
    tokens = {position: row for position, row in copied.items() if position[0]}
    assert [position[:1] for position in sorted(tokens)] == [b"\x01", ENDED]
    assert UNDONE not in {position[:1] for position in tokens}
    assert {position: row for position, row in replayed.items() if position[0]} == tokens
    assert {row for position, row in replayed.items() if not position[0]} >= {copied[b"\x00x1"]}


def test_windows_of_gateways_stay(story: Carrying) -> None:
    story.put(b"x1", b"numbered", origin=7, number=1, floor=1)
    story.settle(apply=True)
    story.hand_over()
    story.switch()
    story.settle(apply=True)
    assert story.of(SOURCE).copy.outcomes.windows.get(7) is not None
    assert story.of(TARGET).copy.outcomes.windows.get(7) is None
    story.put(b"x1", b"numbered", TARGET, ticket="n", origin=7, number=1, floor=1)
    story.settle()
    assert isinstance(story.n2.replies["n"], Written)
