"""The judge of scans by a client whose keys nobody else writes."""

from __future__ import annotations

import pytest
from checkers.dictionary import KEY_ALONE, UNKNOWN, Found, Held, Key, Outcome, Span, Write
from checkers.history import Anomaly
from checkers.key_range import KeyRange, judge_count, judge_page

TEXT = "text/plain"
NOW = Span(10.0, 11.0)
ALL = KeyRange()
Items = list[tuple[bytes, Found]]


def keys() -> dict[bytes, Key]:
    """`a`, `b` and `d` are there, `c` is not, and `e` may be."""
    found = {name: Key() for name in (b"a", b"b", b"c", b"d", b"e")}
    for number, name in enumerate((b"a", b"b", b"d")):
        found[name].answer(Write(Held(name, TEXT)), Outcome(201, str(number)), Span(1.0, 2.0))
    found[b"e"].answer(Write(Held(b"e", TEXT)), UNKNOWN, Span(1.0, 2.0))
    return found


def items(names: str) -> Items:
    etags = {"a": "0", "b": "1", "d": "2", "e": "3", "c": "4"}
    return [(name.encode(), Found(name.encode(), TEXT, etags[name])) for name in names]


def page(names: str, within: KeyRange = ALL, *, is_last: bool = True) -> KeyRange:
    return judge_page(keys(), within, items(names), NOW, is_last=is_last)


BACKWARDS = KeyRange(is_reverse=True)
ACCEPTED: dict[str, tuple[str, KeyRange, bool]] = {
    "all, without what may be there": ("abd", KeyRange(), True),
    "all, with what may be there": ("abde", KeyRange(), True),
    "backwards": ("edba", BACKWARDS, True),
    "a page": ("ab", KeyRange(), False),
    "a page backwards": ("db", BACKWARDS, False),
    "the rest after a page": ("d", KeyRange(after=b"b"), True),
    "the rest after a page, backwards": ("a", KeyRange(is_reverse=True, after=b"b"), True),
    "from start, before end": ("b", KeyRange(start=b"b", end=b"d"), True),
    "from start, before end, backwards": ("b", KeyRange(b"b", b"d", is_reverse=True), True),
    "of a prefix": ("d", KeyRange(prefix=b"d"), True),
    "nothing between bounds that are one": ("", KeyRange(start=b"b", end=b"b"), True),
}
REFUSED: dict[str, tuple[str, KeyRange, bool]] = {
    "one is left out": ("ad", KeyRange(), True),
    "one is left out of a page": ("ad", KeyRange(), False),
    "the last is left out": ("ab", KeyRange(), True),
    "the first of a page is left out": ("d", KeyRange(after=b"a"), True),
    "one comes twice": ("abbd", KeyRange(), True),
    "one of the page before comes again": ("bd", KeyRange(after=b"b"), True),
    "out of order": ("bad", KeyRange(), True),
    "forwards instead of backwards": ("abd", BACKWARDS, True),
    "what is not there": ("abcd", KeyRange(), True),
    "the end is not in it": ("bd", KeyRange(start=b"b", end=b"d"), True),
    "the start is in it": ("", KeyRange(start=b"b", end=b"d"), True),
    "not of the prefix": ("bd", KeyRange(prefix=b"d"), True),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_sorted_dict_would_give_is_accepted(name: str) -> None:
    names, within, is_last = ACCEPTED[name]
    page(names, within, is_last=is_last)


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    names, within, is_last = REFUSED[name]
    with pytest.raises(Anomaly):
        page(names, within, is_last=is_last)


def test_a_page_leaves_what_is_behind_its_last_key() -> None:
    assert page("ab", is_last=False) == KeyRange(after=b"b")
    assert page("", KeyRange(after=b"e")) == KeyRange(after=b"e")


@pytest.mark.parametrize("wrong", [Found(b"x", TEXT, "1"), Found(b"b", "a/b", "1"), Found(b"b", TEXT, "9")])
def test_each_item_has_to_be_what_the_key_holds(wrong: Found) -> None:
    with pytest.raises(Anomaly, match="b'b'"):
        judge_page(keys(), KeyRange(), [*items("a"), (b"b", wrong)], NOW, is_last=False)


def test_what_a_page_shows_of_an_open_write_is_so_from_then_on() -> None:
    held = keys()
    judge_page(held, KeyRange(prefix=b"e"), items("e"), NOW, is_last=True)
    with pytest.raises(Anomaly):
        judge_page(held, KeyRange(prefix=b"e"), [], NOW, is_last=True)


def test_of_keys_alone_it_is_judged_which_there_are() -> None:
    judge_page(keys(), KeyRange(), [(name, KEY_ALONE) for name in (b"a", b"b", b"d")], NOW, is_last=True)
    with pytest.raises(Anomaly):
        judge_page(keys(), KeyRange(), [(name, KEY_ALONE) for name in (b"a", b"c")], NOW, is_last=False)


def test_a_count_is_between_what_is_there_and_what_may_be() -> None:
    for count in (3, 4):
        judge_count(keys(), KeyRange(), count, NOW)
    for count in (2, 5):
        with pytest.raises(Anomaly):
            judge_count(keys(), KeyRange(), count, NOW)
