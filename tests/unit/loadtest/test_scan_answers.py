"""What the load test takes as an answer to a short scan, and what it counts as a failure."""

from __future__ import annotations

import json

import pytest
from scan_answers import fault_of


def page_of(*keys: str) -> bytes:
    return json.dumps({"items": [{"key": key, "value": "x", "etag": "1.1.1"} for key in keys], "cursor": "c"}).encode()


@pytest.mark.parametrize("keys", [["b"], ["b", "c"], ["b", "bb", "c"]])
def test_keys_that_rise_from_the_record_asked_for_are_an_answer(keys: list[str]) -> None:
    assert fault_of(page_of(*keys), "b", 3) is None


def test_a_key_of_others_that_is_no_text_has_its_place_in_the_order_of_bytes() -> None:
    text, bytes_after = {"key": "user\ue000"}, {"key_b64": "dXNlcv8="}
    assert fault_of(json.dumps({"items": [{"key": "user"}, text, bytes_after]}).encode(), "user", 3) is None
    assert fault_of(json.dumps({"items": [{"key": "user"}, bytes_after, text]}).encode(), "user", 3) is not None


@pytest.mark.parametrize(
    ("page", "told"),
    [
        (page_of("b", "c", "d", "e"), "more items"),
        (page_of(), "no items"),
        (page_of("a", "b"), "not the record asked for"),
        (page_of("c", "d"), "not the record asked for"),
        (page_of("b", "d", "c"), "not in order"),
        (page_of("b", "c", "c"), "not in order"),
        (b"", "no page"),
        (b'{"count": 3}', "no page"),
        (b'{"items": [{"key": 1}]}', "no page"),
        (page_of("b")[:-1], "no page"),
    ],
)
def test_any_other_page_is_a_failure(page: bytes, told: str) -> None:
    assert told in str(fault_of(page, "b", 3))
