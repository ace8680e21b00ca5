"""Requests on transactions: forms, tokens, refusals before anything is asked, and every failure by its code."""

from __future__ import annotations

import json
from typing import Any

import msgpack
import pytest
from integration.gateway.memory_transactor import KNOWN

from cluster.txn.transaction import TxnOutcome, TxnStanding, TxnState
from kvstore.errors import KvError, Locked, NoLeader, OutcomeUnknown, TokenReused, TxnConflict
from kvstore.messages import OpKind, TxnResult

JSON = {"Content-Type": "application/json"}
MSGPACK = {"Content-Type": "application/msgpack"}
BODY = (
    b'{"if":[{"key":"a","exists":false}],"then":[{"op":"put","key":"a","value":"1"}],"else":[{"op":"get","key":"a"}]}'
)
MIB = 1024**2


async def ask(gateway: Any, body: bytes = BODY, **headers: str) -> Any:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return await gateway.ask("POST", "/v1/txn", body, {**JSON, **given})


async def test_a_transaction_is_answered_with_its_id_branch_and_results(gateway: Any) -> None:
    gateway.transactor.outcome = TxnOutcome(KNOWN, False, [TxnResult(0, 200, "1.1.1", b"\xff", "a/b", 2500)])
    answer = await ask(gateway)
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    result = {"status": 200, "value_b64": "/w==", "etag": "1.1.1", "content_type": "a/b", "ttl": 2.5}
    assert json.loads(answer.body) == {"txn": KNOWN, "branch": "else", "results": [result]}
    (asked,) = gateway.transactor.asked
    assert (asked.keyspace, asked.token, asked.then[0].kind) == ("default", "", OpKind.PUT)


async def test_the_keyspace_and_the_token_are_those_of_the_request(gateway: Any) -> None:
    answer = await gateway.ask("POST", "/v1/keyspaces/other/txn", BODY, {**JSON, "Idempotency-Key": "t 1"})
    assert answer.status == 200
    (asked,) = gateway.transactor.asked
    assert (asked.keyspace, asked.token) == ("other", "t 1")


async def test_the_answer_has_the_form_that_is_accepted_else_that_of_the_body(gateway: Any) -> None:
    packed = msgpack.packb({"then": [{"op": "get", "key": b"a"}]})
    same = await gateway.ask("POST", "/v1/txn", packed, MSGPACK)
    assert msgpack.unpackb(same.body)["txn"] == KNOWN
    other = await gateway.ask("POST", "/v1/txn", packed, {**MSGPACK, "Accept": "application/json"})
    assert json.loads(other.body)["txn"] == KNOWN
    assert other.headers["content-type"] == "application/json"
    no_type = await gateway.ask("POST", "/v1/txn", BODY)
    assert json.loads(no_type.body)["branch"] == "then"


@pytest.mark.parametrize("kind", [TxnConflict, TokenReused, NoLeader, Locked, OutcomeUnknown])
async def test_a_failure_is_told_by_its_code(gateway: Any, kind: type[KvError]) -> None:
    gateway.transactor.failure = kind("because")
    answer = await ask(gateway)
    assert (answer.status, answer.code, answer.detail) == (kind.status, kind.code, "because")
    assert ("retry-after" in answer.headers) == (kind.status == 503)


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "code"),
    [
        ("GET", "/v1/txn", None, {}, 405, "method_not_allowed"),
        ("PUT", "/v1/txn", BODY, JSON, 405, "method_not_allowed"),
        ("POST", "/v1/txn?x=1", BODY, JSON, 400, "bad_parameter"),
        ("POST", "/v1/txn", BODY, {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        ("POST", "/v1/txn", BODY, {**JSON, "Idempotency-Key": "x" * 256}, 400, "bad_request"),
        ("POST", "/v1/txn", b"", JSON, 400, "bad_body"),
        ("POST", "/v1/txn", b"{}", JSON, 400, "bad_body"),
        ("POST", "/v1/txn", b"\x90" * MIB, MSGPACK, 400, "bad_body"),
        ("POST", "/v1/txn", b"\x80" * MIB, MSGPACK, 400, "bad_body"),
        ("POST", "/v1/txn", b"\x81\xa4then\xdd\xff\xff\xff\xff", MSGPACK, 400, "bad_body"),
        ("POST", "/v1/txn", b"\x91" * 100_000, MSGPACK, 400, "bad_body"),
        ("POST", "/v1/txn", b'{"if":[' + b"{}," * MIB + b"{}]}", JSON, 400, "bad_body"),
        ("POST", "/v1/txn", b'{"then":' + b"[" * 100_000, JSON, 400, "bad_body"),
        ("POST", "/v1/txn", b'{"then":[{"op":"get","key":"' + b"k" * 481 + b'"}]}', JSON, 414, "key_too_long"),
        ("POST", "/v1/txn", b"[" + b" " * 4 * MIB + b"]", JSON, 413, "body_too_large"),
        ("POST", f"/v1/txn/{KNOWN}", BODY, JSON, 405, "method_not_allowed"),
        ("GET", f"/v1/txn/{KNOWN}", BODY, JSON, 400, "bad_body"),
        ("GET", f"/v1/txn/{KNOWN}?x=1", None, {}, 400, "bad_parameter"),
        ("GET", "/v1/txn/", None, {}, 400, "bad_parameter"),
        ("GET", "/v1/txn/%zz", None, {}, 400, "bad_parameter"),
        ("GET", f"/v1/txn/{KNOWN}2", None, {}, 404, "not_found"),
        ("GET", "/v1/txn/nonsense", None, {}, 404, "not_found"),
        ("GET", f"/v1/keyspaces/default/txn/{KNOWN}", None, {}, 404, "not_found"),
    ],
)
async def test_what_is_wrong_is_refused_before_anything_is_asked(
    gateway: Any, method: str, path: str, body: bytes | None, headers: dict[str, str], status: int, code: str
) -> None:
    answer = await gateway.ask(method, path, body, headers)
    assert (answer.status, answer.code) == (status, code)
    assert not gateway.transactor.asked


async def test_a_transaction_cut_anywhere_is_refused(gateway: Any) -> None:
    put = {"op": "put", "key": b"a", "value": b"x", "ttl": 1.5, "content_type": "text/plain"}
    whole = msgpack.packb({"if": [{"key": b"a", "etag": "1"}], "then": [put, {"op": "incr", "key": b"n", "by": -1}]})
    client = await gateway.connect()
    for end in range(len(whole)):
        answer = await client.ask("POST", "/v1/txn", whole[:end], MSGPACK)
        assert (answer.status, answer.code) == (400, "bad_body"), end
    assert not gateway.transactor.asked


@pytest.mark.parametrize("state", TxnState)
async def test_where_a_transaction_stands_is_told_with_its_branch(gateway: Any, state: TxnState) -> None:
    gateway.transactor.standings[KNOWN] = TxnStanding(state, state is TxnState.COMMITTED)
    told = {"state": state.value, **({"branch": "then"} if state is TxnState.COMMITTED else {})}
    answer = await gateway.ask("GET", f"/v1/txn/{KNOWN}")
    assert (answer.status, json.loads(answer.body)) == (200, told)
    head = await gateway.ask("HEAD", f"/v1/txn/{KNOWN}")
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-length"] == answer.headers["content-length"]


async def test_requests_on_transactions_are_counted_as_such(gateway: Any) -> None:
    await ask(gateway)
    gateway.transactor.failure = TxnConflict("lost")
    await ask(gateway)
    await gateway.ask("GET", f"/v1/txn/{KNOWN}")
    text = (await gateway.ask("GET", "/metrics")).body.decode()
    for operation, outcome in (("txn_1", "ok"), ("txn", "txn_conflict"), ("txn_state", "ok")):
        labels = f'{{operation="{operation}",outcome="{outcome}"}}'
        assert f"kvstore_gateway_request_seconds_count{labels} 1.0" in text
