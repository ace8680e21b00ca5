"""Fences of scans: what they hold up, whom they tell, and when they are gone."""

from __future__ import annotations

import pytest

from kvstore.txn.fences import Fence, Fences

SCAN, OTHER = object(), object()


@pytest.fixture
def fences() -> Fences:
    fences = Fences()
    fences.put(Fence(SCAN, "ticket", b"b", b"d", 100))
    return fences


def test_a_fence_holds_up_the_keys_of_its_range(fences: Fences) -> None:
    assert [key for key in (b"a", b"b", b"c", b"d") if fences.hold([key])] == [b"b", b"c"]
    assert fences.hold([b"a", b"c"])


def test_a_range_without_end_holds_up_all_that_follows() -> None:
    fences = Fences()
    fences.put(Fence(SCAN, "ticket", b"b", b"", 100))
    assert fences.hold([b"zzz"])
    assert not fences.hold([b"a"])


def test_it_tells_once_that_nothing_within_may_change_and_stays(fences: Fences) -> None:
    assert fences.settled({b"c"}, 10) == []
    assert fences.settled({b"a", b"d"}, 20) == [("ticket", True)]
    assert fences.settled(set(), 30) == []
    assert fences.hold([b"b"])


def test_its_time_ends_the_wait_and_the_fence(fences: Fences) -> None:
    assert fences.settled({b"c"}, 99) == []
    assert fences.settled({b"c"}, 100) == [("ticket", False)]
    assert not fences


def test_who_can_go_on_in_the_moment_when_its_time_is_over_is_told_so(fences: Fences) -> None:
    assert fences.settled(set(), 100) == [("ticket", True)]
    assert not fences


def test_a_fence_is_over_in_its_time_though_nobody_lifts_it(fences: Fences) -> None:
    fences.settled(set(), 50)
    assert fences.ends_ms == [100]
    assert fences.settled(set(), 100) == []
    assert not fences


def test_lifting_takes_the_fences_of_one_owner_away(fences: Fences) -> None:
    fences.put(Fence(SCAN, "more", b"x", b"y", 100))
    fences.put(Fence(OTHER, "other", b"b", b"c", 100))
    fences.lift(SCAN)
    assert [fence.ticket for fence in fences.waiting()] == ["other"]
    assert not fences.hold([b"x"])


def test_all_who_wait_are_named_when_all_are_taken_away(fences: Fences) -> None:
    fences.put(Fence(OTHER, "other", b"x", b"y", 100))
    fences.settled({b"x"}, 10)
    assert fences.clear() == ["other"]
    assert not fences
