"""Rows: what was written is read back, what was damaged is found."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from kvstore.storage.records import (
    DamagedRow,
    Record,
    RecordType,
    carried,
    copy_prefix,
    decode_log_row,
    decode_value,
    encode_log_row,
    encode_value,
    expiry_key,
    expiry_of,
    is_lasting,
    seq_key,
    split_expiry_key,
    split_plain,
    split_value,
    value_bytes,
    version_of,
)

NUMBERS = st.integers(0, 2**64 - 1)
RECORDS = st.builds(
    Record,
    type=st.sampled_from(RecordType),
    key=st.binary(max_size=480),
    value=st.binary(max_size=100),
    content_type=st.text(max_size=20),
    expiry_ms=NUMBERS,
    replaced_bytes=st.integers(-1, 2**40),
    replaced_expiry_ms=NUMBERS,
    token=st.binary(max_size=20),
)


@given(NUMBERS, NUMBERS, st.just(0) | NUMBERS, st.text(max_size=40), st.binary(max_size=100))
def test_a_value_comes_out_as_it_went_in(epoch: int, seq: int, expiry_ms: int, content_type: str, value: bytes) -> None:
    row = encode_value(epoch, seq, expiry_ms, content_type, value)
    stored = decode_value(row)
    assert (stored.epoch, stored.seq, stored.expiry_ms) == (epoch, seq, expiry_ms)
    assert (stored.content_type, stored.value) == (content_type, value)
    assert expiry_of(row) == expiry_ms
    assert is_lasting(row) == (expiry_ms == 0)
    assert value_bytes(row) == len(value)


@given(st.integers(1, 2**63), NUMBERS, st.just(0) | NUMBERS, st.text(max_size=40), st.binary(max_size=100))
def test_a_value_of_another_partition_keeps_all_and_says_whose_its_version_is(
    pid: int, seq: int, expiry_ms: int, content_type: str, value: bytes
) -> None:
    row = encode_value(7, seq, expiry_ms, content_type, value)
    there = carried(row, pid)
    assert decode_value(there) == msgspec.structs.replace(decode_value(row), origin=pid)
    assert (version_of(row), version_of(there)) == ((7, seq, 0), (7, seq, pid))
    assert (expiry_of(there), value_bytes(there)) == (expiry_ms, len(value))
    assert is_lasting(there) == (expiry_ms == 0)
    assert carried(there, 99) == there, "it goes on under the version that it has"


@given(
    NUMBERS,
    NUMBERS,
    st.just(0) | NUMBERS,
    st.just("text/plain") | st.text(max_size=40),
    st.binary(max_size=100),
    st.integers(0, 200),
)
@example(1, 2, 0, "text/plain", b"", 36)
@example(1, 2, 0, "text/plain", b"", 37)
def test_a_plain_row_is_told_by_four_of_its_parts_and_no_other_is(
    epoch: int, seq: int, expiry_ms: int, content_type: str, value: bytes, cut: int
) -> None:
    whole = encode_value(epoch, seq, expiry_ms, content_type, value)
    for row in (whole, whole[:cut], carried(whole, 9), carried(whole, 9)[:cut]):
        try:
            parts = split_value(row)
        except DamagedRow:
            assert split_plain(row) is None
            continue
        is_plain = row[0] == 1 and not parts[2] and parts[3].isascii()
        expected = parts[0], parts[1], parts[3].encode(), parts[4]
        assert split_plain(row) == (expected if is_plain else None)


@pytest.mark.parametrize("length", range(27 + len("text/plain")))
def test_a_value_cut_short_in_its_head_is_found(length: int) -> None:
    with pytest.raises(DamagedRow):
        decode_value(encode_value(1, 2, 3, "text/plain", b"value")[:length])


def test_a_value_of_another_format_is_refused() -> None:
    with pytest.raises(DamagedRow, match="format 3"):
        decode_value(b"\x03" + encode_value(1, 2, 3, "", b"value")[1:])


def test_a_value_whose_content_type_is_no_text_is_found() -> None:
    row = bytearray(encode_value(1, 2, 3, "ab", b"value"))
    row[27] = 0xFF
    with pytest.raises(DamagedRow):
        decode_value(bytes(row))


@given(NUMBERS, st.integers(1, 2**63), NUMBERS, NUMBERS, st.lists(RECORDS, min_size=1, max_size=4))
def test_a_log_row_comes_out_as_it_went_in(
    epoch: int, first_seq: int, time_ms: int, previous: int, records: list[Record]
) -> None:
    row, encoded = encode_log_row(epoch, first_seq, time_ms, previous, records)
    head = decode_log_row(row)
    assert (head.epoch, head.first_seq, head.time_ms, head.previous) == (epoch, first_seq, time_ms, previous)
    assert head == encoded
    assert head.last_seq == first_seq + len(records) - 1
    assert head.records() == records


LOG_ROW, LOG_HEAD = encode_log_row(3, 17, 1_700_000_000_000, 99, [Record(RecordType.PUT, b"key", b"value")])


def test_the_head_of_a_log_row_holds_no_second_copy_of_its_values() -> None:
    row, head = encode_log_row(1, 1, 0, 0, [Record(RecordType.PUT, b"k", bytes(65536))])
    assert head.body.obj is row
    assert decode_log_row(row).body.obj is row


def test_every_flipped_bit_of_a_log_row_is_found() -> None:
    for offset in range(len(LOG_ROW)):
        for bit in range(8):
            damaged = bytearray(LOG_ROW)
            damaged[offset] ^= 1 << bit
            with pytest.raises(DamagedRow):
                decode_log_row(bytes(damaged))


@pytest.mark.parametrize("length", range(len(LOG_ROW)))
def test_a_log_row_cut_short_anywhere_is_found(length: int) -> None:
    with pytest.raises(DamagedRow):
        decode_log_row(LOG_ROW[:length])


def test_bytes_after_a_log_row_are_found() -> None:
    with pytest.raises(DamagedRow):
        decode_log_row(LOG_ROW + b"\x00")


def test_a_log_row_names_the_row_before_it() -> None:
    following, _ = encode_log_row(3, 18, 0, LOG_HEAD.checksum, [Record(RecordType.DELETE, b"key")])
    elsewhere, _ = encode_log_row(3, 18, 0, LOG_HEAD.checksum ^ 1, [Record(RecordType.DELETE, b"key")])
    assert decode_log_row(following).previous == decode_log_row(LOG_ROW).checksum
    assert decode_log_row(following).checksum != decode_log_row(elsewhere).checksum


def test_a_log_row_without_records_is_refused() -> None:
    row, _ = encode_log_row(1, 1, 0, 0, [])
    with pytest.raises(DamagedRow, match="0 records"):
        decode_log_row(row)


@pytest.mark.parametrize("body", [b"\xc1", b"", b"\x91\x01", b"\x91\x94\x01\xc4\x01k\xc4\x01v\xa1\xff"])
def test_records_that_no_leader_writes_are_found_although_the_checksum_is_right(body: bytes) -> None:
    with pytest.raises(DamagedRow):
        msgspec.structs.replace(LOG_HEAD, body=memoryview(body)).records()


def test_a_log_row_with_other_than_the_announced_number_of_records_is_found() -> None:
    with pytest.raises(DamagedRow, match="1 records, 2 announced"):
        msgspec.structs.replace(LOG_HEAD, count=2).records()


@given(st.integers(0, 2**32 - 1), st.lists(NUMBERS, min_size=2, max_size=2))
def test_log_keys_sort_by_seq_inside_their_copy(copy: int, seqs: list[int]) -> None:
    keys = [seq_key(copy_prefix(copy), seq) for seq in seqs]
    assert (keys[0] < keys[1]) == (seqs[0] < seqs[1])
    assert all(key.startswith(copy_prefix(copy)) for key in keys)


@given(st.integers(0, 2**32 - 1), NUMBERS, st.binary(max_size=480))
def test_the_expiry_index_tells_when_and_what(copy: int, expiry_ms: int, key: bytes) -> None:
    assert split_expiry_key(expiry_key(copy_prefix(copy), expiry_ms, key)) == (expiry_ms, key)


@given(st.lists(st.tuples(NUMBERS, st.binary(max_size=8)), max_size=10))
def test_the_expiry_index_sorts_by_time(overdue: list[tuple[int, bytes]]) -> None:
    prefix = copy_prefix(7)
    keys = sorted(expiry_key(prefix, expiry_ms, key) for expiry_ms, key in overdue)
    assert [split_expiry_key(key) for key in keys] == sorted(overdue)
