"""What is committed and not applied: which of it counts where, and when it is dropped."""

from __future__ import annotations

import pytest

from kvstore.replication.overlay import Overlay

ROWS: dict[bytes, bytes | None] = {b"a": b"1", b"b": None, b"c": b"3"}


@pytest.fixture
def overlay() -> Overlay:
    overlay = Overlay()
    for seq, (key, row) in enumerate(ROWS.items(), 1):
        overlay.at_end[key] = (seq, row)
        overlay.commit(seq, key, row)
    return overlay


@pytest.mark.parametrize(
    ("start", "end", "keys"),
    [
        (b"", b"", b"abc"),
        (b"b", b"", b"bc"),
        (b"", b"b", b"a"),
        (b"a", b"c", b"ab"),
        (b"aa", b"bb", b"b"),
        (b"d", b"", b""),
    ],
)
def test_only_keys_of_the_range_are_within_it(overlay: Overlay, start: bytes, end: bytes, keys: bytes) -> None:
    assert overlay.within(start, end) == {key: row for key, row in ROWS.items() if key in keys}


def test_nothing_is_within_where_nothing_is_committed() -> None:
    assert Overlay().within(b"", b"") == {}


def test_what_is_applied_is_dropped_and_nothing_else(overlay: Overlay) -> None:
    overlay.forget(0)
    assert list(overlay.committed) == list(overlay.at_end) == [b"a", b"b", b"c"]
    overlay.forget(2)
    assert list(overlay.committed) == list(overlay.at_end) == [b"c"]
    overlay.forget(3)
    assert not overlay.committed
    assert not overlay.at_end


def test_a_key_that_has_changed_again_stays_until_that_is_applied(overlay: Overlay) -> None:
    overlay.at_end[b"a"] = (5, b"5")
    overlay.commit(4, b"a", b"4")
    overlay.forget(3)
    assert overlay.committed == {b"a": (4, b"4")}
    assert overlay.at_end == {b"a": (5, b"5")}
    overlay.forget(4)
    assert not overlay.committed
    assert overlay.at_end == {b"a": (5, b"5")}


def test_a_removal_is_known_when_what_removed_it_is_applied_long_since(overlay: Overlay) -> None:
    overlay.forget(3)
    assert overlay.removed_seq(b"b") == 2
    overlay.commit(7, b"b", None)
    assert overlay.removed_seq(b"b") == 7
