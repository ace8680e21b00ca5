"""What is read of wrk's output."""

from __future__ import annotations

import pytest
from wrk_runs import Round, parse_result

from kvstore.errors import OperatorError


def test_a_result_is_in_seconds_and_milliseconds() -> None:
    output = "Running 2s test\n  1 threads\nRESULT 5000 2500000 3 1500 9000 20500\n"
    assert parse_result(output) == Round(2000.0, 3, 1.5, 9.0, 20.5, 5000)


def test_an_output_without_a_result_is_an_error() -> None:
    with pytest.raises(OperatorError, match="no result: unable to connect"):
        parse_result("unable to connect")
