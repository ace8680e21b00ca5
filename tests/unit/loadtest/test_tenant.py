"""What the keyspace of a tenant that moves has to hold, and how it is judged."""

from __future__ import annotations

import json
from collections import Counter

import pytest
from open_loop import Request, Tally
from tenant import Missed, Mix, check_items, slower

HELD = {"moving/1": "a", "moving/2": "b"}


@pytest.fixture
def mix() -> Mix:
    return Mix("127.0.0.1:8000", ["moving/1"], ["one/1"], 20)


def test_what_was_acknowledged_last_is_accepted() -> None:
    assert check_items(HELD, HELD.items()) == 2


@pytest.mark.parametrize(
    "items",
    [
        [("moving/1", "a")],
        [("moving/1", "a"), ("moving/2", "a")],
        [*HELD.items(), ("moving/3", "c")],
        [*HELD.items(), ("moving/1", "a")],
    ],
    ids=["lost", "older", "foreign", "twice"],
)
def test_anything_else_is_refused(items: list[tuple[str, str]]) -> None:
    with pytest.raises(Missed):
        check_items(HELD, items)


def test_how_much_slower_requests_were_is_told_by_kind() -> None:
    before = Tally(latencies={"GET": Counter({2.0: 100}), "PUT": Counter({4.0: 99, 8.0: 1})})
    during = Tally(latencies={"PUT": Counter({4.0: 90, 12.0: 10}), "GET": Counter({1.0: 100})})
    assert slower(before, during) == [("GET", 0.5), ("PUT", 3.0)]


def test_a_put_counts_when_it_is_acknowledged_and_not_before(mix: Mix) -> None:
    before = dict(mix.held)
    wire = mix.request_for("PUT")
    assert mix.held == before
    mix.on_end(Request("PUT", 0.0, wire), "")
    assert mix.held["moving/1"].encode() == wire.partition(b"\r\n\r\n")[2] != before["moving/1"].encode()


def test_a_put_that_failed_changes_nothing_that_is_expected(mix: Mix) -> None:
    before = dict(mix.held)
    mix.on_end(Request("PUT", 0.0, mix.request_for("PUT")), "503 no_leader")
    assert mix.held == before


def test_a_transaction_writes_one_key_of_the_tenant_and_one_of_another(mix: Mix) -> None:
    wire = mix.request_for("TXN")
    ops = json.loads(wire.partition(b"\r\n\r\n")[2])["then"]
    mix.on_end(Request("TXN", 0.0, wire), "")
    assert {op["key"]: op["value"] for op in ops} == mix.held
