"""The row of a workload out of Locust's statistics."""

from __future__ import annotations

from typing import Any

import pytest
from ycsb import letters, result_of

from kvstore.errors import OperatorError


def entry(name: str, latencies: dict[str, int], failed: int = 0) -> dict[str, Any]:
    return {
        "name": name,
        "num_requests": sum(latencies.values()),
        "num_failures": failed,
        "start_time": 100.0,
        "last_request_timestamp": 110.0,
        "response_times": latencies,
    }


def test_reads_and_updates_are_taken_together() -> None:
    result = result_of("A", [entry("A read", {"1": 60, "2": 30}), entry("A update", {"2": 9, "30": 1}, failed=2)])
    assert result.row() == "| A | 10 | 1 | 2 | 2 | 2 | 0 |"


def test_scans_and_inserts_are_taken_together() -> None:
    result = result_of("E", [entry("E scan", {"4": 95}, failed=1), entry("E insert", {"2": 5})])
    assert result.row() == "| E | 10 | 4 | 4 | 4 | 1 | 0 |"


def test_a_read_modify_write_is_one_operation_and_its_refused_writes_are_no_failures() -> None:
    entries = [
        entry("F read", {"1": 50}),
        entry("F read-modify-write", {"5": 50}),
        entry("F read-modify-write: read", {"2": 57}),
        entry("F read-modify-write: write", {"3": 50}),
        entry("F read-modify-write: write refused, 412", {"3": 7}),
    ]
    assert result_of("F", entries).row() == "| F | 10 | 1 | 5 | 5 | 0 | 7 |"


def test_a_run_without_an_operation_is_a_mistake() -> None:
    with pytest.raises(OperatorError, match="workload B carried out no operation"):
        result_of("B", [])


@pytest.mark.parametrize("text", ["", "G", "AX", "a"])
def test_only_workloads_that_exist_can_be_chosen(text: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011
        letters(text)
