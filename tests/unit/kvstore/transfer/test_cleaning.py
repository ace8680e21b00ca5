"""Keys that are deleted because they are not served: all of them, in pieces, whatever is applied of them."""

from __future__ import annotations

import pytest
from unit.kvstore.transfer.carrying import SOURCE, TARGET, Carrying

from kvstore.map_values import Transfer, TransferState
from kvstore.replication.retention import Retention
from kvstore.transfer import cleaning
from kvstore.transfer.cleaning import Cleaning

TRANSFER = Transfer(1, SOURCE, TARGET, TransferState.SWITCHED, b"m")
STAYING = [b"a0", b"a1", b"a2", b"a3"]


@pytest.fixture
def story(monkeypatch: pytest.MonkeyPatch) -> Carrying:
    monkeypatch.setattr(cleaning, "LOOKED_ROWS_MAX", 2)
    return Carrying()


def pieces(story: Carrying, transfer: Transfer = TRANSFER) -> list[list[bytes]]:
    """The keys of each piece up to the last one."""
    leader, view = story.leader(SOURCE), story.n1.engine.snapshot()
    work = Cleaning(story.of(SOURCE).copy, transfer)
    found: list[list[bytes]] = []
    while not work.is_done:
        found.append([effect.key for effect in work.piece(leader, view)])
        assert len(found) < 10, "it comes to an end"
    return found


def test_a_piece_has_no_more_keys_than_it_may_look_at_and_all_have_every_key(story: Carrying) -> None:
    assert pieces(story) == [[b"x0", b"x1"], [b"x2", b"x3"], []]
    assert pieces(story, Transfer(1, SOURCE, TARGET, TransferState.SWITCHED, b"a1", b"a3")) == [[b"a1", b"a2"], []]


def test_what_is_not_applied_yet_is_deleted_with_its_neighbours_and_what_has_ended_is_not(story: Carrying) -> None:
    for key, value in ((b"x00", b"new"), (b"x1", None), (b"x9", b"new"), (b"a9", b"new")):
        story.put(key, value)
    story.settle()
    assert pieces(story) == [[b"x0", b"x00"], [b"x2", b"x3"], [b"x9"]]


def test_nothing_is_left_behind_where_it_takes_several_pieces(story: Carrying) -> None:
    story.hand_over()
    story.switch()
    story.settle(apply=True)
    assert story.keys(SOURCE, story.n1) == story.keys(SOURCE, story.n2) == STAYING
    assert story.state(SOURCE) is None


def test_a_target_that_begins_anew_deletes_all_that_it_has_first(story: Carrying) -> None:
    story.begin()
    while not (has := story.leader(TARGET).progress) or not has.is_copied:
        story.step()
    story.drop()
    source = story.node(SOURCE)
    story.leader(SOURCE).followers.pinned_seq = None
    for number in range(4):
        story.put(b"x%d" % number, None)
        source.batch()
        story.deliver(source)
        story.n2.batch()
        story.deliver(story.n2)
    source.batch(apply=True)
    assert story.of(SOURCE).truncate_log(source.engine.snapshot(), story.now, Retention(0, 0), 100)
    source.batch()
    for _ in range(4):
        story.beat()
    assert story.state(SOURCE) is TransferState.HANDED
    story.switch()
    story.settle(apply=True)
    assert story.keys(TARGET, story.n1) == story.keys(TARGET, story.n2) == [b"b"]


def test_a_node_is_not_kept_busy_while_the_last_piece_is_not_committed(story: Carrying) -> None:
    story.hand_over()
    story.switch()
    source = story.node(SOURCE)
    source.carry()
    source.batch()
    assert story.of(SOURCE).copy.log.end > story.of(SOURCE).copy.commit_seq
    story.pass_ms(100)
    assert not source.carry()
    story.settle(apply=True)
    assert story.keys(SOURCE, source) == STAYING
