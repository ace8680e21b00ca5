"""The way of keys from one partition to another, from its beginning to its end."""

from __future__ import annotations

import pytest
from unit.kvstore.story import ALL_GRACE_MS, TICK_MS, code
from unit.kvstore.transfer.carrying import SOURCE, TARGET, TOKEN, Carrying

from kvstore.map_values import TransferState
from kvstore.messages import Scan, Written
from kvstore.replication.retention import Retention
from kvstore.scan.capture import capture
from kvstore.scan.count import KeyCount
from kvstore.scan.items import ItemForm
from kvstore.scan.page import ScanPage
from kvstore.storage.records import decode_value, version_of
from kvstore.transfer import pieces

LEAVING = [b"x0", b"x1", b"x2", b"x3"]
STAYING = [b"a0", b"a1", b"a2", b"a3"]


@pytest.fixture
def story() -> Carrying:
    return Carrying()


def test_keys_are_served_by_the_target_once_the_map_has_switched_and_by_the_source_before(story: Carrying) -> None:
    story.begin()
    assert story.read(b"x1") == b"value"
    story.go_on()
    assert story.state(SOURCE) is TransferState.HANDED
    story.switch()
    assert story.read(b"x1", TARGET) == story.read(b"b", TARGET) == b"value"
    assert story.read(b"a1") == b"value"


def test_versions_stay_the_same_and_say_where_they_were_made(story: Carrying) -> None:
    epoch, seq, _ = version_of(story.row(b"x1", SOURCE))
    story.hand_over()
    story.switch()
    assert version_of(story.row(b"x1", TARGET)) == (epoch, seq, SOURCE)
    story.put(b"x1", b"new", TARGET, ticket="w", if_match=f"1.{epoch:x}.{seq:x}")
    story.settle()
    assert isinstance(story.node(TARGET).replies["w"], Written)
    assert story.read(b"x1", TARGET) == b"new"


def test_what_is_left_behind_is_deleted_on_all_copies_and_then_the_map_knows_of_no_transfer(story: Carrying) -> None:
    story.hand_over()
    story.switch()
    story.settle(apply=True)
    assert story.state(SOURCE) is story.state(TARGET) is None
    for node in story.nodes.values():
        assert story.keys(SOURCE, node) == STAYING
        assert story.keys(TARGET, node) == [b"b", *LEAVING]
        assert story.of(SOURCE, node).copy.contents.keys == len(STAYING)
        assert story.of(TARGET, node).copy.contents.keys == 1 + len(LEAVING)


def test_what_changes_while_keys_are_copied_comes_too(story: Carrying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CHUNK_BYTES", 1)
    story.begin()
    for _ in range(4):
        story.step()
    progress = story.leader(TARGET).progress
    assert progress is None or not progress.is_copied
    story.put(b"x0", b"changed")
    story.put(b"x9", b"new")
    story.put(b"x3", None)
    story.put(b"a9", b"stays")
    monkeypatch.undo()
    story.go_on()
    story.switch()
    assert story.read(b"x0", TARGET) == b"changed"
    assert story.read(b"x9", TARGET) == b"new"
    assert story.read(b"x3", TARGET) is None
    story.settle(apply=True)
    assert story.keys(TARGET, story.n1) == [b"b", b"x0", b"x1", b"x2", b"x9"]


def test_the_target_shows_nothing_of_it_before_the_switch(story: Carrying) -> None:
    story.hand_over()
    node, entry = story.node(TARGET), story.entries[TARGET]
    assert code(story.read(b"x1", TARGET)) == code(story.put(b"x1", b"w", TARGET)) == "no_leader"
    parts = [(TARGET, entry.ver)]
    view = node.engine.snapshot()
    asked = Scan(parts, b"", b"", 100, 1 << 20, False, ItemForm.JSON, True)
    captured, faults = capture(node.partitions.by_pid, parts, b"", b"", story.now, {})
    page = ScanPage(captured, view, asked, story.now.wall_ms)
    while not page.step():
        pass
    assert (page.keys, faults) == ([b"b"], [])
    count = KeyCount([(captured[0], b"")], view, b"")
    while not count.step():
        pass
    assert count.counts == [(TARGET, 1, None)]


def test_the_source_shows_nothing_of_it_after_the_switch(story: Carrying) -> None:
    story.hand_over()
    story.switch()
    assert code(story.read(b"x1")) == code(story.put(b"x1", b"w")) == "no_leader"
    assert story.read(b"a1") == b"value"


def test_a_key_whose_time_is_over_goes_with_its_end(story: Carrying) -> None:
    story.put(b"xt", b"short", ttl_ms=5000)
    story.settle(apply=True)
    story.hand_over()
    story.switch()
    assert 0 < decode_value(story.row(b"xt", TARGET)).expiry_ms <= story.now.wall_ms + 5000
    story.settle(apply=True)
    for _ in range(12):
        story.beat()
    story.settle(apply=True)
    assert story.read(b"xt", TARGET) is None
    assert b"xt" not in story.keys(TARGET, story.n1)


def test_a_write_that_is_sent_again_to_the_target_is_told_what_became_of_it_in_the_source(story: Carrying) -> None:
    story.put(b"x1", b"by token", ticket="first", token=TOKEN)
    story.settle()
    first = story.node(SOURCE).replies["first"]
    story.hand_over()
    story.switch()
    again = story.put(b"x1", b"by token", TARGET, token=TOKEN)
    assert again == Written(first.created, first.epoch, first.seq, first.copies, SOURCE)
    changed = story.put(b"x1", b"by token", TARGET, token=TOKEN[:16] + b"another request.")
    assert code(changed) == "token_reused"


def test_a_target_that_fails_goes_on_where_it_was(story: Carrying, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pieces, "CHUNK_BYTES", 1)
    story.begin()
    for _ in range(6):
        story.step()
    before = story.leader(TARGET).progress
    assert before is not None
    monkeypatch.undo()
    story.restart(story.n2)
    story.go_on()
    assert story.leader(TARGET).epoch == 2
    for _ in range(3):
        story.beat()
    story.switch()
    assert [story.read(key, TARGET) for key in LEAVING] == [b"value"] * 4


def test_a_new_leader_of_the_target_shows_what_is_not_applied_yet(story: Carrying) -> None:
    story.hand_over()
    story.switch()
    story.restart(story.n2)
    story.settle()
    story.beat()
    leader = story.leader(TARGET)
    assert leader.is_serving
    assert story.read(b"x2", TARGET) == b"value"


def test_a_log_that_does_not_reach_back_any_more_makes_it_begin_anew(story: Carrying) -> None:
    story.begin()
    while not (has := story.leader(TARGET).progress) or not has.is_copied:
        story.step()
    story.drop()
    assert story.state(SOURCE) is TransferState.COPYING
    source = story.of(SOURCE)
    story.leader(SOURCE).followers.pinned_seq = None
    for number in range(3):
        story.put(b"x%d" % number, None)
        story.node(SOURCE).batch()
        story.deliver(story.n1)
        story.n2.batch()
        story.deliver(story.n2)
    story.node(SOURCE).batch(apply=True)
    assert source.truncate_log(story.node(SOURCE).engine.snapshot(), story.now, Retention(0, 0), 100)
    story.node(SOURCE).batch()
    for _ in range(4):
        story.beat()
    assert story.state(SOURCE) is TransferState.HANDED
    story.switch()
    assert [story.read(key, TARGET) for key in LEAVING] == [None, None, None, b"value"]


def test_a_transfer_that_is_aborted_leaves_nothing_and_a_next_one_finds_nothing(story: Carrying) -> None:
    story.begin()
    for _ in range(3):
        story.step()
    story.abort()
    story.settle(apply=True)
    assert story.state(TARGET) is None
    assert story.keys(TARGET, story.n1) == story.keys(TARGET, story.n2) == [b"b"]
    assert story.put(b"x1", b"goes on") is not None
    story.settle()
    story.reshape(TransferState.COPYING, TransferState.COPYING, transfer_id=2)
    story.go_on()
    story.reshape(TransferState.SWITCHED, TransferState.SWITCHED, layout=1, transfer_id=2)
    assert story.read(b"x1", TARGET) == b"goes on"


def test_the_copies_of_the_target_are_equal_while_keys_come(story: Carrying) -> None:
    story.hand_over()
    story.settle(apply=True)
    copies = [story.of(TARGET, node).copy for node in story.nodes.values()]
    assert copies[0].progress == copies[1].progress
    assert copies[0].progress is not None
    assert copies[0].progress.has_all
    assert (copies[0].progress.keys, copies[0].contents.keys) == (len(LEAVING), 1 + len(LEAVING))


def test_one_node_may_lead_both(story: Carrying) -> None:
    story.n2.restart()
    for _ in range(ALL_GRACE_MS // TICK_MS):
        story.pass_ms(TICK_MS)
        story.n1.tick()
        story.n1.batch()
        while story.n1.asks:
            story.land(story.n1)
        story.drop()
    story.n1.batch()
    assert story.node(TARGET) is story.node(SOURCE) is story.n1
    story.begin()
    for _ in range(3):
        story.go_on()
    assert story.state(SOURCE) is TransferState.HANDED
    story.switch()
    assert story.read(b"x3", TARGET) == b"value"
