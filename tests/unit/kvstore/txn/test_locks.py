"""Locks of keys: one holder each, and an order among those who wait that nobody overtakes."""

from __future__ import annotations

import pytest
from unit.kvstore.txn.coordinating import ELSEWHERE, named, part, put

from kvstore.messages import Prepare, WriteOne
from kvstore.txn.fences import Fence
from kvstore.txn.locks import QUEUE_MAX, Locks, Waiter

T, U = named("t"), named("u")


@pytest.fixture
def locks() -> Locks:
    return Locks()


def waiter(ticket: str, *keys: bytes, until_ms: int = 50, writes_one: bool = False) -> Waiter:
    request = WriteOne(1, 1, keys[0], b"v") if writes_one else Prepare(ELSEWHERE, 1, named(ticket), part(put(keys[0])))
    return Waiter(ticket, request, keys, until_ms)


def stepped(locks: Locks, now_ms: int) -> list[tuple[object, bool]]:
    return [(one.ticket, is_free) for one, is_free in locks.step(now_ms)]


def test_a_key_has_one_holder_until_that_one_gives_it_up(locks: Locks) -> None:
    locks.take(T, [b"a", b"b"])
    assert not locks.is_free([b"b", b"c"])
    assert locks.is_free([b"c"])
    locks.release(U, [b"a"])
    assert not locks.is_free([b"a"]), "it is not the other's to give up"
    locks.release(T, [b"a", b"b"])
    assert locks.is_free([b"a", b"b"])
    assert not locks


def test_who_waits_gets_all_keys_at_once_or_none(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.take(U, [b"b"])
    locks.wait(waiter("w", b"a", b"b"))
    locks.release(T, [b"a"])
    assert stepped(locks, 10) == []
    locks.release(U, [b"b"])
    assert stepped(locks, 20) == [("w", True)]
    assert not locks.is_wanted


def test_nobody_overtakes_who_wants_one_of_the_same_keys(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.wait(waiter("first", b"a", b"b"))
    assert not locks.is_free([b"b"]), "it is nobody's, and the next one's"
    assert locks.is_free([b"c"])
    locks.wait(waiter("second", b"b"))
    locks.wait(waiter("third", b"b", b"c"))
    assert stepped(locks, 10) == []
    locks.release(T, [b"a"])
    order = []
    for one, is_free in locks.step(20):
        assert is_free
        order.append(one.ticket)
        locks.take(named(str(one.ticket)[0]), one.keys)
    assert order == ["first"], "what is done with one counts for the next"


def test_a_wait_ends_in_its_time(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.wait(waiter("brief", b"a", until_ms=50))
    locks.wait(waiter("long", b"a", until_ms=100))
    assert locks.next_end_ms == 50
    assert stepped(locks, 49) == []
    assert stepped(locks, 50) == [("brief", False)]
    assert locks.next_end_ms == 100


def test_who_can_go_on_in_the_moment_when_the_time_is_over_does(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.wait(waiter("w", b"a"))
    locks.release(T, [b"a"])
    assert stepped(locks, 50) == [("w", True)]


def test_what_one_who_gave_up_wanted_is_free_for_those_behind(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.wait(waiter("first", b"a", b"b", until_ms=50))
    locks.wait(waiter("second", b"b", until_ms=90))
    assert stepped(locks, 50) == [("first", False), ("second", True)]


def test_all_are_sent_away_at_once(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.wait(waiter("w", b"a"))
    assert [one.ticket for one in locks.clear()] == ["w"]
    assert not locks.is_wanted
    assert locks.holders == {b"a": T}, "what is prepared stays locked"


def test_a_crowd_is_told_so(locks: Locks) -> None:
    for number in range(QUEUE_MAX):
        assert not locks.is_crowded
        locks.wait(waiter(f"w{number}", b"a"))
    assert locks.is_crowded


def test_a_fence_holds_up_what_would_be_prepared_and_no_write(locks: Locks) -> None:
    locks.fences.put(Fence("scan", "ticket", b"a", b"c", 100))
    assert locks.is_free([b"a"])
    assert not locks.may_be_prepared([b"a"])
    assert locks.may_be_prepared([b"c"])
    locks.wait(waiter("prepare", b"b"))
    locks.wait(waiter("write", b"a", writes_one=True))
    assert stepped(locks, 10) == [("write", True)]
    locks.fences.lift("scan")
    assert stepped(locks, 20) == [("prepare", True)]


def test_who_holds_keys_is_named(locks: Locks) -> None:
    locks.take(T, [b"a"])
    locks.take(U, [b"b"])
    assert locks.holders_of([b"a", b"c"]) == {T}
    assert locks.holders_of([b"a", b"b"]) == {T, U}
