"""The checker of keyspaces that hold the same keys."""

from __future__ import annotations

import pytest
from checkers.history import Anomaly
from checkers.isolation import check_count, check_items, check_value, value_in

HELD = {"a": value_in("one", 1), "b": value_in("one", 2)}
FOREIGN = value_in("other", 1)
WRONG: dict[str, list[tuple[str, str]]] = {
    "of another keyspace": [("a", FOREIGN), ("b", HELD["b"])],
    "a key that only another keyspace has": [*HELD.items(), ("c", FOREIGN)],
    "deleted in another keyspace": [("a", HELD["a"])],
    "twice": [("a", HELD["a"]), *HELD.items()],
    "out of order": [("b", HELD["b"]), ("a", HELD["a"])],
    "an older value": [("a", value_in("one", 0)), ("b", HELD["b"])],
}


def test_what_was_written_is_accepted() -> None:
    check_items("one", HELD, HELD.items(), "a scan")
    check_value("one", "a", HELD["a"], HELD["a"], "a get")
    check_value("one", "c", None, None, "a get")
    check_count("one", HELD, 2, "a count")


@pytest.mark.parametrize("name", WRONG)
def test_a_scan_with_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        check_items("one", HELD, WRONG[name], "a scan")


@pytest.mark.parametrize("found", [None, FOREIGN])
def test_a_key_that_holds_anything_else_is_refused(found: str | None) -> None:
    with pytest.raises(Anomaly):
        check_value("one", "a", HELD["a"], found, "a get")


def test_what_comes_from_another_keyspace_is_told_by_its_name() -> None:
    with pytest.raises(Anomaly, match="which was put in 'other'"):
        check_value("one", "a", HELD["a"], FOREIGN, "a get")


@pytest.mark.parametrize("count", [1, 3])
def test_another_count_is_refused(count: int) -> None:
    with pytest.raises(Anomaly):
        check_count("one", HELD, count, "a count")
