"""What the target of a transfer takes of what comes, and when it asks for more."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.transfer.carrying import SOURCE, TARGET, Carrying
from unit.kvstore.txn.coordinating import named, part, prepare, put, transact

from kvstore.map_values import TransferState
from kvstore.messages import KeysPiece, PullKeys, ReadOne, ReadStale, StaleResult
from kvstore.replication.answers import ELSEWHERE
from kvstore.replication.backfill import read_chunk
from kvstore.replication.copy_rows import encode_row
from kvstore.storage.engine import Usage
from kvstore.transfer import pieces as pieces_read
from kvstore.transfer.records import PROGRESS


@pytest.fixture
def story() -> Carrying:
    story = Carrying()
    story.begin()
    return story


def pieces(story: Carrying) -> list[KeysPiece]:
    """Those on their way to the target."""
    return [send.body for send in story.n1.sent if isinstance(send.body, KeysPiece)]


def until_a_piece_is_on_its_way(story: Carrying) -> KeysPiece:
    for _ in range(20):
        story.pass_ms(20)
        story.n2.carry()
        story.deliver(story.n2)
        story.n1.carry()
        if pieces(story):
            return pieces(story)[0]
        story.deliver(story.n1)
    raise AssertionError("nothing comes")


def test_a_piece_that_is_late_or_doubled_leads_nowhere(story: Carrying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces_read, "LOOKED_ROWS_MAX", 1)
    first = until_a_piece_is_on_its_way(story)
    story.deliver(story.n1)
    story.go_on()
    story.go_on()
    copied = story.leader(TARGET).progress
    assert copied is not None
    assert copied.cursor > first.cursor
    end = story.of(TARGET).copy.log.end
    for _ in range(3):
        story.n2.receive("n1", first)
        story.step()
        at = story.leader(TARGET).progress
        assert at is not None
        assert (at.cursor >= copied.cursor, at.since >= copied.since, at.keys) == (True, True, copied.keys)
    assert not story.n1.alarms
    assert story.of(TARGET).copy.log.end - end <= 2, "it goes on"


def test_a_store_that_is_full_takes_nothing_and_goes_on_when_there_is_room(story: Carrying) -> None:
    story.n2.partitions.usage = Usage(used=100, limit=100)
    end = story.of(TARGET).copy.log.end
    for _ in range(5):
        story.beat()
    assert story.of(TARGET).copy.log.end == end
    assert story.state(SOURCE) is TransferState.COPYING
    story.n2.partitions.usage = Usage(used=0, limit=100)
    for _ in range(10):
        story.beat()
    assert story.state(SOURCE) is TransferState.HANDED


def test_no_more_is_asked_for_than_the_pace_of_filling_allows(story: Carrying, monkeypatch: pytest.MonkeyPatch) -> None:
    until_a_piece_is_on_its_way(story)
    monkeypatch.setattr(story.n2.partitions.filling, "taking_wait_ms", lambda _now: 50)
    story.drop()
    for _ in range(50):
        story.pass_ms(100)
        story.n2.carry()
        assert not any(isinstance(send.body, PullKeys) for send in story.n2.sent)
        story.deliver(story.n2)
        story.n1.carry()
        story.deliver(story.n1)
    monkeypatch.undo()
    story.go_on()
    assert story.state(SOURCE) is TransferState.HANDED


def test_it_begins_anew_where_the_source_was_promoted_by_force_meanwhile(story: Carrying) -> None:
    while not (has := story.leader(TARGET).progress) or not has.is_copied:
        story.step()
    entry = story.entries[SOURCE]
    story.entries[SOURCE] = msgspec.structs.replace(entry, ver=entry.ver + 1, unclean_count=1)
    story.push()
    seen = []
    for _ in range(40):
        story.step()
        seen.append(story.leader(TARGET).progress)
    assert any(one is not None and one.clears for one in seen)
    story.go_on()
    assert story.state(SOURCE) is TransferState.HANDED


def test_a_copy_that_is_filled_meanwhile_gets_how_far_it_has_come(story: Carrying) -> None:
    story.go_on()
    story.settle(apply=True)
    copy, view = story.of(TARGET).copy, story.n2.engine.snapshot()
    _, rows, is_done = read_chunk(copy.prefix, b"", 1 << 20, view)
    assert is_done
    assert rows[-1] == (PROGRESS, encode_row(copy.progress))
    assert read_chunk(copy.prefix, PROGRESS, 1 << 20, view)[1] == []


@pytest.mark.parametrize(("key", "is_served"), [(b"x1", False), (b"b", True)])
def test_nothing_of_a_transaction_is_done_to_keys_that_are_not_served(
    story: Carrying, key: bytes, is_served: bool
) -> None:
    asked, own = part(put(key)), named("t", primary=TARGET)
    answers = [
        prepare(story.n2, "prepare", named("p", primary=SOURCE), asked, TARGET),
        transact(story.n2, "transact", own, asked, pid=TARGET),
    ]
    assert [one != ELSEWHERE for one in answers] == [is_served, is_served]


def test_how_far_it_has_come_outlives_a_restart(story: Carrying) -> None:
    story.go_on()
    story.settle(apply=True)
    has = story.of(TARGET).copy.progress
    assert has is not None
    assert has.is_copied
    for node in (story.n1, story.n2):
        story.restart(node)
        assert story.of(TARGET, node).copy.progress == has


def test_a_copy_that_may_be_behind_hides_what_is_on_its_way_and_nothing_else(story: Carrying) -> None:
    story.go_on()
    story.settle(apply=True)
    story.beat()
    story.settle(apply=True)

    def stale(key: bytes) -> object:
        entry = story.entries[TARGET]
        asked = ReadStale(ReadOne(TARGET, entry.ver, key), None, entry.layout)
        return story.n1.partitions.reads.stale("r", asked, story.n1.engine.snapshot(), story.now)

    assert isinstance(stale(b"b"), StaleResult)
    assert stale(b"x1") == ELSEWHERE
