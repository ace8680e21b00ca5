"""The checker of scans."""

from __future__ import annotations

from dataclasses import replace

import pytest
from checkers.brief import DONE, NOT_EXECUTED, UNKNOWN
from checkers.history import FOR_EVER, Anomaly, Kind, Op, Outcome
from checkers.scan import Count, Page, Scan, check_scans


def write(key: str, value: object, begin: float, end: float, outcome: Outcome = DONE) -> Op:
    return Op(0, Kind.WRITE, key, begin, FOR_EVER if outcome is UNKNOWN else end, outcome, value)


def delete(key: str, begin: float, end: float, outcome: Outcome = DONE) -> Op:
    return Op(0, Kind.DELETE, key, begin, FOR_EVER if outcome is UNKNOWN else end, outcome)


def page(begin: float, end: float, **items: object) -> Page:
    return Page(begin, end, tuple(items.items()))


def scan(*pages: Page, is_reverse: bool = False, limit: int | None = None) -> Scan:
    return Scan(1, pages, is_reverse=is_reverse, limit=limit)


def twice(begin: float, end: float, key: str, value: object) -> Page:
    return Page(begin, end, ((key, value), (key, value)))


A, B, C = write("a", 1, 0, 1), write("b", 2, 0, 1), write("c", 3, 0, 1)
ALL = page(5, 6, a=1, b=2, c=3)
B_AGAIN = write("b", 4, 2, 3)
ACCEPTED: dict[str, tuple[list[Op], Scan | Count]] = {
    "all that is there": ([A, B, C], scan(ALL)),
    "nothing where nothing is": ([], scan(page(5, 6))),
    "from the end": ([A, B], scan(page(5, 6, b=2, a=1), is_reverse=True)),
    "in pages": ([A, B, C], scan(page(5, 6, a=1, b=2), page(7, 8, c=3))),
    "with an empty last page": ([A], scan(page(5, 6, a=1), page(7, 8))),
    "up to its limit": ([A, B, C], scan(page(5, 6, a=1, b=2), limit=2)),
    "up to its limit, from the end": ([A, B, C], scan(page(5, 6, c=3, b=2), limit=2, is_reverse=True)),
    "written beside it, and there": ([A, write("b", 2, 5, 6)], scan(page(5, 7, a=1, b=2))),
    "written beside it, and not there": ([A, write("b", 2, 5, 6)], scan(page(5, 7, a=1))),
    "written between pages": ([A, write("b", 2, 6.5, 6.6)], scan(page(5, 6, a=1), page(7, 8, b=2))),
    "deleted beside it, and there": ([A, delete("a", 5, 6)], scan(page(5, 7, a=1))),
    "deleted beside it, and not there": ([A, delete("a", 5, 6)], scan(page(5, 7))),
    "deleted before": ([A, B, delete("b", 2, 3)], scan(page(5, 6, a=1))),
    "deleted, and written again": ([A, delete("a", 2, 3), write("a", 9, 4, 4.5)], scan(page(5, 6, a=9))),
    "overwritten before": ([B, B_AGAIN], scan(page(5, 6, b=4))),
    "overwritten beside it: the old one": ([B, write("b", 4, 5, 6)], scan(page(5, 7, b=2))),
    "overwritten beside it: the new one": ([B, write("b", 4, 5, 6)], scan(page(5, 7, b=4))),
    "two writes at one time: the one": ([write("a", 1, 0, 3), write("a", 2, 1, 2)], scan(page(5, 6, a=1))),
    "two writes at one time: the other": ([write("a", 1, 0, 3), write("a", 2, 1, 2)], scan(page(5, 6, a=2))),
    "an unknown write is there": ([write("a", 1, 0, 1, UNKNOWN)], scan(page(5, 6, a=1))),
    "an unknown write is not there": ([write("a", 1, 0, 1, UNKNOWN)], scan(page(5, 6))),
    "an unknown write comes after a later one": ([write("b", 9, 0, 1, UNKNOWN), B_AGAIN], scan(page(5, 6, b=9))),
    "an unknown delete happened": ([A, delete("a", 2, 3, UNKNOWN)], scan(page(5, 6))),
    "a refused delete": ([A, delete("a", 2, 3, NOT_EXECUTED)], scan(page(5, 6, a=1))),
    "one that was cut off proves nothing": ([A, B, C], replace(scan(page(5, 6, c=3, b=7)), is_whole=False)),
    "counted": ([A, B, C], Count(1, 5, 6, 3)),
    "counted with what is written beside it": ([A, write("b", 2, 5, 6)], Count(1, 5, 6, 2)),
    "counted without": ([A, write("b", 2, 5, 6)], Count(1, 5, 6, 1)),
    "counted of another prefix": ([A, B, C], Count(1, 5, 6, 1, prefix="c")),
}
REFUSED: dict[str, tuple[list[Op], Scan | Count]] = {
    "one is missing": ([A, B, C], scan(page(5, 6, a=1, c=3))),
    "the last is missing": ([A, B, C], scan(page(5, 6, a=1, b=2))),
    "missing though it was overwritten before": ([A, B, B_AGAIN], scan(page(5, 6, a=1))),
    "missing between pages": ([A, B, C], scan(page(5, 6, a=1), page(7, 8, c=3))),
    "missing before the limit": ([A, B, C], scan(page(5, 6, a=1, c=3), limit=2)),
    "fewer than the limit": ([A, B, C], scan(page(5, 6, a=1, b=2), limit=5)),
    "missing though a delete was refused": ([A, delete("a", 2, 3, NOT_EXECUTED)], scan(page(5, 6))),
    "missing though it was deleted and written again": (
        [A, delete("a", 2, 3), write("a", 9, 4, 4.5)],
        scan(page(5, 6)),
    ),
    "missing from the end": ([A, B, C], scan(page(5, 6, c=3, a=1), is_reverse=True)),
    "it came twice": ([A], scan(twice(5, 6, "a", 1))),
    "it came on two pages": ([A], scan(page(5, 6, a=1), page(7, 8, a=1))),
    "it came twice, changed meanwhile": ([A, write("a", 9, 5.5, 5.6)], scan(page(5, 6, a=1), page(7, 8, a=9))),
    "out of order": ([A, B], scan(page(5, 6, b=2, a=1))),
    "out of order from the end": ([A, B], scan(page(5, 6, a=1, b=2), is_reverse=True)),
    "more than the limit": ([A, B], scan(page(5, 6, a=1, b=2), limit=1)),
    "not of the range": ([A, B], replace(scan(page(5, 6, a=1, b=2)), prefix="b")),
    "never written": ([A], scan(page(5, 6, a=1, b=2))),
    "another value": ([A], scan(page(5, 6, a=7))),
    "a refused write is there": ([write("a", 1, 0, 1, NOT_EXECUTED)], scan(page(5, 6, a=1))),
    "there before it was asked": ([write("a", 1, 7, 8)], scan(page(5, 6, a=1))),
    "there before it was asked, though a later page is not over": (
        [write("a", 1, 6.5, 7)],
        scan(page(5, 6, a=1), page(7, 8)),
    ),
    "older than what was acknowledged": ([B, B_AGAIN], scan(page(5, 6, b=2))),
    "older than what was acknowledged before its page": (
        [A, B, write("b", 4, 6.1, 6.2)],
        scan(page(5, 6, a=1), page(7, 8, b=2)),
    ),
    "back from the dead": ([A, delete("a", 2, 3)], scan(page(5, 6, a=1))),
    "counted too few": ([A, B, C], Count(1, 5, 6, 2)),
    "counted too many": ([A, B, C], Count(1, 5, 6, 4)),
    "counted what was deleted": ([A, B, delete("b", 2, 3)], Count(1, 5, 6, 2)),
}


def check(ops: list[Op], one: Scan | Count) -> int:
    return check_scans(ops, [one] if isinstance(one, Scan) else [], [one] if isinstance(one, Count) else [])


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_scan_may_show_is_accepted(name: str) -> None:
    ops, one = ACCEPTED[name]
    assert check(ops, one) == (not isinstance(one, Scan) or one.is_whole)


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check(*REFUSED[name])
