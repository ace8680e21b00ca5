"""Writes that are sent again: by the gateway itself, or by a client under its token."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from kvstore.messages import Fault, MapUpdate

KEY = {"Idempotency-Key": "token"}


def leader_of(gateway: Any, key: bytes = b"a") -> Any:
    return gateway.nodes[gateway.router.route("default", key).pid % 2]


async def lose_answers(gateway: Any, task: asyncio.Task[Any]) -> None:
    """The first attempt is carried out and its answer lost; from then on all is well."""
    node = leader_of(gateway)
    await gateway.until(lambda: node.writes == 1)
    node.cuts_after_writes = False
    await task


# ---- what the gateway does by itself ------------------------------------------------------------------------------


@pytest.mark.parametrize(("method", "status"), [("PUT", 201), ("DELETE", 204)])
async def test_a_write_whose_answer_is_lost_gets_its_stored_outcome(gateway: Any, method: str, status: int) -> None:
    node = leader_of(gateway)
    node.cuts_after_writes = True
    asked = asyncio.create_task(gateway.ask(method, "/v1/kv/a", b"x" if method == "PUT" else None))
    await lose_answers(gateway, asked)
    assert asked.result().status == status
    assert len(node.outcomes) == 1
    first, *again = node.asked
    assert not first.again
    assert again
    assert all((one.origin, one.number, one.again) == (first.origin, first.number, True) for one in again)


async def test_a_stored_failure_of_the_condition_is_told(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"x")
    node = leader_of(gateway)
    node.writes = 0
    node.cuts_after_writes = True
    asked = asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"y", {"If-None-Match": "*"}))
    await lose_answers(gateway, asked)
    assert asked.result().code == "precondition_failed"


@pytest.mark.parametrize("code", ["no_leader", "not_enough_copies", "overloaded", "stale_token", "storage_full"])
async def test_a_refusal_after_an_unknown_attempt_leaves_it_unknown(start_gateway: Any, code: str) -> None:
    gateway = await start_gateway(request_timeout_s=0.5)
    node = leader_of(gateway)
    node.cuts_after_writes = True
    asked = asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"x"))
    await gateway.until(lambda: node.writes == 1)
    node.cuts_after_writes = False
    node.fault = Fault(code, "so it is")
    assert (await asked).code == "outcome_unknown"
    assert node.writes > 1


async def test_an_unknown_write_is_sent_to_the_next_leader(gateway: Any) -> None:
    pid = gateway.router.route("default", b"a").pid
    old, new = gateway.nodes[pid % 2], gateway.nodes[1 - pid % 2]
    old.fault = Fault("outcome_unknown", "leadership ended")
    asked = asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"x"))
    await gateway.until(lambda: old.writes > 1)
    new.entries[pid] = gateway.entry(pid, 2, new)
    gateway.dispatcher.take(MapUpdate(2, [], [new.entries[pid]]))
    assert (await asked).status == 201
    assert new.asked[0].again
    assert new.asked[0].number == old.asked[0].number


async def test_the_floor_is_the_lowest_number_that_is_still_open(gateway: Any) -> None:
    node = leader_of(gateway)
    for _ in range(3):
        await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert [(one.number, one.floor) for one in node.asked] == [(1, 1), (2, 2), (3, 3)]
    node.hold = asyncio.Event()
    waiting = asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"x"))
    await gateway.until(lambda: node.writes == 4)
    hold, node.hold = node.hold, None
    await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert (node.asked[-1].number, node.asked[-1].floor) == (5, 4)
    hold.set()
    await waiting
    await gateway.ask("PUT", "/v1/kv/a", b"x")
    assert (node.asked[-1].number, node.asked[-1].floor) == (6, 6)


async def test_a_gateway_that_was_forgotten_goes_on_under_a_new_incarnation(gateway: Any) -> None:
    node = leader_of(gateway)
    node.forgets_up_to = 1
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x")).status == 201
    assert node.asked[-1].origin == gateway.incarnation == 2
    assert len(node.outcomes) == 1


async def test_a_write_that_is_abandoned_does_not_hold_the_floor(gateway: Any) -> None:
    node = leader_of(gateway)
    node.hold = asyncio.Event()
    client = await gateway.connect()
    client.send(b"PUT /v1/kv/a HTTP/1.1\r\nHost: t\r\nContent-Length: 1\r\n\r\nx")
    await gateway.until(lambda: node.writes == 1)
    await client.close()
    node.hold.set()
    node.hold = None
    async with asyncio.timeout(10):
        while True:
            await gateway.ask("PUT", "/v1/kv/a", b"x")
            if node.asked[-1].floor == node.asked[-1].number:
                break


# ---- a client's token ---------------------------------------------------------------------------------------------


async def test_a_token_goes_to_the_node_as_scope_and_fingerprint(gateway: Any) -> None:
    node = leader_of(gateway)
    first = await gateway.ask("PUT", "/v1/kv/a", b"x", KEY)
    again = await gateway.ask("PUT", "/v1/kv/a", b"x", KEY)
    assert (first.status, first.headers["etag"]) == (again.status, again.headers["etag"])
    one, other = node.asked
    assert one.token == other.token
    assert len(one.token) == 32
    assert one.origin == 0


@pytest.mark.parametrize(
    ("method", "path", "headers"),
    [
        ("PUT", "/v1/kv/a", {"Content-Type": "text/plain"}),
        ("PUT", "/v1/kv/a?ttl=5", {}),
        ("PUT", "/v1/kv/a", {"If-None-Match": "*"}),
        ("PUT", "/v1/kv/a", {"If-Match": '"1"'}),
    ],
)
async def test_another_request_has_another_fingerprint_in_the_same_scope(
    gateway: Any, method: str, path: str, headers: dict[str, str]
) -> None:
    node = leader_of(gateway)
    await gateway.ask("PUT", "/v1/kv/a", b"x", KEY)
    await gateway.ask(method, path, b"x", KEY | headers)
    await gateway.ask("PUT", "/v1/kv/a", b"y", KEY)
    scopes = {one.token[:16] for one in node.asked}
    fingerprints = {one.token[16:] for one in node.asked}
    assert (len(scopes), len(fingerprints)) == (1, 3)


async def test_method_key_and_place_in_a_batch_are_part_of_the_scope(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"x", KEY)
    await gateway.ask("PUT", "/v1/kv/b", b"x", KEY)
    await gateway.ask("DELETE", "/v1/kv/a", None, KEY)
    await gateway.ask("PUT", "/v1/kv/a", b"x", {"Idempotency-Key": "another"})
    ops = {"ops": [{"op": "put", "key": "a", "value": "x"}, {"op": "get", "key": "a"}, {"op": "delete", "key": "a"}]}
    await gateway.ask("POST", "/v1/batch", json.dumps(ops).encode(), KEY)
    asked = [one for node in gateway.nodes for one in node.asked]
    assert len({one.token[:16] for one in asked}) == len(asked) == 6


async def test_a_token_that_stands_for_another_request_is_unprocessable(gateway: Any) -> None:
    leader_of(gateway).fault = Fault("token_reused", "it does")
    answer = await gateway.ask("PUT", "/v1/kv/a", b"x", KEY)
    assert (answer.status, answer.code) == (422, "token_reused")


async def test_a_tokened_write_whose_answer_is_lost_is_sent_again_under_its_token(gateway: Any) -> None:
    node = leader_of(gateway)
    node.cuts_after_writes = True
    asked = asyncio.create_task(gateway.ask("PUT", "/v1/kv/a", b"x", KEY))
    await lose_answers(gateway, asked)
    assert asked.result().status == 201
    assert len(node.outcomes) == 1


@pytest.mark.parametrize("given", ["", "x" * 256, "t\xf6ken", "a\tb"])
@pytest.mark.parametrize(("method", "path"), [("PUT", "/v1/kv/a"), ("DELETE", "/v1/kv/a"), ("POST", "/v1/batch")])
async def test_what_is_no_token_is_refused_by_name(gateway: Any, method: str, path: str, given: str) -> None:
    answer = await gateway.ask(method, path, None if method == "DELETE" else b"{}", {"Idempotency-Key": given})
    assert (answer.status, answer.code) == (400, "bad_request")
    assert "Idempotency-Key" in answer.detail
    assert gateway.writes == 0


async def test_a_token_is_given_once(gateway: Any) -> None:
    request = b"DELETE /v1/kv/a HTTP/1.1\r\nHost: t\r\nIdempotency-Key: a\r\nIdempotency-Key: b\r\n\r\n"
    assert (await gateway.raw(request)).status == 400


async def test_a_token_of_a_mebibyte_is_refused(gateway: Any) -> None:
    answer = await gateway.raw(b"DELETE /v1/kv/a HTTP/1.1\r\nHost: t\r\nIdempotency-Key: " + b"x" * 2**20 + b"\r\n\r\n")
    assert answer.status in (400, 431)


async def test_an_import_takes_no_token(gateway: Any) -> None:
    answer = await gateway.ask("POST", "/v1/import", b"", KEY)
    assert (answer.status, answer.code) == (400, "bad_request")


async def test_the_longest_token_is_taken(gateway: Any) -> None:
    assert (await gateway.ask("PUT", "/v1/kv/a", b"x", {"Idempotency-Key": "~" * 255})).status == 201
