"""When the source of a transfer stands still, and what ends that."""

from __future__ import annotations

import pytest
from msgspec import UNSET
from unit.kvstore.story import TICK_MS, code
from unit.kvstore.transfer.carrying import SOURCE, TARGET, Carrying

from kvstore.map_values import TransferState
from kvstore.messages import (
    FinishTxn,
    Pong,
    Prepare,
    PullKeys,
    ReadOne,
    ReadStale,
    StaleResult,
    TxnIf,
    TxnName,
    TxnPart,
    Voted,
)
from kvstore.replication.answers import ELSEWHERE, LATER
from kvstore.transfer.source import DRAIN_MS, FROZEN_MS, PAUSE_MS

NAME = TxnName(9, b"a transaction ..", 1)
PART = TxnPart([TxnIf(b"a1", exists=True)], [], [])


@pytest.fixture
def story() -> Carrying:
    return Carrying()


def frozen(story: Carrying, ask: bool = False) -> None:
    """The source stands still, and what the target says from now on is lost, but for its last word if `ask`."""
    story.begin()
    for _ in range(100):
        story.step()
        if story.leader(SOURCE).frozen_ms is not None:
            break
    while ask and not story.n1.asks:
        story.step()
    story.drop()


def test_it_refuses_reads_and_writes_of_all_its_keys(story: Carrying) -> None:
    frozen(story)
    for key in (b"a1", b"x1"):
        assert code(story.read(key)) == code(story.put(key, b"w")) == "no_leader"
    quorum = story.n1.partitions.reads.quorum("q", ReadOne(SOURCE, story.entries[SOURCE].ver, b"a1"), *view_of(story))
    assert quorum is LATER
    story.n1.retry()
    story.settle()
    assert code(story.n1.replies["q"]) == "no_leader"


def view_of(story: Carrying) -> tuple:  # type: ignore[type-arg]
    return story.n1.engine.snapshot(), story.now


def test_it_goes_on_after_a_while_where_the_target_is_silent(story: Carrying) -> None:
    frozen(story)
    story.pass_ms(FROZEN_MS)
    story.n1.carry()
    assert story.leader(SOURCE).frozen_ms is None
    assert story.read(b"a1") == b"value"
    story.put(b"x1", b"newer")
    story.pass_ms(PAUSE_MS)
    story.n1.tick()
    for _ in range(6):
        story.beat()
    assert story.state(SOURCE) is TransferState.HANDED
    story.switch()
    assert story.read(b"x1", TARGET) == b"newer"


def test_once_it_has_asked_the_map_only_the_map_ends_it(story: Carrying) -> None:
    frozen(story, ask=True)
    asked = story.n1.asks.pop()
    for _ in range(40):
        story.pass_ms(100)
        story.n1.tick()
        story.n1.carry()
        story.drop()
        assert story.leader(SOURCE).frozen_ms is not None
    asks = [one for one in story.n1.asks if one.pid == SOURCE]
    assert len(asks) >= 3
    assert all(one == asked for one in asks), "the same question, at the same guard"
    story.n1.asks.clear()
    story.push()
    story.n1.carry()
    assert story.leader(SOURCE).frozen_ms is not None, "the entry that stood before settles nothing"
    story.reshape(TransferState.COPYING, TransferState.COPYING)
    story.n1.carry()
    assert story.leader(SOURCE).frozen_ms is None, "its question cannot land any more, and it has lasted long enough"


def test_a_new_leader_goes_on_unless_the_keys_are_handed_over(story: Carrying) -> None:
    frozen(story)
    story.restart(story.n1)
    story.land(story.n1)
    story.n1.batch()
    assert story.leader(SOURCE).epoch == 2
    assert story.leader(SOURCE).frozen_ms is None
    for _ in range(5):
        story.beat()
    assert story.state(SOURCE) is TransferState.HANDED
    story.restart(story.n1)
    story.settle()
    story.beat()
    assert story.leader(SOURCE).is_serving
    assert code(story.put(b"a1", b"w")) == "no_leader"
    story.switch()
    story.settle()
    assert story.read(b"a1") == b"value"


def prepare(story: Carrying, name: TxnName = NAME) -> object:
    return story.n1.call(f"p{name.attempt}{name.token!r}", Prepare(SOURCE, story.entries[SOURCE].ver, name, PART))


def test_what_is_prepared_is_waited_for_and_nothing_is_prepared_meanwhile(story: Carrying) -> None:
    story.begin()
    assert prepare(story) is LATER
    story.settle()
    voted = next(one for one in story.n1.replies.values() if isinstance(one, Voted))
    story.go_on()
    leader = story.leader(SOURCE)
    assert leader.is_draining
    assert leader.frozen_ms is None
    assert story.read(b"a2") == b"value"
    assert story.put(b"a2", b"goes on") is LATER
    assert code(prepare(story, TxnName(9, b"another one ....", 1))) == "no_leader"
    at = voted.vote.epoch, voted.vote.seq
    story.n1.call("f", FinishTxn(SOURCE, story.entries[SOURCE].ver, NAME, *at, True, True))
    story.settle()
    story.go_on()
    assert story.state(SOURCE) is TransferState.HANDED


def test_what_is_prepared_and_does_not_end_keeps_nobody_out_for_long(story: Carrying) -> None:
    story.begin()
    prepare(story)
    story.settle()
    story.go_on()
    assert story.leader(SOURCE).is_draining
    story.pass_ms(DRAIN_MS)
    story.n1.carry()
    assert not story.leader(SOURCE).is_draining
    assert prepare(story, TxnName(9, b"another one ....", 1)) is LATER


def test_a_piece_that_is_not_committed_yet_is_not_said_to_be_there(story: Carrying) -> None:
    frozen(story)
    last = None
    for _ in range(20):
        story.pass_ms(20)
        story.n2.carry()
        story.n1.carry()
        story.deliver(story.n1)
        if story.n2.partitions.needs_batch:
            story.n2.begin_batch()
            story.drop(story.n2)
            break
    story.n2.carry()
    last = [send for send in story.n2.sent if isinstance(send.body, PullKeys)]
    assert not last, "its follower lacks it"


def test_whoever_waits_when_keys_change_their_partition_is_not_answered_from_what_is_left(story: Carrying) -> None:
    story.begin()
    asked = ReadOne(SOURCE, story.entries[SOURCE].ver, b"x1")
    assert story.n1.partitions.reads.quorum("q", asked, *view_of(story)) is LATER
    for _ in range(100):
        story.step()
        while story.n1.asks:
            story.land(story.n1)
        if story.state(SOURCE) is TransferState.HANDED:
            break
    story.n1.replies.clear()
    story.n1.partitions.reads.quorum("late", ReadOne(SOURCE, story.entries[SOURCE].ver, b"x1"), *view_of(story))
    story.switch()
    story.settle(apply=True)
    assert story.n1.replies["late"] == ELSEWHERE


def test_a_copy_that_may_be_behind_answers_for_the_layout_that_it_knows_only(story: Carrying) -> None:
    def ask(layout: int) -> object:
        asked = ReadStale(ReadOne(SOURCE, story.entries[SOURCE].ver, b"a1"), None, layout)
        return story.n2.partitions.reads.stale("s", asked, story.n2.engine.snapshot(), story.now)

    story.beat()
    assert isinstance(ask(0), StaleResult)
    assert code(ask(1)) == "no_leader"
    story.hand_over()
    story.switch()
    assert code(ask(0)) == code(ask(1)) == "no_leader", "what it was told before the switch counts no more"
    story.settle(apply=True)
    story.beat()
    assert isinstance(ask(1), StaleResult)
    assert code(ask(0)) == "no_leader"


def test_a_copy_that_has_not_heard_of_the_switch_does_not_take_for_absent_what_is_deleted(
    story: Carrying, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ask() -> object:
        asked = ReadStale(ReadOne(SOURCE, story.entries[SOURCE].ver, b"x1"), None, 0)
        return story.n2.partitions.reads.stale("s", asked, story.n2.engine.snapshot(), story.now)

    hears = story.n2.on_entry
    story.begin()
    monkeypatch.setattr(story.n2, "on_entry", lambda entry: hears(entry) if entry.pid == TARGET else None)
    story.go_on()
    story.switch()
    assert isinstance(ask(), StaleResult)
    while b"x1" in story.keys(SOURCE, story.n2):
        assert isinstance(ask(), StaleResult)
        story.pass_ms(TICK_MS)
        story.n1.tick()
        story.step()
        story.n2.batch(apply=True)
    assert code(ask()) == "no_leader", "its bound is from before the switch"


def test_one_that_stands_still_tells_nobody_what_is_committed(story: Carrying) -> None:
    frozen(story)
    story.pass_ms(500)
    story.n2.tick()
    story.deliver(story.n2)
    story.n1.batch()
    (pong,) = [send.body for send in story.n1.sent if isinstance(send.body, Pong)]
    assert [pid for pid, _, _ in pong.commits] == []


def said(story: Carrying, since: int, transfer: int = 1) -> PullKeys:
    """The target's word that all up to there is committed."""
    return PullKeys(transfer, SOURCE, b"", since, True, True, 0)


def test_only_the_word_of_its_own_target_of_the_very_last_piece_hands_keys_over(story: Carrying) -> None:
    frozen(story)
    leader = story.leader(SOURCE)
    last = story.of(SOURCE).copy.commit_seq
    for word in (said(story, last, transfer=99), said(story, last - 1), said(story, last)):
        assert leader.wanted_transfer is UNSET
        story.n1.receive("n2", word)
        story.n1.carry()
    assert leader.wanted_transfer is not UNSET


def test_a_word_that_came_before_it_went_on_does_not_hand_over_what_is_written_afterwards(story: Carrying) -> None:
    frozen(story)
    leader = story.leader(SOURCE)
    source, _ = story.n1.partitions.transfers._sources[SOURCE]
    source.on_pull(said(story, story.of(SOURCE).copy.commit_seq))
    story.pass_ms(FROZEN_MS)
    for _ in range(2):
        source.advance(*view_of(story), story.n1.partitions.filling)
        assert leader.frozen_ms is None
        assert leader.wanted_transfer is UNSET
