"""Several who ask for one partition at once all get an outcome, and copies digest one state of it at a time."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.test_verification import NAME, Verifying

from kvstore.copy_digests import MISSED
from kvstore.messages import AskDigests, Digests, Verified
from kvstore.verification import ASK_MS, CLEAN, PATIENCE_MS, ROUNDS_MAX, RUNNING, UNFINISHED

OTHER = b"o" * 16


@pytest.fixture
def story() -> Verifying:
    return Verifying()


def pass_time_undigested(story: Verifying, ms: int) -> None:
    """Digests are asked for again and again, and answered, and none gets done."""
    for _ in range(ms // ASK_MS):
        story.pass_ms(ASK_MS)
        for node in story.nodes.values():
            node.tick()
        for node in story.nodes.values():
            node.batch(apply=True)
            story.deliver(node)


def test_one_that_is_asked_for_while_copies_digest_begins_when_that_is_over(story: Verifying) -> None:
    story.until_applied()
    assert story.state(OTHER) == RUNNING
    pass_time_undigested(story, 2 * PATIENCE_MS)
    assert [len(node.digesting) for node in story.nodes.values()] == [1, 1]
    first, second = story.outcome(), story.outcome(OTHER)
    assert (first.state, second.state) == (CLEAN, CLEAN)
    assert second.seq > first.seq


def test_those_that_are_asked_for_before_the_record_is_committed_have_it_in_common(story: Verifying) -> None:
    story.ask()
    story.ask(name=OTHER)
    first, second = story.outcome(), story.outcome(OTHER)
    assert (first.state, first.seq) == (CLEAN, second.seq)


def test_those_that_ask_for_different_copies_have_no_record_in_common() -> None:
    story = Verifying(nodes=3)
    story.ask()
    story.rids = [story.n2.rid]
    story.ask(name=OTHER)
    second, first = story.outcome(OTHER), story.outcome()
    assert (first.state, second.state) == (CLEAN, CLEAN)
    assert second.seq > first.seq


def test_one_whose_digests_are_missed_again_and_again_ends_without_a_verdict(story: Verifying) -> None:
    """The copy says each time at first that it digests, so that the leader has heard of it."""
    found = story.ask()
    rounds = set()
    for _ in range(ROUNDS_MAX + 2):
        story.settle()
        story.pass_ms(ASK_MS)
        story.n1.tick()
        for asked in story.deliver(story.n1, AskDigests):
            assert isinstance(asked, AskDigests)
            rounds.add(asked.seq)
            missed = Digests(asked.pid, asked.rid, asked.epoch, asked.seq, MISSED)
            story.n1.receive("n2", msgspec.structs.replace(missed, state="pending"))
            story.n1.receive("n2", missed)
            story.n1.tick()
        found = story.ask() if isinstance(found, Verified) and found.state == RUNNING else found
    assert isinstance(found, Verified)
    assert (found.state, len(rounds)) == (UNFINISHED, ROUNDS_MAX)
    assert story.outcome(NAME).state == CLEAN
