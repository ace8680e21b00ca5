"""A row that cannot be read is found by the copy that gives it away, and its takers stay whole."""

from __future__ import annotations

import pytest
from unit.kvstore.replication.filling_story import Filling
from unit.kvstore.transfer.carrying import SOURCE, TARGET, Carrying

from kvstore.messages import TxnName
from kvstore.replication.copy_rows import encode_row
from kvstore.replication.given_rows import check_row
from kvstore.replication.outcomes import DATA_POSITION, EXPIRED, TOKEN, WINDOW, encode_token
from kvstore.replication.windows import Window, encode_window
from kvstore.storage.engine import Batch, Table
from kvstore.storage.records import DamagedRow, Record, RecordType, carried, encode_value
from kvstore.transfer.records import PROGRESS, Progress
from kvstore.txn.records import ENDED, PREPARED, UNDONE, Ended

VALUE = encode_value(1, 2, 0, "text/plain", b"value")
TOKEN_ROW = encode_token(Record(RecordType.PUT, b"k", token=b"t" * 32), 1, 2, 3)
ENDED_ROW = encode_row(Ended(TxnName(1, b"t" * 32, 1), True, True, 9))
NUMBER = bytes(8)


@pytest.mark.parametrize(
    ("position", "row"),
    [
        (DATA_POSITION + b"k", VALUE),
        (DATA_POSITION + b"k", carried(VALUE, 7)),
        (TOKEN + b"t" * 16, TOKEN_ROW),
        (WINDOW + NUMBER, encode_window(Window(1, 2, {}))),
        (EXPIRED, NUMBER),
        (UNDONE + b"t", ENDED_ROW),
        (ENDED + b"t", ENDED_ROW),
        (PROGRESS, encode_row(Progress(1))),
    ],
)
def test_what_can_be_read_passes_and_no_shorter_row_does(position: bytes, row: bytes) -> None:
    check_row(position, row)
    kept = row.index(b"value") if position[:1] == DATA_POSITION else len(row)
    for length in range(kept):
        with pytest.raises(DamagedRow):
            check_row(position, row[:length])


@pytest.mark.parametrize("position", [b"", b"\x02", b"\x09", PREPARED, EXPIRED + b"x"])
def test_a_row_that_no_copy_has_there_does_not_pass(position: bytes) -> None:
    for row in (b"\xc1", NUMBER):
        with pytest.raises(DamagedRow):
            check_row(position, row)


def test_who_fills_another_stops_at_such_a_row_and_the_one_that_is_filled_does_not() -> None:
    story = Filling()
    damage(story, b"k5")
    for _ in range(20):
        story.step()
        story.pass_ms(100)
        for node in story.nodes.values():
            node.tick()
    assert story.n1.partition.is_quarantined
    assert [text[:8] for text in story.n1.alarms] == ["data row"]
    assert not story.n3.partition.is_quarantined


def test_the_source_of_a_transfer_stops_at_such_a_row_and_its_target_does_not() -> None:
    story = Carrying()
    giver = story.node(SOURCE)
    copy = giver.partitions.by_pid[SOURCE].copy
    row = giver.engine.snapshot().get(Table.DATA, copy.prefix + b"x2")
    assert row is not None
    batch = Batch()
    batch.put(Table.DATA, copy.prefix + b"x2", _flipped(row))
    giver.engine.commit(batch)
    story.begin()
    for _ in range(5):
        story.pass_ms(20)
        story.settle()
    assert giver.partitions.by_pid[SOURCE].is_quarantined
    assert not any(node.partitions.by_pid[TARGET].is_quarantined for node in story.nodes.values())


def damage(story: Filling, key: bytes) -> None:
    batch = Batch()
    batch.put(Table.DATA, story.n1.partition.copy.prefix + key, _flipped(story.n1.rows(Table.DATA)[key]))
    story.n1.engine.commit(batch)


def _flipped(row: bytes) -> bytes:
    """One bit of the length of its content type is another one."""
    return row[:25] + bytes((row[25] ^ 0x80,)) + row[26:]
