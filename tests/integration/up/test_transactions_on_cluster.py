"""Transactions on a whole cluster, as programs, shells and strangers ask for them: all of it or nothing, once."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from probe.processes import Answer, ask, wait_until
from probe.up import Up, kvstore

from kvstore.client import Client, Delete, Deleted, Get, If, Incr, Number, Put, SyncClient, Value, Written
from kvstore.errors import BadRequest, KeyNotFound, TxnConflict

EXAMPLE = Path(__file__).parents[3] / "examples" / "bank.py"
TOTAL = 1000


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a cluster that the tests of this file share; each has keys of its own."""
    up = Up(tmp_path_factory.mktemp("up") / "data").wait_ready()
    yield up.url
    up.end()


@pytest.fixture
def client(url: str) -> Iterator[SyncClient]:
    with SyncClient(url, timeout_s=30) as made:
        yield made


def send(url: str, body: dict[str, Any], **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return ask(f"{url}/v1/txn", "POST", json.dumps(body).encode(), {"Content-Type": "application/json", **named})


def incr(key: str, by: int = 1) -> dict[str, Any]:
    return {"op": "incr", "key": key, "by": by}


def test_the_client_carries_out_one_branch_or_the_other(client: SyncClient) -> None:
    first = client.txn(
        conditions=[If("a/1", exists=False)],
        then=[Put("a/1", b"\x00\xff", content_type="a/b", ttl_s=1000), Incr("a/2", 5), Get("a/1"), Delete("a/3")],
        otherwise=[Delete("a/1")],
    )
    written, number, value, deleted = first.outcomes
    assert isinstance(written, Written)
    assert (first.branch, written.created, deleted) == ("then", True, Deleted())
    assert isinstance(number, Number)
    assert number.value == 5
    assert isinstance(value, Value)
    assert (value.data, value.content_type, value.etag) == (b"\x00\xff", "a/b", written.etag)
    assert client.get("a/1").etag == written.etag
    assert client.transaction(first.id).branch == "then"
    second = client.txn(
        conditions=[If("a/1", etag=written.etag), If("a/2", value=b"6")],
        then=[Delete("a/1")],
        otherwise=[Get("a/1"), Get("nowhere")],
    )
    found, missing = second.outcomes
    assert second.branch == "else"
    assert isinstance(found, Value)
    assert isinstance(missing, KeyNotFound)


def test_what_a_branch_cannot_do_leaves_everything_as_it_was(client: SyncClient) -> None:
    client.put("b/text", b"no number")
    client.put("b/large", b"%d" % (2**63 - 1))
    for key in ("b/text", "b/large"):
        with pytest.raises(BadRequest):
            client.txn(then=[Put("b/1", b"x"), Delete("b/text"), Put("b/text", b"no number"), Incr(key)])
    with pytest.raises(KeyNotFound):
        client.get("b/1")
    assert client.get("b/text").data == b"no number"


def test_the_same_key_several_times_is_done_in_order(client: SyncClient) -> None:
    ops = [Get("c"), Put("c", b"1"), Incr("c"), Get("c"), Delete("c"), Get("c"), Incr("c", -3)]
    missing, _, two, found, _, gone, after = client.txn(then=ops).outcomes
    assert isinstance(missing, KeyNotFound)
    assert isinstance(gone, KeyNotFound)
    assert isinstance(found, Value)
    assert isinstance(two, Number)
    assert isinstance(after, Number)
    assert (two.value, found.data, after.value, client.get("c").data) == (2, b"2", -3, b"-3")


def test_128_operations_are_carried_out_and_129_refused(url: str, client: SyncClient) -> None:
    keys = [f"d/{number}" for number in range(64)]
    conditions = [{"key": key, "exists": False} for key in keys]
    answer = send(url, {"if": conditions, "then": [incr(key) for key in keys]})
    assert (answer.status, json.loads(answer.body)["branch"]) == (200, "then")
    more = send(url, {"if": conditions, "then": [incr(key) for key in keys], "else": [incr("d/0")]})
    assert (more.status, more.code) == (413, "body_too_large")
    assert client.get("d/0").data == b"1"


def test_a_token_stands_for_one_transaction(url: str, client: SyncClient) -> None:
    body = {"then": [incr("e/1"), incr("e/2")]}
    first, again = (send(url, body, Idempotency_Key="once") for _ in range(2))
    assert first.status == 200
    assert again.body == first.body
    for other in ({"then": [incr("e/1", 2), incr("e/2")]}, {"then": [incr("e/1")]}):
        assert send(url, other, Idempotency_Key="once").code == "token_reused"
    assert send(url, {"then": [incr("e/3")]}, Idempotency_Key="once").status == 200
    assert [client.get(key).data for key in ("e/1", "e/2", "e/3")] == [b"1"] * 3


def test_of_a_hundred_at_once_under_one_token_one_is_carried_out(url: str, client: SyncClient) -> None:
    body = {"then": [incr("f/1"), incr("f/2"), incr("f/3")]}
    with ThreadPoolExecutor(20) as pool:
        answers = list(pool.map(lambda _: send(url, body, Idempotency_Key="crowd"), range(100)))
    counted = Counter(answer.status for answer in answers)
    assert set(counted) <= {200, 409, 503, 504}
    assert len({answer.body for answer in answers if answer.status == 200}) == 1
    assert [client.get(f"f/{number}").data for number in (1, 2, 3)] == [b"1"] * 3


def test_a_token_of_a_mebibyte_is_refused(url: str) -> None:
    answer = send(url, {"then": [incr("g")]}, Idempotency_Key="x" * 1024**2)
    assert (answer.status, answer.code) == (431, "headers_too_large")


async def test_transactions_that_meet_in_opposite_order_end_and_keep_the_sum(url: str) -> None:
    counted: Counter[str] = Counter()

    async def move(client: Client, payer: str, payee: str) -> None:
        for _ in range(125):
            try:
                await client.txn(then=[Incr(payer, -1), Incr(payee, 1)])
                counted["done"] += 1
            except TxnConflict:
                counted["conflicts"] += 1

    async with Client(url, timeout_s=30) as client:
        await client.txn(then=[Put("h/1", b"%d" % TOTAL), Put("h/2", b"%d" % TOTAL)])
        pairs = [("h/1", "h/2"), ("h/2", "h/1")] * 4
        await asyncio.gather(*(move(client, *pair) for pair in pairs))
        first, second = (await client.txn(then=[Get("h/1"), Get("h/2")])).outcomes
    assert isinstance(first, Value)
    assert isinstance(second, Value)
    assert int(first.data) + int(second.data) == 2 * TOTAL
    assert sum(counted.values()) == 1000
    assert counted["done"]


def test_a_client_that_goes_away_leaves_all_of_it_or_nothing_and_no_lock(url: str, client: SyncClient) -> None:
    host, _, port = url.removeprefix("http://").rpartition(":")
    for number in range(30):
        body = json.dumps({"then": [incr(f"i/{number}/{part}") for part in range(4)]}).encode()
        with socket.create_connection((host, int(port))) as leaving:
            leaving.sendall(b"POST /v1/txn HTTP/1.1\r\nHost: t\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    wait_until(lambda: not client.operate("GET", "transactions")["prepared"])
    for number in range(30):
        there = {client.count(prefix=f"i/{number}/")}
        assert there <= {0, 4}
        client.txn(then=[Incr(f"i/{number}/{part}") for part in range(4)])


def test_a_shell_carries_out_a_transaction_and_lists_what_is_prepared(url: str, tmp_path: Path) -> None:
    document = tmp_path / "list"
    document.write_text(
        json.dumps({"if": [{"key": "j", "exists": False}], "then": [incr("j")], "else": [incr("j", 10)]})
    )
    for branch, value in (("then", "1"), ("else", "11")):
        done = kvstore("txn", str(document), KVSTORE_GATEWAY=url)
        answer = json.loads(done.stdout)
        assert (done.returncode, answer["branch"], answer["results"][0]["value"]) == (0, branch, value)
        resolved = kvstore("txn", "resolve", answer["txn"], KVSTORE_GATEWAY=url)
        assert (resolved.returncode, json.loads(resolved.stdout)) == (0, {"state": "committed", "branch": branch})
        forced = kvstore("txn", "resolve", answer["txn"], "--outcome", "abort", KVSTORE_GATEWAY=url)
        assert (forced.returncode, b"has a leader" in forced.stderr) == (1, True)
    assert kvstore("txn", "list", KVSTORE_GATEWAY=url).returncode == 0
    assert kvstore("txn", "resolve", f"1-{'ab' * 16}-1", KVSTORE_GATEWAY=url).returncode == 1


def test_the_bank_of_the_examples_keeps_its_money(start_up: Callable[..., Up]) -> None:
    up = start_up().wait_ready()
    arguments = [sys.executable, "-W", "error", str(EXAMPLE), "--gateway", up.url, "--seconds", "3", "--tasks", "4"]
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "in the end 1600 of 1600" in done.stdout


def test_the_bank_of_the_examples_says_when_money_came(start_up: Callable[..., Up]) -> None:
    up = start_up().wait_ready()
    bank = subprocess.Popen(
        [sys.executable, str(EXAMPLE), "--gateway", up.url, "--tasks", "1", "--accounts", "2"],
        stdout=subprocess.PIPE,
        text=True,
    )
    with bank, SyncClient(up.url) as client:
        assert bank.stdout is not None
        assert bank.stdout.readline().startswith("total 200 ")
        client.put("bank/account/0", b"100000")
        assert bank.wait(60) == 1
