"""What is judged of rising keys: shares of nodes, partitions that scans touch, and what scans hold."""

from __future__ import annotations

import pytest
from keyspaces import Ranges
from open_loop import Request
from rising import SCAN_KEYS, Missed, Rising, check_page, ranges_of, uneven

KEYS = [f"{number:04}".encode() for number in range(300)]
RANGES = Ranges([b"d", b"h", b"p"], [1, 2, 3, 4])


@pytest.mark.parametrize(
    ("writes", "share"),
    [
        ({"n1": 10, "n2": 10, "n3": 10}, 1.0),
        ({"n1": 15, "n2": 10, "n3": 5}, 1.5),
        ({"n1": 30, "n2": 0, "n3": 0}, 3.0),
    ],
)
def test_the_share_of_the_node_with_most_writes_is_told(writes: dict[str, int], share: float) -> None:
    assert uneven(writes) == share


@pytest.mark.parametrize(
    ("first", "last", "touched"), [(b"a", b"c", 1), (b"d", b"g", 1), (b"c", b"d", 2), (b"a", b"z", 4), (b"p", b"p", 1)]
)
def test_a_partition_is_touched_from_its_first_key_on(first: bytes, last: bytes, touched: int) -> None:
    assert RANGES.touched(first, last) == touched


def test_ranges_are_those_that_the_gateway_tells() -> None:
    partitions = [{"id": 7, "start": ""}, {"id": 9, "start": "d"}, {"id": 8, "start_b64": "/w=="}]
    ranges = ranges_of({"placement": partitions})
    assert (ranges.pids, ranges.touched(b"a", b"\xff")) == ([7, 9, 8], 3)


@pytest.mark.parametrize("at", [0, 150, 250])
def test_a_page_of_what_comes_next_is_accepted(at: int) -> None:
    check_page(KEYS[at : at + SCAN_KEYS], KEYS, at)


@pytest.mark.parametrize(
    "page", [KEYS[10:60] + KEYS[61:111], KEYS[10:60] * 2, KEYS[10:109], KEYS[11:111], [b"?", *KEYS[11:110]]], ids=len
)
def test_any_other_page_is_refused(page: list[bytes]) -> None:
    with pytest.raises(Missed):
        check_page(page, KEYS, 10)


def test_keys_rise_and_are_noted_when_they_are_acknowledged() -> None:
    rising = Rising("127.0.0.1:8000", 100)
    for _ in range(40):
        kind, wire = rising.next_request()
        rising.on_ok(Request(kind, 0.0, wire))
    by_worker = [rising.acknowledged[first::8] for first in range(8)]
    assert len(set(rising.acknowledged)) == 40
    assert all(keys == sorted(keys) for keys in by_worker)
