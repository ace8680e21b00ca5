"""The page says all that results.json holds."""

from __future__ import annotations

import pytest
from compare.lines import judge
from compare.report import number, report, table
from compare.results import measured
from unit.loadtest.compare.measurements import GET_64, PUT_64, measurement, results, sample


def test_every_measurement_has_a_row_with_least_and_most() -> None:
    page = report(results(measurement("kvstore", GET_64, 100, 300, 200), measurement("etcd", PUT_64, 50)), [])
    assert "| kvstore | 64 | 200 | 100 | 300 | 2.00 | 9.00 | 20.0 | 0.50 | 100 | 1.50 | 0 |" in page
    assert "## PUT, 100 B" in page
    assert "| etcd | 64 | 50.0 |" in page


def test_errors_are_marked() -> None:
    page = report(results(measured("etcd", GET_64, [sample(1), sample(1, errors=7)])), [])
    assert "| **7** |" in page


def test_every_line_is_told_and_those_missed_stand_out() -> None:
    found = results(measurement("kvstore", GET_64, 400), measurement("etcd", GET_64, 100))
    page = report(found, [])
    assert all(f"| {one.line.name} | {one.line.bound} |" in page for one in judge(found))
    assert "| GET/s, of etcd's | ≥ 5 | 4.00 | **missed** |" in page


def test_own_figures_pictures_promises_and_what_is_left_out_are_there() -> None:
    page = report(results(measurement("kvstore", GET_64, 1), own={"scan, keys/s": [3.0, 1.0, 2.0]}), ["cpu.png"])
    assert "| scan, keys/s | 2.00 | 1.00 | 3.00 | 3 |" in page
    assert "](cpu.png)" in page
    assert "| several keys at once | any keys |" in page
    assert "- much" in page


@pytest.mark.parametrize(("value", "told"), [(0.123, "0.12"), (12.34, "12.3"), (99.96, "100.0"), (12345.6, "12,346")])
def test_numbers_have_as_many_digits_as_mean_something(value: float, told: str) -> None:
    assert number(value) == told


def test_columns_of_numbers_are_set_to_the_right() -> None:
    assert table(("a", "b"), [("x", "1")]) == "| a | b |\n| :-- | --: |\n| x | 1 |"
