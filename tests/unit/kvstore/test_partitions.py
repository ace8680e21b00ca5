"""A node's copies together: made, read back, batched, reported."""

from __future__ import annotations

from unittest import mock

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.test_partition import damage

from kvstore.map_values import Entry, Rid
from kvstore.messages import CopyReport, NodeReport, ReadOne, WriteOne
from kvstore.node_state import load_node_state
from kvstore.partitions import SWEPT_TOKENS_MIN
from kvstore.replication.answers import LATER
from kvstore.replication.copy_rows import ENTRY, NAME, PROMISE, STATE
from kvstore.replication.retention import Retention
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal

ALL = Retention(age_ms=-1, size_bytes=0)


@pytest.fixture
def story() -> Story:
    return Story()


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.lead()


def test_each_start_raises_the_boot_counter_durably(story: Story) -> None:
    for boot in (1, 2, 3):
        assert story.n1.partitions.state.boot == boot
        state = load_node_state(story.n1.engine.snapshot())
        assert state is not None
        assert state.boot == boot
        story.n1.restart()


def test_a_node_remembers_its_cluster_with_the_next_batch(story: Story) -> None:
    story.n1.partitions.join(b"cluster1", boot_floor=0)
    assert story.n1.partitions.needs_batch
    story.n1.batch()
    story.n1.restart()
    assert story.n1.partitions.state.cluster_id == b"cluster1"
    assert story.n1.partitions.state.boot == 2


def test_a_new_store_counts_on_from_the_boot_that_its_cluster_knows(story: Story) -> None:
    story.n1.partitions.join(b"cluster1", boot_floor=41)
    assert story.n1.partitions.state.boot == 42
    story.n1.restart()
    assert (story.n1.partitions.state.boot, story.n1.partitions.state.cluster_id) == (2, b""), "it never joined"
    story.n1.partitions.join(b"cluster1", boot_floor=41)
    story.n1.batch()
    story.n1.restart()
    assert story.n1.partitions.state.boot == 43


def test_a_new_store_with_a_higher_boot_than_its_cluster_knows_keeps_it(story: Story) -> None:
    story.n1.restart()
    story.n1.restart()
    story.n1.partitions.join(b"cluster1", boot_floor=2)
    assert story.n1.partitions.state.boot == 3


def test_a_store_that_belongs_to_a_cluster_keeps_its_boot_so_that_an_older_image_is_known(story: Story) -> None:
    story.n1.partitions.join(b"cluster1", boot_floor=0)
    story.n1.batch()
    story.n1.restart()
    story.n1.partitions.join(b"cluster1", boot_floor=41)
    assert story.n1.partitions.state.boot == 2


def test_a_new_store_leads_by_the_boot_with_which_it_joined(story: Story) -> None:
    story.n1.partitions.join(b"cluster1", boot_floor=41)
    ((_, rid),) = story.n1.partitions.create_copies([2])
    story.n1.on_entry(Entry(2, "default", 1, 0, None, (rid,), (rid,)))
    assert [(entry.pid, entry.leader_boot) for entry in story.n1.asks] == [(2, 42)]


def test_a_copy_is_made_once_and_named_again_when_asked_again(story: Story) -> None:
    made = story.n1.partitions.create_copies([1, 2, 3])
    assert made[0] == (PID, story.n1.rid)
    assert len({rid for _, rid in made}) == 3
    assert story.n1.partitions.create_copies([3, 1]) == [made[2], made[0]]
    story.n1.batch()
    story.n1.restart()
    assert story.n1.partitions.create_copies([1, 2, 3]) == made


def test_local_numbers_are_never_used_again(story: Story) -> None:
    story.n1.partitions.create_copies([2])
    story.n1.batch()
    story.n1.restart()
    story.n1.partitions.create_copies([3])
    assert [partition.copy.number for partition in story.n1.partitions] == [1, 2, 3]


def test_a_copy_that_was_not_durable_is_made_anew_under_another_name(story: Story) -> None:
    (lost,) = story.n1.partitions.create_copies([2])
    story.n1.restart()
    (made,) = story.n1.partitions.create_copies([2])
    assert made != lost


def test_a_request_for_a_partition_that_is_not_here_is_to_try_elsewhere(story: Story, n1: StoryNode) -> None:
    view = n1.engine.snapshot()
    assert code(n1.partitions.reads.plain("r", ReadOne(99, 1, b"k"), view, story.now)) == "no_leader"
    assert code(n1.partitions.write("w", WriteOne(99, 1, b"k", b"v"), view, story.now)) == "no_leader"


def test_entries_of_other_partitions_are_ignored(story: Story, n1: StoryNode) -> None:
    n1.on_entry(Entry(99, "default", 9, 9, n1.rid, (n1.rid,), (n1.rid,)))
    assert n1.leader.is_serving


@pytest.mark.parametrize("named", [Rid("n1", b"another store..."), Rid("n2", b"n2-store-1......")])
def test_a_newer_entry_that_does_not_name_this_copy_ends_leadership_and_is_not_kept(
    story: Story, n1: StoryNode, named: Rid
) -> None:
    n1.on_entry(Entry(PID, "default", 1, 9, named, (named,), (named,)))
    assert n1.leader.is_serving
    n1.on_entry(Entry(PID, "default", 9, 9, named, (named,), (named,)))
    assert n1.partition.leader is None
    assert n1.partition.ver == 2


def test_one_batch_at_a_time(n1: StoryNode) -> None:
    n1.put("w", b"k")
    n1.begin_batch()
    with pytest.raises(AssertionError, match="one batch at a time"):
        n1.begin_batch()


def test_one_batch_holds_what_all_copies_have_to_save(story: Story) -> None:
    n1 = story.n1
    ((_, rid),) = n1.partitions.create_copies([2])
    story.push()
    n1.on_entry(Entry(2, "default", 1, 0, None, (rid,), (rid,)))
    story.settle()
    alone = n1.asks  # the entry of the second partition stands nowhere in this story's control
    assert alone == []
    n1.on_entry(Entry(2, "default", 2, 1, rid, (rid,), (rid,), leader_boot=1))
    story.settle()
    view = n1.engine.snapshot()
    assert n1.partitions.write("a", WriteOne(1, 2, b"k", b"v"), view, story.now) is LATER
    assert n1.partitions.write("b", WriteOne(2, 2, b"k", b"v"), view, story.now) is LATER
    n1.begin_batch()
    turn = n1._turn
    assert turn is not None
    assert [len(turn.batch.tables[table]) for table in (Table.LOG, Table.JOURNAL)] == [0, 1]
    n1.end_batch()
    numbers = [partition.copy.number for partition in n1.partitions]
    assert sorted(Journal().load(n1.engine.snapshot())) == sorted(numbers)


def test_much_that_is_committed_is_applied_without_being_asked_to(story: Story, n1: StoryNode) -> None:
    for number in range(300):
        n1.put(f"w{number}", b"k%d" % number)
    story.settle()
    assert n1.rows(Table.DATA) == {}
    n1.put("next", b"k")
    n1.batch()
    assert len(n1.rows(Table.DATA)) == 300


def test_a_node_with_nothing_to_save_needs_no_batch(story: Story, n1: StoryNode) -> None:
    story.settle(apply=True)
    assert not n1.partitions.needs_batch
    assert n1.read("r", b"k") is None
    assert not n1.partitions.needs_batch


def test_a_report_tells_what_is_served_and_how_much_is_held(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"key", b"value")
    story.settle(apply=True)
    assert n1.partitions.report() == NodeReport([CopyReport(PID, 1, True, 1, 8, 2, 1, 2)])
    assert story.n2.partitions.report() == NodeReport([CopyReport(PID, 1, False, 1, 8, 2, 1, 2)])


# ---- old log rows ---------------------------------------------------------------------------------------------------


def truncate(story: Story, node: StoryNode) -> None:
    node.perform(node.partitions.truncation.advance(node.engine.snapshot(), story.now, ALL))
    node.batch()


def test_rows_that_a_follower_may_still_need_are_kept(story: Story, n1: StoryNode) -> None:
    n1.put("w1", b"k")
    story.settle(apply=True)
    n1.put("w2", b"k")
    n1.batch()
    story.drop()
    truncate(story, n1)
    assert len(n1.rows(Table.LOG)) == 2
    story.pass_ms(2000)
    n1.tick()
    story.settle(apply=True)
    truncate(story, n1)
    assert len(n1.rows(Table.LOG)) == 1


def test_nothing_goes_before_the_follower_told_where_it_stands(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle(apply=True)
    story.restart(n1)
    story.land(n1)
    truncate(story, n1)
    assert len(n1.rows(Table.LOG)) == 3
    story.settle(apply=True)
    truncate(story, n1)
    assert len(n1.rows(Table.LOG)) == 1


def test_a_node_goes_on_after_its_old_rows_are_gone(story: Story, n1: StoryNode) -> None:
    for number in range(5):
        n1.put(f"w{number}", b"k", b"%d" % number)
        story.settle(apply=True)
    for node in story.nodes.values():
        truncate(story, node)
        assert len(node.rows(Table.LOG)) == 1
    story.restart(story.n2)
    story.restart(n1)
    story.settle()
    assert n1.read("r", b"k") == b"4"
    assert n1.put("w", b"k") is LATER
    story.settle()
    assert "w" in n1.replies


def test_a_damaged_old_row_stops_its_copy_and_not_the_node(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k")
    story.settle(apply=True)
    damage(n1, Table.LOG, (1).to_bytes(8, "big"))
    truncate(story, n1)
    assert len(n1.alarms) == 1
    assert n1.partition.is_quarantined


# ---- damage at a start ----------------------------------------------------------------------------------------------


def stored(node: StoryNode) -> list[dict[bytes, bytes]]:
    view = node.engine.snapshot()
    prefix = node.partition.copy.prefix
    return [dict(view.scan(table, prefix, prefix + b"\xff" * 500)) for table in Table]


@pytest.mark.parametrize("name", [PROMISE, STATE, ENTRY])
def test_a_damaged_copy_is_found_at_the_start_and_its_rows_stay_as_they_are(
    story: Story, n1: StoryNode, name: bytes
) -> None:
    n1.put("w", b"k")
    story.settle(apply=True)
    batch = Batch()
    batch.put(Table.META, n1.partition.copy.prefix + name, b"\xc1")
    n1.engine.commit(batch)
    n1.restart()
    assert len(n1.alarms) == 1
    before = stored(n1)
    n1.on_entry(story.entry)
    n1.tick()
    n1.batch(apply=True)
    assert stored(n1) == before, "a copy that stopped writes nothing, or its damage would be forgotten"
    assert n1.asks == []
    n1.restart()
    assert len(n1.alarms) == 2
    assert code(n1.read("r", b"k")) == "no_leader"


def test_a_copy_that_lost_its_name_is_told_of_and_the_others_live(story: Story, n1: StoryNode) -> None:
    n1.partitions.create_copies([2])
    n1.batch()
    batch = Batch()
    batch.put(Table.META, n1.partition.copy.prefix + NAME, b"\xc1")
    n1.engine.commit(batch)
    n1.restart()
    assert len(n1.alarms) == 1
    assert [partition.pid for partition in n1.partitions] == [2]


def test_a_node_state_survives_unchanged(story: Story) -> None:
    state = story.n1.partitions.state
    story.n1.restart()
    assert story.n1.partitions.state == msgspec.structs.replace(state, boot=state.boot + 1)


def test_what_leaves_in_a_turn_is_in_the_order_of_the_copies(n1: StoryNode) -> None:
    pids = list(range(20, 40))
    n1.partitions.create_copies(pids)
    streamed: list[int] = []
    for pid in pids:
        partition = n1.partitions.by_pid[pid]
        partition.leader = mock.Mock(is_settled=True)
        partition.stream = lambda *_, pid=pid: streamed.append(pid) or []  # type: ignore[func-returns-value,method-assign]
    n1.partitions.stream(n1.engine.snapshot(), n1._story.now)
    assert streamed == pids


def test_what_all_copies_forget_with_one_batch_is_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    story = Story(nodes=1, pids=(1, 2, 3, 4))
    story.lead()
    asked: list[int] = []

    def sweep(_partition: object, _batch: object, _view: object, tokens_max: int) -> int:
        asked.append(tokens_max)
        return SWEPT_TOKENS_MIN

    monkeypatch.setattr("kvstore.partition.Partition.sweep", sweep)
    for pid in story.entries:
        story.n1.write(f"w{pid}", WriteOne(pid, story.entries[pid].ver, b"k", b"v"))
    story.n1.batch()
    assert asked[0] >= SWEPT_TOKENS_MIN
    assert asked[1:] == list(range(asked[0] - SWEPT_TOKENS_MIN, 0, -SWEPT_TOKENS_MIN))
    assert len(asked) < len(story.entries)
