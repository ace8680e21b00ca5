"""A page holds what its partitions held when they were captured, in order, whatever is newer than the view."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping

import msgpack
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.map_values import Transfer, TransferState
from kvstore.messages import Scan
from kvstore.scan import page as page_module
from kvstore.scan.capture import CapturedPart
from kvstore.scan.count import KeyCount
from kvstore.scan.page import ScanPage
from kvstore.storage.engine import Batch, Snapshot, Table
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import DamagedRow, copy_prefix, encode_value, expiry_key, expiry_of

NOW_MS = 1_000_000
MANY = 1 << 30
PARTS = 3

Rows = Mapping[bytes, bytes | None]


def row_of(value: bytes, expiry_ms: int = 0) -> bytes:
    return encode_value(2, 7, expiry_ms, "text/plain", value)


KEYS = st.binary(min_size=1, max_size=3)
LIVE = st.builds(row_of, st.binary(max_size=6), st.sampled_from((0, NOW_MS + 1500)))
DATA = st.dictionaries(KEYS, LIVE, max_size=40)
NEWER = st.dictionaries(KEYS, st.none() | LIVE, max_size=15)
SCANS = st.builds(
    Scan,
    parts=st.just([]),
    start=st.binary(max_size=2),
    end=st.binary(max_size=2),
    limit=st.integers(1, 60),
    bytes_max=st.sampled_from((1, 500, MANY)),
    reverse=st.booleans(),
    form=st.just(0),
    keys_only=st.booleans(),
)
ALL = Scan([], b"", b"", MANY, MANY, False, 0, False)


def is_within(key: bytes, scan: Scan) -> bool:
    return scan.start <= key and (not scan.end or key < scan.end)


def captured(data: Rows, newer: Rows, scan: Scan = ALL) -> tuple[list[CapturedPart], Snapshot]:
    """Partitions whose data and whose newer rows are these, each key in the partition that its bytes say."""
    engine, batch = MemoryEngine(), Batch()
    for key, row in data.items():
        assert row is not None
        prefix = copy_prefix(1 + sum(key) % PARTS)
        batch.put(Table.DATA, prefix + key, row)
        if expiry_of(row):
            batch.put(Table.EXPIRY, expiry_key(prefix, expiry_of(row), key), b"")
    batch.put(Table.DATA, copy_prefix(PARTS + 1) + b"another copy's", row_of(b""))
    engine.commit(batch)
    parts = []
    for number in range(1, PARTS + 1):
        overlay = {key: row for key, row in newer.items() if sum(key) % PARTS == number - 1 and is_within(key, scan)}
        parts.append(CapturedPart(number, 1, copy_prefix(number), copy_prefix(number + 1), overlay, NOW_MS))
    return parts, engine.snapshot()


def page_of(data: Rows, newer: Rows, scan: Scan = ALL) -> ScanPage:
    parts, view = captured(data, newer, scan)
    page = ScanPage(parts, view, scan, NOW_MS)
    while not page.step():
        pass
    return page


@given(DATA, NEWER, SCANS)
def test_a_page_is_the_beginning_of_the_range_as_it_was_captured(data: Rows, newer: Rows, scan: Scan) -> None:
    state = {key: row for key, row in {**data, **newer}.items() if row is not None and is_within(key, scan)}
    expected = sorted(state, reverse=scan.reverse)
    page = page_of(data, newer, scan)
    assert page.keys == expected[: len(page.keys)]
    assert not page.overdue
    assert page.is_done <= (len(page.keys) == len(expected))
    size_bytes = sum(map(len, page.items))
    if not page.is_done:
        assert len(page.keys) == scan.limit or size_bytes >= scan.bytes_max
    assert len(page.keys) <= scan.limit
    assert size_bytes - len(page.items[-1] if page.items else b"") < scan.bytes_max


@given(DATA, NEWER, st.booleans())
def test_pages_one_after_the_other_give_every_key_once(data: Rows, newer: Rows, reverse: bool) -> None:
    found: list[bytes] = []
    scan = msgspec.structs.replace(ALL, limit=3, reverse=reverse)
    while True:
        page = page_of(data, newer, scan)
        found += page.keys
        if page.is_done:
            break
        last = page.keys[-1]
        scan = msgspec.structs.replace(scan, **({"end": last} if reverse else {"start": last + b"\x00"}))
    assert found == sorted((key for key, row in {**data, **newer}.items() if row is not None), reverse=reverse)


@given(DATA, NEWER, st.binary(max_size=2), st.binary(max_size=2))
def test_a_count_is_how_many_keys_a_scan_finds(data: Rows, newer: Rows, start: bytes, end: bytes) -> None:
    scan = msgspec.structs.replace(ALL, start=start, end=end)
    parts, view = captured(data, newer, scan)
    count = KeyCount([(part, start) for part in parts], view, end)
    while not count.step():
        pass
    assert sum(number for _, number, _ in count.counts) == len(page_of(data, newer, scan).keys)
    assert all(next_start is None for _, _, next_start in count.counts)


@given(DATA, NEWER, SCANS, KEYS)
def test_keys_that_are_of_another_partition_are_not_there(data: Rows, newer: Rows, scan: Scan, first: bytes) -> None:
    away = Transfer(1, 1, 9, TransferState.SWITCHED, start=first)
    parts, view = captured(data, newer, scan)
    page = ScanPage([msgspec.structs.replace(part, away=away) for part in parts], view, scan, NOW_MS)
    while not page.step():
        pass
    mine = [{key: row for key, row in rows.items() if key < first} for rows in (data, newer)]
    expected = page_of(mine[0], mine[1], scan)
    assert (page.keys, page.items) == (expected.keys, expected.items)
    count = KeyCount([(msgspec.structs.replace(part, away=away), scan.start) for part in parts], view, scan.end)
    while not count.step():
        pass
    everything = msgspec.structs.replace(ALL, start=scan.start, end=scan.end)
    assert sum(number for _, number, _ in count.counts) == len(page_of(mine[0], mine[1], everything).keys)


def test_a_count_of_rows_that_are_read_leaves_out_what_is_of_another_partition() -> None:
    rows: Rows = {b"a": row_of(b"over", NOW_MS - 1), b"b": row_of(b""), b"c": row_of(b""), b"d": row_of(b"over", 1)}
    parts, view = captured(rows, {})
    away = Transfer(1, 1, 9, TransferState.SWITCHED, start=b"c")
    count = KeyCount([(msgspec.structs.replace(part, away=away), b"") for part in parts], view, b"")
    while not count.step():
        pass
    assert [key for _, key in count.overdue] == [b"a"]


def test_a_count_goes_on_where_it_stopped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.scan.count.KEYS_MAX", 7)
    monkeypatch.setattr("kvstore.scan.count.PIECE_KEYS", 3)
    data = {b"%03d" % number: row_of(b"") for number in range(50)}
    newer = {b"0005": row_of(b""), b"049": None, b"9": row_of(b"")}
    parts, view = captured(data, newer)
    total, left = 0, {part.pid: (part, b"") for part in parts}
    for _ in range(30):
        count = KeyCount(list(left.values()), view, b"")
        while not count.step():
            pass
        for pid, number, next_start in count.counts:
            total += number
            if next_start is None:
                del left[pid]
            else:
                left[pid] = left[pid][0], next_start
    assert not left
    assert total == 51


def test_items_say_all_of_a_key() -> None:
    data = {b"a": row_of(b"text"), b"b": row_of(b"\xff\x00", NOW_MS + 1500), b"\xfe": row_of(b"")}
    items = [json.loads(item) for item in page_of(data, {}).items]
    rest = {"etag": "2.2.7", "content_type": "text/plain"}
    assert items[0] == {"key": "a", "value": "text", **rest}
    assert items[1] == {"key": "b", "value_b64": "/wA=", **rest, "etag": "3.2.7", "ttl": 1.5}
    assert items[2] == {"key_b64": "/g==", "value": "", **rest, "etag": "3.2.7"}
    packed = [msgpack.unpackb(item) for item in page_of(data, {}, msgspec.structs.replace(ALL, form=1)).items]
    assert packed[1] == {"key": b"b", "value": b"\xff\x00", "etag": "3.2.7", "content_type": "text/plain", "ttl": 1.5}
    only = page_of(data, {}, msgspec.structs.replace(ALL, keys_only=True))
    assert [json.loads(item) for item in only.items] == [{"key": "a"}, {"key": "b"}, {"key_b64": "/g=="}]


def test_a_key_that_lives_by_its_partition_s_time_has_time_left() -> None:
    parts, view = captured({b"a": row_of(b"", NOW_MS + 10)}, {})
    page = ScanPage(parts, view, ALL, NOW_MS + 500)
    while not page.step():
        pass
    assert json.loads(page.items[0])["ttl"] == 0.001


@pytest.mark.parametrize("keys_only", [False, True])
def test_keys_whose_time_is_over_are_told_and_make_the_page_invalid(keys_only: bool) -> None:
    data = {b"a": row_of(b"", NOW_MS), b"b": row_of(b""), b"c": row_of(b"", NOW_MS), b"d": row_of(b"", NOW_MS + 1)}
    newer = {b"c": row_of(b"again"), b"e": row_of(b"", NOW_MS - 5)}
    scan = msgspec.structs.replace(ALL, keys_only=keys_only)
    page = page_of(data, newer, scan)
    assert sorted(key for _, key in page.overdue) == [b"a", b"e"]
    parts, view = captured(data, newer)
    count = KeyCount([(part, b"") for part in parts], view, b"")
    while not count.step():
        pass
    assert sorted(key for _, key in count.overdue) == [b"a", b"e"]


def test_overdue_keys_are_told_a_bounded_number_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page_module, "OVERDUE_MAX", 10)
    page = page_of({b"%03d" % number: row_of(b"", 1) for number in range(50)}, {})
    assert len(page.overdue) == 10
    assert not page.is_done


@pytest.mark.parametrize("reverse", [False, True])
def test_large_rows_wait_outside_of_memory_and_are_read_again(monkeypatch: pytest.MonkeyPatch, reverse: bool) -> None:
    monkeypatch.setattr(page_module, "KEPT_BYTES_MAX", 40)
    data = {b"a": row_of(b"old" * 20), b"b": row_of(b"large" * 20), b"c": row_of(b"")}
    newer = {b"a": row_of(b"new" * 20), b"d": row_of(b"newest" * 20)}
    page = page_of(data, newer, msgspec.structs.replace(ALL, reverse=reverse))
    values = [json.loads(item)["value"] for item in page.items]
    expected = ["new" * 20, "large" * 20, "", "newest" * 20]
    assert values == (expected[::-1] if reverse else expected)


def test_it_is_made_in_pieces() -> None:
    parts, view = captured({b"%04d" % number: row_of(b"") for number in range(1000)}, {})
    page = ScanPage(parts, view, ALL, NOW_MS)
    steps = 0
    while not page.step():
        steps += 1
        assert len(page.keys) <= steps * page_module.PIECE_ROWS
    assert steps >= 1000 // page_module.PIECE_ROWS


def test_large_rows_make_small_pieces_though_only_keys_are_asked_for() -> None:
    rows = 40
    large = row_of(b"v" * page_module.PIECE_BYTES)
    parts, view = captured({b"%04d" % number: large for number in range(rows)}, {})
    page = ScanPage(parts, view, msgspec.structs.replace(ALL, keys_only=True), NOW_MS)
    steps = 0
    while not page.step():
        steps += 1
        assert len(page.keys) <= steps
    assert steps >= rows + PARTS


def test_large_rows_make_small_pieces_of_a_count_that_reads_them() -> None:
    rows = 40
    large = row_of(b"v" * page_module.PIECE_BYTES)
    parts, view = captured({b"%04d" % number: large for number in range(rows)} | {b"z": row_of(b"", 1)}, {})
    count = KeyCount([(part, b"") for part in parts if b"z"[0] % PARTS == part.pid - 1], view, b"")
    steps = 0
    while not count.step():
        steps += 1
    assert steps >= rows // PARTS


def test_a_text_that_escapes_make_very_long_stands_in_base64(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kvstore.scan.items.JSON_BYTES_MAX", 2000)
    data = {b"a": row_of(b"\x00" * 1000), b"b": row_of(b"v" * 1000)}
    items = [json.loads(item) for item in page_of(data, {}).items]
    assert base64.b64decode(items[0]["value_b64"]) == b"\x00" * 1000
    assert "value" not in items[0]
    assert items[1]["value"] == "v" * 1000


def test_a_damaged_row_is_found() -> None:
    with pytest.raises(DamagedRow):
        page_of({b"a": b"\x09" + row_of(b"v")[1:]}, {})
