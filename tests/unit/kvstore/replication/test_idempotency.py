"""A write that is sent again gets its first outcome and applies nothing, whoever leads and whatever was restarted."""

from __future__ import annotations

import itertools
from typing import Any

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code, version

from kvstore import partitions
from kvstore.messages import WriteOne, Written
from kvstore.replication.answers import LATER
from kvstore.replication.outcomes import TOKEN, TOKEN_KEEP_MS, TOKEN_TIME, WINDOW, Outcomes, outcome_rows
from kvstore.replication.windows import KEEP_MS, WINDOW_MAX
from kvstore.storage.engine import Table
from kvstore.storage.records import RecordType

SCOPE, OTHER_SCOPE = b"scope...........", b"other scope....."
ASKED, ASKED_ELSE = b"fingerprint.....", b"else............"
TOKENED = {"token": SCOPE + ASKED}
NUMBERED = {"origin": 4, "number": 1, "floor": 1}
BOTH = pytest.mark.parametrize("marks", [TOKENED, {**NUMBERED, "again": True}], ids=["token", "number"])


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def end(node: StoryNode) -> int:
    return node.partition.copy.log.end


def fail_over(story: Story) -> StoryNode:
    """n2 takes over from n1, which is gone."""
    entry = story.entry
    n2 = story.n2
    story.entry = msgspec.structs.replace(entry, ver=entry.ver + 1, leader=n2.rid, in_sync=(n2.rid,))
    n2.on_entry(story.entry)
    story.land(n2)
    while n2.partitions.needs_batch:
        n2.batch()
    assert n2.leader.is_serving
    story.drop()
    return n2


# ---- the same outcome, and nothing applied again ------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("applied", [False, True])
def test_a_put_that_is_sent_again_gets_its_first_version(
    story: Story, n1: StoryNode, marks: dict[str, Any], applied: bool
) -> None:
    n1.put("first", b"k", b"mine", **marks)
    story.settle(apply=applied)
    n1.put("between", b"k", b"theirs")
    story.settle(apply=applied)
    before = end(n1)
    n1.put("again", b"k", b"mine", **marks)
    story.settle()
    assert n1.replies["again"] == n1.replies["first"] == Written(True, 1, 2, 2)
    assert end(n1) == before
    assert n1.read("r", b"k") == b"theirs"


@BOTH
def test_the_second_waits_for_the_outcome_of_the_first(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    n1.put("first", b"k", **marks)
    assert n1.put("second", b"k", **marks) is LATER
    n1.batch()
    assert n1.replies == {}
    story.settle()
    assert n1.replies["first"] == n1.replies["second"]


@BOTH
def test_a_hundred_at_once_apply_once(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    for number in range(100):
        n1.put(f"w{number}", b"k", **marks)
    story.settle()
    assert set(n1.replies.values()) == {Written(True, 1, 2, 2)}
    assert end(n1) == 2


@BOTH
def test_a_stored_outcome_that_is_told_is_counted(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    leaders = n1.partitions.leaders
    n1.put("first", b"k", **marks)
    assert leaders.stored_results == 0
    n1.put("while the first is under way", b"k", **marks)
    story.settle(apply=True)
    n1.put("later", b"k", **marks)
    story.settle()
    assert leaders.stored_results == 2


def test_a_token_of_another_request_tells_no_stored_outcome(story: Story, n1: StoryNode) -> None:
    n1.put("first", b"k", b"mine", token=SCOPE + ASKED)
    n1.put("another", b"k", b"else", token=SCOPE + ASKED_ELSE)
    story.settle()
    assert code(n1.replies["another"]) == "token_reused"
    assert n1.partitions.leaders.stored_results == 0


@BOTH
def test_a_failed_condition_is_an_outcome(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    n1.put("w", b"k")
    story.settle()
    n1.put("first", b"k", if_none_match="*", **marks)
    story.settle(apply=True)
    n1.delete("d", b"k")
    story.settle(apply=True)
    n1.put("again", b"k", if_none_match="*", **marks)
    story.settle()
    assert code(n1.replies["first"]) == code(n1.replies["again"]) == "precondition_failed"
    assert n1.read("r", b"k") is None


@BOTH
def test_a_delete_that_found_nothing_is_an_outcome(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    assert n1.delete("first", b"k", **marks) is LATER
    story.settle(apply=True)
    n1.put("w", b"k", b"theirs")
    story.settle(apply=True)
    n1.delete("again", b"k", **marks)
    story.settle()
    assert n1.replies["first"] == n1.replies["again"] == Written(False, 0, 0, 2)
    assert n1.read("r", b"k") == b"theirs"


def test_an_outcome_that_nobody_will_ask_for_again_costs_no_record(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    assert code(n1.put("c", b"k", if_none_match="*", **NUMBERED)) == "precondition_failed"
    assert n1.delete("d", b"other", origin=4, number=2, floor=1) == Written(False, 0, 0, 2)
    assert end(n1) == 2


@BOTH
def test_a_refusal_is_no_outcome(n1: StoryNode, story: Story, marks: dict[str, Any]) -> None:
    n1.partitions.usage = type(n1.partitions.usage)(10, 1)
    assert code(n1.put("full", b"k", **marks)) == "storage_full"
    n1.partitions.usage = type(n1.partitions.usage)(0, 1 << 40)
    n1.put("w", b"k", **marks)
    story.settle()
    assert version(n1.replies["w"]) == (1, 2)


def test_a_stored_outcome_is_told_although_the_store_is_full(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", **TOKENED)
    story.settle(apply=True)
    n1.partitions.usage = type(n1.partitions.usage)(10, 1)
    assert version(n1.put("again", b"k", **TOKENED)) == (1, 2)


# ---- who is who ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_the_same_token_with_another_request_is_refused(story: Story, n1: StoryNode, applied: bool) -> None:
    n1.put("w", b"k", **TOKENED)
    if applied:
        story.settle(apply=True)
    n1.put("else", b"k", b"else", token=SCOPE + ASKED_ELSE)
    story.settle()
    assert code(n1.replies["else"]) == "token_reused"
    assert n1.read("r", b"k") == b"value"


def test_the_refusal_of_a_token_waits_until_its_first_use_is_committed(n1: StoryNode) -> None:
    n1.put("w", b"k", **TOKENED)
    assert n1.put("else", b"k", token=SCOPE + ASKED_ELSE) is LATER


def test_the_same_token_in_another_scope_is_another_write(story: Story, n1: StoryNode) -> None:
    n1.put("a", b"k", **TOKENED)
    n1.put("b", b"k", token=OTHER_SCOPE + ASKED)
    story.settle()
    assert [version(n1.replies[ticket]) for ticket in "ab"] == [(1, 2), (1, 3)]


def test_a_token_of_another_length_is_refused(n1: StoryNode) -> None:
    assert code(n1.put("w", b"k", token=b"short")) == "bad_request"


def test_the_same_number_of_another_incarnation_is_another_write(story: Story, n1: StoryNode) -> None:
    n1.put("a", b"k", **NUMBERED)
    n1.put("b", b"k", **{**NUMBERED, "origin": 5})
    story.settle()
    assert [version(n1.replies[ticket]) for ticket in "ab"] == [(1, 2), (1, 3)]


# ---- windows ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("applied", [False, True])
def test_a_number_below_the_floor_is_never_carried_out(story: Story, n1: StoryNode, applied: bool) -> None:
    n1.put("w", b"k", origin=4, number=5, floor=5)
    if applied:
        story.settle(apply=True)
    assert code(n1.put("late", b"k", origin=4, number=4, floor=4)) == "stale_token"
    assert code(n1.put("odd", b"k", origin=9, number=4, floor=5)) == "stale_token"


def test_a_full_window_appends_nothing(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", origin=4, number=1, floor=1)
    assert code(n1.put("far", b"k", origin=4, number=1 + WINDOW_MAX, floor=1)) == "locked"
    assert n1.put("last", b"k", origin=4, number=WINDOW_MAX, floor=1) is LATER
    story.settle()
    assert end(n1) == 3


@pytest.mark.parametrize("failover", [False, True])
def test_of_an_incarnation_that_was_dropped_nothing_is_carried_out(story: Story, n1: StoryNode, failover: bool) -> None:
    n1.put("w", b"k", **NUMBERED)
    story.settle(apply=True)
    story.pass_ms(KEEP_MS)
    story.beat()
    n1.put("other", b"k", origin=5, number=1, floor=1)
    story.settle(apply=True)
    leader = fail_over(story) if failover else n1
    assert code(leader.put("again", b"k", **NUMBERED)) == "stale_token"
    assert code(leader.put("lower", b"k", origin=3, number=1, floor=1)) == "stale_token"
    assert leader.put("higher", b"k", origin=6, number=1, floor=1) is LATER


def test_a_window_is_one_row_whatever_was_written(story: Story, n1: StoryNode) -> None:
    for number in range(1, 20):
        n1.put(f"w{number}", b"k%d" % number, origin=4, number=number, floor=number)
    story.settle(apply=True)
    for node in story.nodes.values():
        assert [key[:1] for key in node.rows(Table.IDEMPOTENCY)] == [WINDOW]


# ---- through restarts and failovers -------------------------------------------------------------------------------


@BOTH
@pytest.mark.parametrize("applied", [False, True])
def test_a_new_leader_knows_what_the_former_one_did(
    story: Story, n1: StoryNode, marks: dict[str, Any], applied: bool
) -> None:
    n1.put("first", b"k", b"mine", **marks)
    story.settle(apply=applied)
    n2 = fail_over(story)
    n2.put("again", b"k", b"mine", **marks)
    while n2.partitions.needs_batch:
        n2.batch()
    assert version(n2.replies["again"]) == version(n1.replies["first"])
    assert end(n2) == 3


@BOTH
@pytest.mark.parametrize("applied", [False, True])
def test_a_restarted_leader_knows_what_it_did(
    story: Story, n1: StoryNode, marks: dict[str, Any], applied: bool
) -> None:
    n1.put("first", b"k", **marks)
    story.settle(apply=applied)
    first = n1.replies["first"]
    story.restart(n1)
    story.settle()
    n1.put("again", b"k", **marks)
    story.settle()
    assert version(n1.replies["again"]) == version(first)


@BOTH
def test_what_was_never_committed_is_not_remembered(story: Story, n1: StoryNode, marks: dict[str, Any]) -> None:
    """I10: the tail that is cut takes its outcomes with it."""
    n1.put("lost", b"k", b"lost", **marks)
    n1.batch()
    story.drop(n1)
    n2 = fail_over(story)
    n2.put("w", b"k", b"kept", **marks)
    while n2.partitions.needs_batch:
        n2.batch()
    assert version(n2.replies["w"]) == (2, 3)


def test_a_batch_that_applies_while_leadership_begins_is_not_taken_twice(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", **NUMBERED)
    n1.put("v", b"k", origin=4, number=2, floor=2)
    story.settle()
    story.beat()
    n2 = story.n2
    n2.begin_batch(apply=True)
    entry = story.entry
    story.entry = msgspec.structs.replace(entry, ver=entry.ver + 1, leader=n2.rid, in_sync=(n2.rid,))
    n2.on_entry(story.entry)
    story.land(n2)
    assert (n2.partition.copy.applied_seq, n2.partition.copy.taken_seq) == (0, 3)
    n2.end_batch()
    while n2.partitions.needs_batch:
        n2.batch()
    assert code(n2.put("again", b"k", **NUMBERED)) == "stale_token"
    assert version(n2.put("v", b"k", origin=4, number=2, floor=2)) == (1, 3)


# ---- time ---------------------------------------------------------------------------------------------------------


def used(node: StoryNode) -> WriteOne:
    return WriteOne(PID, node.partition.ver, b"k", b"v", **TOKENED)


def test_a_token_counts_for_its_time_and_not_longer(story: Story, n1: StoryNode) -> None:
    n1.write("w", used(n1))
    story.settle(apply=True)
    story.pass_ms(TOKEN_KEEP_MS - 1000)
    story.beat()
    n1.write("again", used(n1))
    assert version(n1.replies["again"]) == (1, 2)
    story.pass_ms(1000)
    story.beat()
    n1.write("anew", used(n1))
    story.settle(apply=True)
    assert version(n1.replies["anew"]) == (1, 3)
    story.beat()
    n1.write("anew again", used(n1))
    assert version(n1.replies["anew again"]) == (1, 3)


def test_rows_that_no_longer_count_are_deleted(story: Story, n1: StoryNode) -> None:
    n1.write("w", used(n1))
    story.settle(apply=True)
    story.pass_ms(TOKEN_KEEP_MS)
    story.beat()
    n1.put("other", b"other")
    story.settle(apply=True)
    for node in story.nodes.values():
        node.batch(apply=True)
        assert node.rows(Table.IDEMPOTENCY) == {}


def test_tokens_of_a_rush_are_swept_a_few_with_each_batch_until_all_are(
    story: Story, n1: StoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(partitions, "SWEPT_TOKENS_MIN", 5)
    tokens = 100
    for number in range(tokens):
        token = number.to_bytes(16, "big") + ASKED
        n1.write(f"w{number}", WriteOne(PID, n1.partition.ver, b"k%d" % number, b"v", token=token))
    story.settle(apply=True)
    story.pass_ms(TOKEN_KEEP_MS)
    story.beat()
    left = [tokens]
    for number in range(60):
        n1.put(f"other{number}", b"other")
        story.settle(apply=True)
        left.append(sum(key[:1] == TOKEN for key in n1.rows(Table.IDEMPOTENCY)))
    steps = [before - after for before, after in itertools.pairwise(left)]
    assert 5 <= max(steps) <= 40
    assert left[-1] == 0


def test_a_token_used_again_after_its_time_is_not_deleted_with_its_former_row(story: Story, n1: StoryNode) -> None:
    n1.write("w", used(n1))
    story.settle(apply=True)
    story.pass_ms(TOKEN_KEEP_MS)
    story.beat()
    n1.write("anew", used(n1))
    story.settle(apply=True)
    for node in story.nodes.values():
        node.batch(apply=True)
        assert [key[:1] for key in node.rows(Table.IDEMPOTENCY)] == [TOKEN, TOKEN_TIME]


def test_what_counts_is_the_same_whether_or_not_a_copy_has_swept(
    story: Story, n1: StoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Outcomes, "sweep", lambda *_: 0)
    n1.write("w", used(n1))
    story.settle(apply=True)
    copy = n1.partition.copy
    assert len(list(outcome_rows(copy.prefix, n1.engine.snapshot(), copy.applied_ms))) == 1
    story.pass_ms(TOKEN_KEEP_MS)
    story.beat()
    n1.put("other", b"other")
    story.settle(apply=True)
    assert len(n1.rows(Table.IDEMPOTENCY)) == 2
    assert list(outcome_rows(copy.prefix, n1.engine.snapshot(), copy.applied_ms)) == []


def test_an_outcome_record_changes_no_data(story: Story, n1: StoryNode) -> None:
    n1.delete("d", b"k", **TOKENED)
    story.settle(apply=True)
    copy = n1.partition.copy
    assert copy.contents.keys == 0
    assert n1.rows(Table.DATA) == {}
    assert RecordType.OUTCOME > RecordType.EXPIRE
