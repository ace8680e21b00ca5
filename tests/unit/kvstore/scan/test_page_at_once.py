"""A page made at a look is the one that is made with care, or there is none."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from unit.kvstore.scan.test_page import KEYS, MANY, NEWER, NOW_MS, PARTS, SCANS, Rows, captured, row_of
from unit.kvstore.stops import STOPS, name_of
from unit.kvstore.story import PID, Story, StoryNode

from kvstore.instant import Instant
from kvstore.messages import Scan, Scanned, WriteOne
from kvstore.scan import page_at_once as module
from kvstore.scan.capture import CapturedPart
from kvstore.scan.items import TOGETHER_BYTES_MAX, keys_of
from kvstore.scan.page import PIECE_BYTES, PIECE_ROWS, ScanPage
from kvstore.scan.page_at_once import is_small, page_at_once
from kvstore.storage.engine import Snapshot
from kvstore.storage.records import HEAD_BYTES, carried

NOW = Instant(NOW_MS, NOW_MS)
PLAIN_KEYS = st.text("abcdefgh", min_size=1, max_size=3).map(str.encode)
PLAIN = st.dictionaries(PLAIN_KEYS, st.builds(row_of, st.text("xyz 0", max_size=6).map(str.encode)), max_size=60)
STARTS, ENDS = st.sampled_from((b"", b"b", b"dd")), st.sampled_from((b"", b"e", b"ff"))
NOTHING: Rows = {}
SIMPLE = Scan([], b"", b"", 10, MANY, False, 0, False)


def asked_of(data: Rows, scan: Scan, newer: Rows) -> tuple[Any, list[CapturedPart], Snapshot, Scan]:
    """The partitions, as `captured` has them, and the question to all of them."""
    parts, view = captured(data, newer, scan)
    partitions: Any = {}
    for part in parts:
        committed = {key: (1, row) for key, row in newer.items() if sum(key) % PARTS == part.pid - 1}
        leader = SimpleNamespace(
            serves_every_key=lambda _ver, _mono_ms: True,
            overlay=SimpleNamespace(committed=committed),
            txns=SimpleNamespace(in_doubt={}),
        )
        copy = SimpleNamespace(prefix=part.prefix, prefix_end=part.prefix_end)
        partitions[part.pid] = SimpleNamespace(leader=leader, copy=copy)
    return partitions, parts, view, msgspec.structs.replace(scan, parts=[(part.pid, part.ver) for part in parts])


def quick_page(data: Rows, scan: Scan, newer: Rows = NOTHING) -> Scanned | None:
    partitions, _, view, asked = asked_of(data, scan, newer)
    return page_at_once(partitions, asked, view, NOW) if is_small(asked) else None


def careful_page(data: Rows, scan: Scan, newer: Rows = NOTHING) -> ScanPage:
    _, parts, view, asked = asked_of(data, scan, newer)
    page = ScanPage(parts, view, asked, NOW_MS)
    while not page.step():
        pass
    return page


def is_quick(data: Rows, scan: Scan, newer: Rows = NOTHING) -> bool:
    """Whether there is one at a look, which is the one that is made with care."""
    quick = quick_page(data, scan, newer)
    if quick is None:
        return False
    careful = careful_page(data, scan, newer)
    assert (keys_of(quick), quick.items, quick.is_done) == (careful.keys, careful.items, careful.is_done)
    assert quick.keys or quick.items == sorted(quick.items)
    assert not quick.faults
    return True


@given(
    st.dictionaries(KEYS, st.builds(row_of, st.binary(max_size=6), st.sampled_from((0, NOW_MS + 1500)))), NEWER, SCANS
)
def test_whatever_is_stored_and_asked_for(data: Rows, newer: Rows, scan: Scan) -> None:
    is_quick(data, scan, newer)


@given(
    PLAIN,
    st.dictionaries(PLAIN_KEYS, st.none() | st.just(row_of(b"new")), max_size=3),
    STARTS,
    ENDS,
    st.integers(1, 60),
)
def test_what_is_newer_than_the_view_is_never_missed(
    data: Rows, newer: Rows, start: bytes, end: bytes, limit: int
) -> None:
    scan = msgspec.structs.replace(SIMPLE, start=start, end=end, limit=limit)
    is_outside = all(not (start <= key and (not end or key < end)) for key in newer)
    assert is_quick(data, scan, newer) or not is_outside


def test_what_is_newer_behind_the_page_does_not_matter() -> None:
    data = {b"a": row_of(b"1"), b"c": row_of(b"3"), b"e": row_of(b"5")}
    two = msgspec.structs.replace(SIMPLE, limit=2, start=b"a")
    new = row_of(b"new")
    assert is_quick(data, two, {b"d": new, b"e": None})
    for key in (b"a", b"b", b"c"):
        assert not is_quick(data, two, {key: new})
        assert not is_quick(data, two, {key: None})
    assert not is_quick(data, msgspec.structs.replace(SIMPLE, limit=4), {b"f": new})
    assert is_quick(data, msgspec.structs.replace(SIMPLE, limit=4, end=b"f"), {b"f": new})


@given(PLAIN, STARTS, ENDS, st.integers(1, 60))
def test_of_plain_rows_there_is_one(data: Rows, start: bytes, end: bytes, limit: int) -> None:
    assert is_quick(data, msgspec.structs.replace(SIMPLE, start=start, end=end, limit=limit))


@pytest.mark.parametrize(
    "row",
    [
        row_of(b"ends", NOW_MS + 1500),
        carried(row_of(b"from elsewhere"), int.from_bytes(b"of plain")),
        row_of(b"no text \xff"),
        row_of(b"x" * PIECE_BYTES),
        row_of(b"x")[: HEAD_BYTES - 1],
        row_of(b"x")[:-2],
    ],
)
def test_of_other_rows_there_is_none(row: bytes) -> None:
    assert quick_page({b"a": row_of(b"plain"), b"b": row}, SIMPLE) is None
    assert is_quick({b"a": row_of(b"plain")}, SIMPLE)


@given(st.dictionaries(st.text('ab !#"~', min_size=1, max_size=3).map(str.encode), st.just(row_of(b"1"))))
def test_keys_are_left_out_only_where_the_order_of_items_is_theirs(data: Rows) -> None:
    assert is_quick(data, SIMPLE)


def test_keys_are_left_out_where_items_tell_them() -> None:
    names = {
        b"a": True, b"a b": False, b"a!": False, b"a#": True, b'a"': False, b"a~": True, "ä".encode(): False
    }  # fmt: skip
    for name, is_left_out in names.items():
        page = quick_page({name: row_of(b"with space!"), b"a": row_of(b"1")}, SIMPLE)
        assert page is not None
        assert bool(page.keys) != is_left_out


@pytest.mark.parametrize("value", [b'{"to be": "escaped"}', "täxt".encode(), b"\n\0"])
def test_text_is_plain_though_json_escapes_it(value: bytes) -> None:
    assert is_quick({b"a": row_of(b"plain"), b"b": row_of(value), b"c": row_of(b"plain")}, SIMPLE)


@pytest.mark.parametrize("step", [1, PARTS], ids=["spread", "in one partition"])
def test_no_more_is_read_than_a_piece_and_a_row(step: int) -> None:
    size = PIECE_BYTES // 4
    large = {bytes((65 + step * number,)): row_of(b"x" * size) for number in range(9)}
    partitions, _, view, asked = asked_of(large, SIMPLE, NOTHING)
    read: list[int] = []

    def counted(*position: Any) -> Any:
        for key, row in view.rows(*position):
            read.append(len(row))
            yield key, row

    counting: Any = SimpleNamespace(rows=counted)
    assert page_at_once(partitions, asked, counting, NOW) is None
    assert sum(read) - read[-1] <= PIECE_BYTES


def test_rows_that_are_much_together_are_left_to_pieces() -> None:
    some = {b"%d" % number: row_of(b"x" * (TOGETHER_BYTES_MAX - 100)) for number in range(3)}
    assert PIECE_BYTES < 3 * TOGETHER_BYTES_MAX
    assert not is_quick(some, SIMPLE)


@pytest.mark.parametrize("change", [{"reverse": True}, {"keys_only": True}, {"form": 1}, {"limit": PIECE_ROWS + 1}])
def test_other_questions_are_left_to_others(change: dict[str, Any]) -> None:
    assert not is_quick({b"a": row_of(b"plain")}, msgspec.structs.replace(SIMPLE, **change))


def test_a_page_that_its_bytes_fill_is_left_to_others() -> None:
    data = {b"a": row_of(b"plain"), b"b": row_of(b"plain")}
    size = sum(map(len, careful_page(data, SIMPLE).items))
    assert is_quick(data, msgspec.structs.replace(SIMPLE, bytes_max=size + 1))
    assert not is_quick(data, msgspec.structs.replace(SIMPLE, bytes_max=size))


def test_so_are_many_partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PIECE_ROWS", 2)
    assert not is_quick({b"a": row_of(b"plain")}, msgspec.structs.replace(SIMPLE, limit=1))


def test_every_partition_is_asked_whether_it_has_more_to_say() -> None:
    story = Story(nodes=1, pids=(PID, PID + 1))
    n1 = story.lead()
    n1.batch(apply=True)
    story.settle()
    parts = [(pid, partition.copy.entry.ver) for pid, partition in n1.partitions.by_pid.items()]
    asked = msgspec.structs.replace(SIMPLE, parts=parts)

    def page() -> Any:
        return page_at_once(n1.partitions.by_pid, asked, n1.engine.snapshot(), story.now)

    assert page() is not None
    n1.write("w", WriteOne(*parts[1], b"k", b"not applied"))
    story.settle()
    assert page() is None


def leave_unapplied(n1: StoryNode) -> None:
    n1.put("u", b"z", b"not applied")
    n1._story.settle()


@pytest.mark.parametrize("stop", [*STOPS, leave_unapplied], ids=name_of)
def test_where_a_partition_has_more_to_say_than_its_rows_there_is_none(
    story: Story, n1: StoryNode, stop: Callable[[StoryNode], None]
) -> None:
    n1.batch(apply=True)
    story.settle()
    story.beat()

    def page(node: StoryNode, ver: int = 0) -> Any:
        asked = msgspec.structs.replace(SIMPLE, parts=[(PID, n1.partition.ver + ver)])
        return page_at_once(node.partitions.by_pid, asked, node.engine.snapshot(), story.now)

    found = page(n1)
    assert found is not None
    assert keys_of(found) == [b"k"]
    assert page(story.n2) is None
    assert page(n1, ver=-1) is None
    stop(n1)
    assert page(n1) is None
