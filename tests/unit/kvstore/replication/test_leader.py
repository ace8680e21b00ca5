"""A leader and its follower, step by step: what is answered when, and what is seen by whom."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from unit.kvstore.story import Story, StoryNode, code, plain, version

from kvstore.messages import Acked, Append, Written
from kvstore.replication.answers import LATER
from kvstore.replication.leader import SWEEP_MS
from kvstore.storage.engine import Table
from kvstore.storage.records import decode_value, split_expiry_key


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_a_write_is_answered_only_after_its_own_disk_and_the_followers(story: Story, n1: StoryNode) -> None:
    assert n1.put("w", b"k") is LATER
    n1.begin_batch()
    story.deliver(n1, Append)
    story.n2.batch()
    story.deliver(story.n2, Acked)
    assert "w" not in n1.replies, "the leader's own disk has not got it"
    n1.end_batch()
    assert n1.replies["w"] == Written(True, 1, 2, copies=2)


def test_a_write_on_the_leaders_disk_waits_for_the_follower(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    n1.batch()
    story.deliver(n1, Append)
    assert "w" not in n1.replies
    story.n2.begin_batch()
    story.deliver(story.n2)
    assert "w" not in n1.replies, "the follower's batch is not durable yet"
    story.n2.end_batch()
    story.deliver(story.n2, Acked)
    assert version(n1.replies["w"]) == (1, 2)


def test_with_three_copies_every_follower_must_have_it() -> None:
    story = Story(nodes=3)
    n1 = story.lead()
    n1.put("w", b"k")
    n1.batch()
    story.deliver(n1)
    for node, answered in (("n2", False), ("n3", True)):
        story.nodes[node].batch()
        story.deliver(story.nodes[node])
        assert ("w" in n1.replies) is answered
    assert n1.replies["w"].copies == 3


def test_with_one_copy_its_own_disk_is_enough() -> None:
    story = Story(nodes=1)
    n1 = story.lead()
    n1.put("w", b"k")
    assert "w" not in n1.replies
    n1.batch()
    assert n1.replies["w"].copies == 1


def test_a_write_is_not_seen_before_it_is_committed(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k", b"old")
    story.settle()
    n1.put("w2", b"k", b"new")
    assert n1.read("r", b"k") == b"old"
    n1.batch()
    assert n1.read("r", b"k") == b"old"
    story.settle()
    assert n1.read("r", b"k") == b"new"


def test_a_committed_write_is_seen_before_and_after_it_is_applied(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    story.settle()
    assert n1.rows(Table.DATA) == {}
    assert n1.read("r", b"k") == b"v"
    n1.batch(apply=True)
    assert plain(n1.rows(Table.DATA)[b"k"]) == b"v"
    assert n1.read("r", b"k") == b"v"


def test_a_batch_that_applies_does_not_uncover_the_value_before(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k", b"1")
    story.settle(apply=True)
    n1.put("w2", b"k", b"2")
    story.settle()
    n1.begin_batch(apply=True)
    n1.put("w3", b"k", b"3")
    assert n1.read("r", b"k") == b"2"
    n1.end_batch()
    assert n1.read("r", b"k") == b"2"
    story.settle()
    assert n1.read("r", b"k") == b"3"


def test_a_newer_value_stays_while_an_older_one_is_applied(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k", b"1")
    story.settle()
    n1.put("w2", b"k", b"2")
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    n1.begin_batch(apply=True)
    story.deliver(story.n2)
    assert n1.read("r", b"k") == b"2"
    n1.end_batch()
    assert plain(n1.rows(Table.DATA)[b"k"]) == b"1"
    assert n1.read("r", b"k") == b"2"


def test_the_logs_end_stays_known_while_an_older_record_is_applied(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle()
    n1.begin_batch(apply=True)
    n1.delete("d", b"k")
    n1.end_batch()
    n1.put("c", b"k", if_match="*")
    story.settle()
    assert code(n1.replies["c"]) == "precondition_failed"


def test_an_older_tail_that_is_committed_does_not_make_a_leader_serve(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"v")
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    story.drop()
    story.restart(n1)
    story.land(n1)
    n1.batch()
    story.deliver(n1)
    story.n2.batch()
    story.deliver(story.n2)
    assert n1.partition.copy.commit_seq == 2, "the row of the epoch before is on both disks"
    assert code(n1.read("r", b"k")) == "no_leader"
    story.settle()
    assert n1.read("r", b"k") == b"v"


def test_nothing_is_served_before_the_barrier_is_committed(story: Story) -> None:
    n1 = story.n1
    story.push()
    story.land(n1)
    for _ in range(2):
        assert code(n1.read("r", b"k")) == code(n1.put("w", b"k")) == "no_leader"
        n1.batch()
    story.settle()
    assert n1.read("r", b"k") is None
    assert n1.put("w", b"k") is LATER


def test_versions_never_repeat_over_delete_and_restart(story: Story, n1: StoryNode) -> None:
    versions = []
    for turn in range(6):
        for action in (n1.put, n1.delete, n1.put):
            ticket = f"{turn} {len(versions)}"
            action(ticket, b"k")
            story.settle(apply=turn % 2 == 0)
            versions.append(version(n1.replies[ticket]))
        if turn % 2:
            n1.put(f"lost {turn}", b"k")
            n1.begin_batch()
            story.restart(n1)
            story.settle()
            assert n1.leader.is_serving
    assert len(set(versions)) == len(versions) == 18
    assert versions == sorted(versions)


KEYS = st.sampled_from([b"a", b"b", b"c"])
OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), KEYS, st.binary(max_size=5), st.none() | st.integers(1, 3000)),
        st.tuples(st.just("delete"), KEYS),
        st.tuples(st.just("pass"), st.integers(1, 1500)),
        st.tuples(st.just("settle"), st.booleans()),
        st.tuples(st.just("restart"), st.sampled_from(["n1", "n2"])),
    ),
    max_size=20,
)


@settings(max_examples=60, deadline=None)
@given(OPERATIONS)
def test_both_copies_hold_what_a_dict_would_and_count_it_right(operations: list[tuple[Any, ...]]) -> None:
    story = Story()
    n1 = story.lead()
    model: dict[bytes, tuple[bytes, int]] = {}
    for number, (name, *arguments) in enumerate(operations):
        if name == "pass":
            story.pass_ms(arguments[0])
            story.beat()
        elif name == "settle":
            story.settle(apply=arguments[0])
        elif name == "restart":
            story.settle()
            story.restart(story.nodes[arguments[0]])
            story.settle()
        elif name == "put":
            key, value, ttl_ms = arguments
            assert n1.put(str(number), key, value, ttl_ms=ttl_ms) is LATER
            model[key] = value, story.now.wall_ms + ttl_ms if ttl_ms else 1 << 60
        else:
            n1.delete(str(number), arguments[0])
            model.pop(arguments[0], None)
        if name == "restart":
            n1.replies.clear()
    story.settle()
    for _ in range(2):
        story.pass_ms(SWEEP_MS)
        n1.tick()
        swept_ms = story.now.wall_ms
        story.settle(apply=True)
    alive = {key: value for key, (value, until_ms) in model.items() if until_ms > swept_ms}
    for node in story.nodes.values():
        data = node.rows(Table.DATA)
        assert {key: plain(row) for key, row in data.items()} == alive
        copy = node.partition.copy
        assert (copy.contents.keys, copy.contents.size_bytes) == (
            len(alive),
            sum(len(key) + len(value) for key, value in alive.items()),
        )
        index = [split_expiry_key(b"0000" + key) for key in node.rows(Table.EXPIRY)]
        expiries = {key: decode_value(row).expiry_ms for key, row in data.items()}
        assert sorted(index) == sorted((expiry_ms, key) for key, expiry_ms in expiries.items() if expiry_ms)
        assert node.alarms == []
    assert story.n1.rows(Table.DATA) == story.n2.rows(Table.DATA)
    assert story.n1.rows(Table.LOG) == story.n2.rows(Table.LOG)
