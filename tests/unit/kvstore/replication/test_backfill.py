"""A learner that the log cannot reach is filled by chunks, and what it then holds is what the leader holds."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.kvstore.replication.filling_story import KEYS, Filling
from unit.kvstore.story import PID

from kvstore.filling import PULL_AGAIN_MS
from kvstore.instant import Instant
from kvstore.map_values import Rebalance
from kvstore.messages import Acked, Append, BeginBackfill, Chunk, PullChunk, Verified, Verify
from kvstore.replication import backfill
from kvstore.replication.gone import GONE_PREFIX
from kvstore.replication.outcomes import DATA_POSITION, EXPIRED, TOKEN, TOKEN_TIME, WINDOW
from kvstore.replication.windows import KEEP_MS
from kvstore.storage.engine import Table, Usage


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHUNK_BYTES", 100)


class FillingRemembered(Filling):
    """There are outcomes to be remembered, too: under tokens, and of six incarnations."""

    def write_first(self) -> None:
        super().write_first()
        for number in range(6):
            self.n1.put(f"n{number}", b"k%d" % number, origin=number + 1, number=7, floor=5)
            self.n1.put(f"t{number}", b"k%d" % number, token=b"%d" % number * 32)


@pytest.fixture
def story() -> Filling:
    return Filling()


def equal(story: Filling) -> bool:
    story.settle(apply=True)
    tables = (Table.DATA, Table.EXPIRY, Table.IDEMPOTENCY)
    copies = [node.partition.copy for node in (story.n1, story.n3)]
    counters = {(copy.contents.keys, copy.contents.size_bytes, copy.applied_seq) for copy in copies}
    return all(story.n1.rows(table) == story.n3.rows(table) for table in tables) and len(counters) == 1


def test_a_copy_without_anything_is_filled_and_taken_in(story: Filling) -> None:
    story.until_filled()
    for _ in range(5):
        story.settle(apply=True)
        story.pass_ms(400)
    assert equal(story)
    assert story.n3.rid in story.entry.in_sync
    assert story.n3.partition.copy.contents.keys == KEYS


def test_writes_deletes_and_ends_of_keys_during_the_fill_are_in_it(story: Filling) -> None:
    story.until_chunk(2)
    story.n1.delete("d0", b"k0")
    story.n1.delete("d8", b"k8")
    story.n1.put("p1", b"k1", b"new")
    story.n1.put("p9", b"k9", b"new", ttl_ms=50_000)
    story.settle()
    story.until_filled()
    assert equal(story)


def test_what_is_remembered_of_writes_is_filled_in_too() -> None:
    """What was written before, and while the data comes, and while what is remembered comes itself."""
    story = FillingRemembered()
    positions: set[bytes] = set()
    for step in range(100):
        story.n1.put(f"a{step}", b"k1", origin=step % 9 + 1, number=100 + step, floor=step)
        story.n1.delete(f"b{step}", b"absent", token=b"%016d" % (step * 7919 % 1000) + b"fingerprint.....")
        story.step()
        backfill = story.n3.partition.copy.backfill
        if backfill is not None:
            positions.add(backfill.cursor[:1])
            if backfill.done:
                break
        story.pass_ms(100)
        for node in story.nodes.values():
            node.tick()
    assert positions >= {DATA_POSITION, TOKEN, WINDOW}
    assert equal(story)
    assert {key[:1] for key in story.n3.rows(Table.IDEMPOTENCY)} == {TOKEN, WINDOW, TOKEN_TIME}


def test_incarnations_dropped_while_a_copy_is_filled_are_dropped_there_too() -> None:
    story = FillingRemembered()
    while not (backfill := story.n3.partition.copy.backfill) or backfill.cursor[:1] != WINDOW:
        story.step()
        story.pass_ms(100)
        for node in story.nodes.values():
            node.tick()
    story.now = Instant(story.now.mono_ms, story.now.wall_ms + KEEP_MS)
    story.n1.put("later", b"k0", origin=9, number=1, floor=1)
    story.until_filled()
    assert equal(story)
    rows = story.n3.rows(Table.IDEMPOTENCY)
    assert [key for key in rows if key[:1] in (WINDOW, EXPIRED)] == [WINDOW + (9).to_bytes(8, "big"), EXPIRED]


def test_a_learner_is_not_taken_in_before_its_data_is_complete(story: Filling) -> None:
    story.until_chunk(2)
    for _ in range(3):
        story.n1.tick()
    assert not story.n1.asks


def test_a_restart_goes_on_at_the_cursor(story: Filling) -> None:
    story.until_chunk(2)
    before = story.n3.partition.copy.backfill
    assert before is not None
    assert before.cursor
    story.restart(story.n3)
    after = story.n3.partition.copy.backfill
    assert after is not None
    assert after.cursor == before.cursor
    assert story.n3.partition.copy.is_backfilling
    story.until_filled()
    assert equal(story)


def test_a_restart_right_after_the_beginning_was_saved_finds_the_base(story: Filling) -> None:
    for _ in range(20):
        if any(isinstance(body, BeginBackfill) for body in story.step()):
            break
        story.pass_ms(400)
        for node in story.nodes.values():
            node.tick()
    story.restart(story.n3)
    assert not story.n3.alarms
    story.until_filled()
    assert equal(story)


def test_a_verify_record_among_what_a_chunk_brings_up_to_date_ends_nothing(story: Filling) -> None:
    story.until_chunk(2)
    verify = Verify(PID, story.entry.ver, b"n" * 16)
    assert isinstance(story.n1.partitions.verifications.ask(verify, story.now), Verified)
    story.n1.put("behind", b"k0", b"new")
    story.n1.delete("removed", b"k1")
    story.n1.batch()
    story.deliver(story.n1)
    story.n2.batch()
    story.deliver(story.n2)
    for _ in range(2):
        story.n1.batch(apply=True)
    assert story.n1.partition.copy.applied_seq == story.n1.partition.copy.log.end
    story.until_filled()
    assert equal(story)


def test_a_lost_question_is_asked_again(story: Filling) -> None:
    story.until_chunk(1)
    story.n3.partitions.reachable("n1", story.now)
    story.drop(story.n3)
    story.pass_ms(PULL_AGAIN_MS - 1)
    story.n3.tick()
    asked_early = list(story.n3.sent)
    story.pass_ms(1)
    story.n3.tick()
    assert not any(isinstance(send.body, PullChunk) for send in asked_early)
    assert any(isinstance(send.body, PullChunk) for send in story.n3.sent)


def pulls_served(story: Filling, ms: int) -> int:
    """How many pieces n3 gets in that time, in steps of 10 ms."""
    pieces = 0
    for _ in range(ms // 10):
        story.n3.fill()
        pieces += sum(isinstance(body, Chunk) for body in story.step())
        story.pass_ms(10)
    return pieces


@pytest.mark.parametrize("who", ["n1", "n3"])
def test_neither_who_fills_nor_who_is_filled_goes_beyond_its_rate(story: Filling, who: str) -> None:
    story.until_chunk(1)
    piece_bytes = story.n3.partitions.filling.taken_bytes
    story.nodes[who].partitions.filling.set_rate(piece_bytes // 2)
    assert 1 <= pulls_served(story, 3000) <= 2
    story.nodes[who].partitions.filling.set_rate(0)
    story.until_filled()
    assert equal(story)


def steer(story: Filling, is_paused: bool) -> None:
    for node in story.nodes.values():
        node.partitions.filling.steer(Rebalance(is_paused=is_paused))


def change(story: Filling, **changes: Any) -> None:
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, **changes)
    story.push()


def test_a_copy_that_a_move_brings_gets_no_data_while_moves_are_paused(story: Filling) -> None:
    change(story, moving=story.n3.rid)
    story.until_chunk(1)
    steer(story, is_paused=True)
    pulls_served(story, 100)
    assert not pulls_served(story, 3000)
    steer(story, is_paused=False)
    story.until_filled()
    assert equal(story)


def test_any_other_copy_that_is_missing_is_filled_while_moves_are_paused(story: Filling) -> None:
    steer(story, is_paused=True)
    story.until_filled()
    assert equal(story)


def test_a_copy_on_a_full_node_is_filled_no_further_until_there_is_room(story: Filling) -> None:
    story.until_chunk(2)
    story.n3.partitions.usage = Usage(used=100, limit=100)
    pulls_served(story, 500)
    story.n1.tick()
    pulls_served(story, 500)
    copy = story.n3.partition.copy
    before = copy.backfill, copy.log.end
    for number in range(20):
        story.n1.put(f"later{number}", b"later%d" % number)
        assert not pulls_served(story, 100)
        for node in story.nodes.values():
            node.tick()
    assert (copy.backfill, copy.log.end) == before
    story.n3.partitions.usage = Usage(used=0, limit=100_000)
    story.until_filled()
    assert equal(story)


def test_what_waits_for_its_turn_asks_to_be_woken_once(story: Filling) -> None:
    story.until_chunk(1)
    story.n1.partitions.filling.set_rate(1000)
    story.n1.partitions.filling.on_pull("n3", PullChunk(PID, story.n3.rid, 1, b""))
    for _ in range(3):
        story.n1.fill()
    assert len(story.n1.wakes) == 1
    assert story.n1.wakes[0] > 1


def test_a_learner_gets_no_larger_pieces_than_it_asked_for(story: Filling, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHUNK_BYTES", 1 << 20)
    story.until_chunk(0)
    for bytes_max, rows in ((1, 1), (1 << 20, KEYS)):
        story.n1.partitions.filling.on_pull("n3", PullChunk(PID, story.n3.rid, 1, b"", bytes_max))
        story.pass_ms(100)
        story.n1.fill()
        chunk = story.n1.sent.pop().body
        assert isinstance(chunk, Chunk)
        assert len(chunk.rows) == rows


def test_a_chunk_waits_until_the_log_has_reached_the_seq_at_which_it_was_read(story: Filling) -> None:
    story.until_chunk(1)
    copy = story.n3.partition.copy
    assert copy.backfill is not None
    cursor = copy.backfill.cursor
    rows = [(b"\x00k7", next(iter(story.n1.rows(Table.DATA).values())))]
    story.n3.receive("n1", Chunk(PID, story.n3.rid, 1, cursor, b"\x00k7", copy.log.end + 5, rows, False, 0))
    if story.n3.partitions.needs_batch:
        story.n3.batch()
    assert copy.backfill.cursor == cursor


def test_a_late_chunk_of_an_earlier_cursor_is_ignored(story: Filling) -> None:
    story.until_chunk(2)
    copy = story.n3.partition.copy
    before = copy.backfill
    story.n3.receive("n1", Chunk(PID, story.n3.rid, 1, b"", b"\x00k0", copy.log.end, [], True, 0))
    story.n3.batch()
    assert copy.backfill == before


def test_a_late_order_to_begin_anew_finds_the_log_beyond_its_base_and_is_ignored(story: Filling) -> None:
    story.until_filled()
    copy = story.n3.partition.copy
    assert copy.backfill is not None
    order = BeginBackfill(PID, story.n3.rid, 1, copy.backfill.base_seq, copy.backfill.base_checksum, [(1, 1)], 0)
    story.n3.receive("n1", order)
    assert story.n3.partition.copy is copy


def test_a_member_never_begins_anew(story: Filling) -> None:
    copy = story.n2.partition.copy
    story.n2.receive("n1", BeginBackfill(PID, story.n2.rid, 1, copy.log.end + 100, 7, [(1, 1)], 0))
    assert story.n2.partition.copy is copy


def test_the_rows_of_the_number_that_was_given_up_are_swept_and_never_loaded(story: Filling) -> None:
    former = story.n3.partition.copy.prefix
    story.until_filled()
    for _ in range(5):
        story.pass_ms(100)
        story.n3.tick()
        story.n3.batch()
    view = story.n3.engine.snapshot()
    left = [key for table in Table for key, _ in view.scan(table, former, former + b"\xff" * 40)]
    assert left == []
    assert view.get(Table.META, GONE_PREFIX + former) is not None
    story.restart(story.n3)
    assert not story.n3.alarms
    assert story.n3.partition.copy.prefix != former


def test_a_damaged_copy_is_told_as_lost_and_replaced_by_an_empty_one(story: Filling) -> None:
    n2 = story.n2
    rid = n2.rid
    n2.perform(n2.partition.quarantine("its state is damaged"))
    assert n2.partitions.report().lost == [(PID, rid.store)]
    ((_, fresh),) = n2.partitions.create_copies([PID])
    assert fresh != rid
    assert n2.partitions.create_copies([PID]) == [(PID, fresh)]


def test_a_copy_that_the_map_names_and_that_is_not_here_is_told_as_lost(story: Filling) -> None:
    n2 = story.n2
    gone = msgspec.structs.replace(n2.rid, store=b"another store...")
    other = tuple(gone if rid == n2.rid else rid for rid in story.entry.replicas)
    n2.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, replicas=other))
    assert n2.partitions.report().lost == [(PID, gone.store)]
    n2.on_entry(msgspec.structs.replace(story.entry, ver=story.entry.ver + 2))
    assert n2.partitions.report().lost == []


def test_rows_stream_beside_the_chunks(story: Filling) -> None:
    story.until_chunk(1)
    story.n1.put("w", b"new")
    story.n1.batch()
    assert any(isinstance(send.body, Append) and send.node == "n3" for send in story.n1.sent)


def test_what_a_copy_said_before_it_began_anew_does_not_make_it_whole(story: Filling) -> None:
    story.until_chunk(1)
    story.n1.put("w", b"new")
    story.step()
    for _ in range(3):
        story.n1.receive("n3", Acked(PID, story.n3.rid, 1, 0, 0, False, False))
        story.n1.tick()
    assert not story.n1.asks
