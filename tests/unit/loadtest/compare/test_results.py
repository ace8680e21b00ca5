"""Medians over rounds, and results.json."""

from __future__ import annotations

import msgspec
import pytest
from compare.results import decode, encode, measured
from unit.loadtest.compare.measurements import GET_64, PUT_64, measurement, results, sample


def test_each_figure_has_its_own_median_least_and_most() -> None:
    rounds = [sample(100, p99_ms=9), sample(300, p99_ms=7), sample(200, p99_ms=8)]
    one = measured("etcd", GET_64, rounds)
    assert (one.median.requests_per_s, one.least.requests_per_s, one.most.requests_per_s) == (200, 100, 300)
    assert (one.median.p99_ms, one.least.p99_ms, one.most.p99_ms) == (8, 7, 9)
    assert one.rounds == rounds


def test_errors_of_a_single_round_are_not_lost_in_the_median() -> None:
    one = measured("etcd", GET_64, [sample(1), sample(1, errors=3), sample(1)])
    assert one.median.errors == 0
    assert one.errors == 3


def test_what_is_written_is_read_back() -> None:
    one = results(measurement("kvstore", GET_64, 1.5, 2.5), own={"scan": [1.0]})
    assert decode(encode(one)) == one


def test_a_file_of_another_shape_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        decode('{"date": "today"}')


def test_a_measurement_is_found_by_all_that_tells_it_apart() -> None:
    get, put = measurement("kvstore", GET_64, 1), measurement("kvstore", PUT_64, 2)
    found = results(get, put)
    assert found.find("kvstore", "PUT", 100, 64) == put
    assert found.find("kvstore", "PUT", 100, 16) is None
    assert found.find("etcd", "PUT", 100, 64) is None
