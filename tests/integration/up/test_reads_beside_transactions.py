"""A whole cluster read while transactions run: batches see one state, and scans and counts leave no key out."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from probe.processes import Answer, ask
from probe.up import Up

ACCOUNTS = [f"bank/{number}" for number in range(10)]
EACH = 100
TRANSFERS = 60
TELLERS = 3
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    up = Up(tmp_path_factory.mktemp("up") / "data").wait_ready()
    yield up.url
    up.end()


def post(url: str, path: str, body: dict[str, Any]) -> Answer:
    return ask(f"{url}{path}", "POST", json.dumps(body).encode(), JSON)


def transfer(url: str, rng: random.Random) -> int:
    """Move money between two accounts; returns the status."""
    giver, taker = rng.sample(ACCOUNTS, 2)
    ops = [{"op": "incr", "key": giver, "by": -1}, {"op": "incr", "key": taker, "by": 1}]
    return post(url, "/v1/txn", {"then": ops}).status


def balances(url: str) -> list[int] | int:
    """All accounts at one moment, or the status of the refusal."""
    ops = [{"op": "get", "key": key} for key in ACCOUNTS]
    answer = post(url, "/v1/batch?consistent=true", {"ops": ops})
    if answer.status != 200:
        return answer.status
    return [int(one["value"]) for one in json.loads(answer.body)["results"]]


def scanned(url: str) -> tuple[list[str], int]:
    """The keys of a scan, and how many a count finds."""
    page, count = ask(f"{url}/v1/kv?prefix=bank/", "GET"), ask(f"{url}/v1/kv?prefix=bank/&count=true", "GET")
    assert (page.status, count.status) == (200, 200)
    return [item["key"] for item in json.loads(page.body)["items"]], json.loads(count.body)["count"]


def test_money_that_moves_is_never_seen_half_way(url: str) -> None:
    for key in ACCOUNTS:
        assert ask(f"{url}/v1/kv/{key.replace('/', '%2F')}", "PUT", b"%d" % EACH).status == 201
    with ThreadPoolExecutor(TELLERS) as tellers:
        work = [
            tellers.submit(lambda seed: [transfer(url, random.Random(seed * 1000 + n)) for n in range(TRANSFERS)], seed)
            for seed in range(TELLERS)
        ]
        seen: list[list[int] | int] = []
        while not all(one.done() for one in work):
            seen.append(balances(url))
            keys, count = scanned(url)
            assert (keys, count) == (sorted(ACCOUNTS), len(ACCOUNTS))
    statuses = {status for one in work for status in one.result()}
    assert 200 in statuses
    assert statuses <= {200, 409, 503}
    states = [one for one in [*seen, balances(url)] if isinstance(one, list)]
    assert len(states) > 1
    assert {sum(state) for state in states} == {EACH * len(ACCOUNTS)}
    assert {one for one in seen if isinstance(one, int)} <= {503}
