"""Which answers may be given again, for how long, and which may lack an own write."""

from __future__ import annotations

import math

import pytest

from kvstore.client import freshness
from kvstore.client.freshness import OwnWrites, Promise, promise_of

HEADERS = {"X-KV-Lag-Ms": "500", "ETag": '"1"'}


def test_only_what_is_marked_to_be_kept_and_tells_its_lag_and_version_is() -> None:
    assert promise_of("private, max-age=2", HEADERS) == Promise(0.5, 2.0)
    assert promise_of(" MAX-AGE=2 ", {**HEADERS, "X-KV-TTL": "7.25"}) == Promise(0.5, 2.0, 7.25)
    for name in HEADERS:
        assert promise_of("max-age=2", {other: HEADERS[other] for other in HEADERS if other != name}) is None


@pytest.mark.parametrize(
    "cache_control",
    [
        *("", "private", "no-store", "no-cache", "max-age", "max-age=", "max-age=0", "max-age=-1", "max-age=1.5"),
        *("max-age=x", "max-age=٣", "no-store, max-age=5", "max-age=5,No-Cache", "s-maxage=5"),
    ],
)
def test_nothing_else_is(cache_control: str) -> None:
    assert promise_of(cache_control, HEADERS) is None


@pytest.mark.parametrize(
    ("age_s", "max_stale_s", "is_kept"),
    [(0.0, 0.5, True), (0.0, 0.49, False), (1.5, 2.0, True), (1.51, 2.0, False), (2.0, 9.0, True), (2.01, 9.0, False)],
)
def test_lag_and_age_together_stay_within_what_is_asked_and_age_within_what_the_server_allows(
    age_s: float, max_stale_s: float, is_kept: bool
) -> None:
    assert Promise(0.5, 2.0).is_kept(age_s, max_stale_s) is is_kept


def test_a_value_is_not_given_after_its_time_to_live() -> None:
    promise = Promise(0.5, 60.0, 1.0)
    assert promise.is_kept(0.99, 60.0)
    assert not promise.is_kept(1.0, 60.0)
    assert promise.headers(0.25) == {"X-KV-Lag-Ms": "750", "X-KV-TTL": "0.750"}
    assert promise.headers(1.25)["X-KV-TTL"] == "0.000"
    assert Promise(0.0, 5.0).headers(0.0011) == {"X-KV-Lag-Ms": "2"}


def test_an_answer_of_before_the_end_of_an_own_write_may_lack_it() -> None:
    writes = OwnWrites()
    assert writes.tells_all("a", -math.inf) is False
    assert writes.tells_all("a", 0.0)
    writes.begin(("a",))
    assert not writes.tells_all("a", 99.0)
    writes.end(("a",), 10.0)
    assert not writes.tells_all("a", 10.0)
    assert writes.tells_all("a", 10.1)
    assert writes.tells_all("b", 0.0)


def test_of_two_writes_of_a_path_under_way_the_last_counts() -> None:
    writes = OwnWrites()
    writes.begin(("a", "a"))
    writes.begin(("a",))
    writes.end(("a",), 10.0)
    assert not writes.tells_all("a", 99.0)
    writes.end(("a", "a"), 20.0)
    assert not writes.tells_all("a", 15.0)
    assert writes.tells_all("a", 21.0)


def test_a_write_of_nobody_knows_what_is_one_of_everything() -> None:
    writes = OwnWrites()
    writes.begin(None)
    assert not writes.tells_all("a", 99.0)
    writes.end(None, 10.0)
    assert not writes.tells_all("a", 10.0)
    assert writes.tells_all("a", 10.1)


def test_writes_that_are_forgotten_count_as_the_last_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freshness, "WRITES_KEPT_MAX", 3)
    writes = OwnWrites()
    for number in range(1, 6):
        writes.begin((f"k{number}",))
        writes.end((f"k{number}",), float(number))
    assert not writes.tells_all("k1", 2.0)
    assert writes.tells_all("k1", 2.1)
    assert not writes.tells_all("k3", 3.0)
    assert len(writes._ended_s) == 3
