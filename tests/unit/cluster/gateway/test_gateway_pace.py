"""A client that streams is given as much patience as its bytes have earned."""

from __future__ import annotations

import pytest

from cluster.gateway.http_request import Pace


def test_a_trickle_uses_up_its_patience() -> None:
    pace = Pace(5, 30, 1024)
    for _ in range(3):
        pace.waited(1, 512)
    assert pace.left_s == pytest.approx(3.5)


def test_bytes_earn_a_pause_but_not_an_endless_one() -> None:
    pace = Pace(5, 30, 1024)
    pace.waited(0.1, 10_000_000)
    assert pace.left_s == 30
    pace.waited(29, 1024)
    assert pace.left_s == pytest.approx(2)


def test_without_a_least_rate_any_byte_earns_the_longest_pause() -> None:
    pace = Pace(5, 30, 0)
    pace.waited(4, 1)
    assert pace.left_s == 30
