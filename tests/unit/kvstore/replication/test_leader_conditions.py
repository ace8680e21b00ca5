"""Conditions: judged against the end of the log, answered when what they looked at is committed."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code, version

from kvstore.messages import Written
from kvstore.replication.answers import LATER
from kvstore.versions import etag


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_a_failed_condition_that_looked_at_an_uncommitted_write_waits_for_it(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    assert n1.put("c", b"k", if_none_match="*") is LATER
    n1.batch()
    assert n1.replies == {}
    story.settle()
    assert version(n1.replies["w"]) == (1, 2)
    assert code(n1.replies["c"]) == "precondition_failed"


def test_a_failed_condition_that_looked_at_committed_state_is_answered_at_once(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    assert code(n1.put("c", b"k", if_none_match="*")) == "precondition_failed"
    n1.batch(apply=True)
    assert code(n1.put("c", b"k", if_none_match="*")) == "precondition_failed"
    n1.put("other", b"another key")
    assert code(n1.put("c", b"k", if_none_match="*")) == "precondition_failed"


def test_a_delete_of_an_absent_key_appends_nothing(story: Story, n1: StoryNode) -> None:
    assert n1.delete("d", b"k") == Written(False, 0, 0, 2)
    assert not n1.leader.has_queue


def test_a_second_delete_waits_for_the_first_and_appends_nothing(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    assert n1.delete("d1", b"k") is LATER
    assert n1.delete("d2", b"k") is LATER
    story.settle()
    assert version(n1.replies["d1"]) == (1, 3)
    assert n1.replies["d2"] == Written(False, 0, 0, 2)
    assert n1.partition.copy.log.end == 3


def test_conditions_are_judged_against_the_logs_end(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k")
    n1.put("w2", b"k", if_match=etag(PID, 1, 2))
    n1.put("w3", b"k", if_match=etag(PID, 1, 2))
    n1.delete("d", b"k", if_match="*")
    n1.put("w4", b"k", if_match="*")
    n1.put("w5", b"k", if_none_match="*")
    story.settle()
    assert version(n1.replies["w2"]) == (1, 3)
    assert version(n1.replies["d"]) == (1, 4)
    assert version(n1.replies["w5"]) == (1, 5)
    assert code(n1.replies["w3"]) == code(n1.replies["w4"]) == "precondition_failed"


@pytest.mark.parametrize("applied", [False, True])
@pytest.mark.parametrize(
    ("condition", "on_present", "on_absent"),
    [
        ({}, True, True),
        ({"if_match": "*"}, True, False),
        ({"if_match": "CURRENT"}, True, False),
        ({"if_match": "1.1.99"}, False, False),
        ({"if_match": '1.1.99"CURRENT'}, True, False),
        ({"if_match": '1.1.99"1.1.98'}, False, False),
        ({"if_match": ""}, False, False),
        ({"if_none_match": "*"}, False, True),
        ({"if_none_match": "CURRENT"}, False, True),
        ({"if_none_match": "1.1.99"}, True, True),
        ({"if_match": "CURRENT", "if_none_match": "1.1.99"}, True, False),
        ({"if_match": "CURRENT", "if_none_match": "*"}, False, False),
    ],
)
def test_conditions_mean_what_http_says(
    story: Story, n1: StoryNode, condition: dict[str, str], on_present: bool, on_absent: bool, applied: bool
) -> None:
    n1.put("w", b"k")
    story.settle(apply=applied)
    present = {name: text.replace("CURRENT", etag(PID, 1, 2)) for name, text in condition.items()}
    assert (n1.delete("d", b"k", **present) is LATER) is on_present
    assert (n1.put("p", b"absent", **present) is LATER) is on_absent


def test_a_part_of_an_etag_is_no_match(story: Story, n1: StoryNode) -> None:
    for number in range(20):
        n1.put(f"w{number}", b"k")
    story.settle()
    assert etag(PID, 1, 21) == "1.1.15"
    for text in ("1.1.1", "1.1.5", ".1.15", "15", "1.1.15x"):
        assert code(n1.put(text, b"k", if_match=text)) == "precondition_failed"


def test_created_is_said_of_a_key_that_was_absent_at_the_logs_end(story: Story, n1: StoryNode) -> None:
    n1.put("new", b"k")
    n1.put("old", b"k")
    n1.delete("gone", b"k")
    n1.put("again", b"k")
    story.settle()
    assert [n1.replies[ticket].created for ticket in ("new", "old", "gone", "again")] == [True, False, False, True]
