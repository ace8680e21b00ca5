"""What the source of a transfer gives in one piece: how much of it, and nothing that may yet be undone."""

from __future__ import annotations

import pytest
from unit.kvstore.transfer.carrying import SOURCE, TARGET, Carrying

from kvstore.map_values import Transfer, TransferState
from kvstore.replication.outcomes import DATA_POSITION
from kvstore.storage.records import DamagedRow, Record, RecordType
from kvstore.transfer import pieces
from kvstore.transfer.pieces import ChangesPiece, CopyPiece, read_changes, read_copy
from kvstore.transfer.records import carried_in

PLENTY = 1 << 30
TRANSFER = Transfer(1, SOURCE, TARGET, TransferState.COPYING, b"m")
LEAVING = [b"x%d" % number for number in range(4)]


@pytest.fixture
def story() -> Carrying:
    return Carrying()


def standing(story: Carrying, cursor: bytes = b"", bytes_max: int = PLENTY) -> CopyPiece:
    return read_copy(story.of(SOURCE).copy, TRANSFER, cursor, bytes_max, story.n1.engine.snapshot())


def changed(story: Carrying, since: int, bytes_max: int = PLENTY) -> ChangesPiece:
    return read_changes(story.of(SOURCE).copy, TRANSFER, since, bytes_max, story.n1.engine.snapshot())


def keys(piece: CopyPiece | ChangesPiece) -> list[bytes]:
    return [position[1:] for position, _ in piece.rows if position[:1] == DATA_POSITION]


@pytest.mark.parametrize("bound", ["bytes_max", "LOOKED_ROWS_MAX", "LOOKED_BYTES_MAX"])
def test_what_stands_goes_in_pieces_of_a_bounded_look(
    story: Carrying, monkeypatch: pytest.MonkeyPatch, bound: str
) -> None:
    bytes_max = 1 if bound == "bytes_max" else PLENTY
    if bound != "bytes_max":
        monkeypatch.setattr(pieces, bound, 1)
    given: list[list[bytes]] = []
    piece = standing(story, bytes_max=bytes_max)
    while not piece.is_done:
        given.append(keys(piece))
        piece = standing(story, piece.end, bytes_max)
    assert [*given, keys(piece)] == [[key] for key in LEAVING]


def test_what_stands_is_whole_where_no_bound_is_met(story: Carrying) -> None:
    piece = standing(story)
    assert (keys(piece), piece.is_done, piece.as_of) == (LEAVING, True, story.of(SOURCE).copy.applied_seq)


def test_a_change_that_is_not_committed_is_not_given(story: Carrying) -> None:
    copy = story.of(SOURCE).copy
    since = copy.commit_seq
    story.put(b"x1", b"may be undone")
    story.n1.batch()
    assert copy.log.end > copy.commit_seq == since
    assert changed(story, since) == ChangesPiece(since, [])
    story.settle()
    assert keys(changed(story, since)) == [b"x1"]


def test_changes_go_in_pieces_of_a_bounded_size_a_log_row_at_least(story: Carrying) -> None:
    since = story.of(SOURCE).copy.commit_seq
    for key in LEAVING[:3]:
        story.put(key, b"new")
        story.settle()
    assert keys(changed(story, since)) == LEAVING[:3]
    first = changed(story, since, bytes_max=1)
    assert (keys(first), first.upto) == (LEAVING[:1], since + 1)
    row_bytes = len(story.of(SOURCE).copy.log.held_after(since)[0].row)
    assert keys(changed(story, since, bytes_max=2 * row_bytes)) == LEAVING[:2]
    assert keys(changed(story, since, bytes_max=3 * row_bytes - 1)) == LEAVING[:2]


def test_a_record_of_a_transfer_that_cannot_be_read_is_found_damaged() -> None:
    with pytest.raises(DamagedRow):
        carried_in(Record(RecordType.TRANSFER, value=b"\xc1"))
