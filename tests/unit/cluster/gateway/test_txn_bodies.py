"""Transactions decode to the same from both forms, whole or not at all, and their outcomes come back byte for byte."""

from __future__ import annotations

import base64
import json
from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.body_forms import Format
from cluster.gateway.txn_bodies import (
    INCREMENTS,
    OPERATIONS_MAX,
    decode_txn,
    encode_outcome,
    encode_standing,
)
from cluster.txn.transaction import Transaction, TxnOutcome, TxnStanding, TxnState
from kvstore.errors import BadBody, BadKey, BadRequest, BodyTooLarge, KeyTooLong, KvError, ValueTooLarge
from kvstore.messages import OpKind, TxnIf, TxnOp, TxnResult

VALUE_BYTES_MAX = 100
KEYS = st.binary(min_size=1, max_size=40)
GET = {"op": "get", "key": "a"}


def decoded(body: dict[str, Any], token: str = "") -> Transaction:
    return decode_txn(json.dumps(body).encode(), Format.JSON, "default", token, VALUE_BYTES_MAX)


def packed(body: dict[str, Any]) -> Transaction:
    return decode_txn(msgpack.packb(body), Format.MSGPACK, "default", "", VALUE_BYTES_MAX)


@given(key=KEYS, value=st.binary(max_size=40), ttl=st.none() | st.floats(0.001, 1000), by=st.integers(-99, 99))
def test_both_forms_say_the_same(key: bytes, value: bytes, ttl: float | None, by: int) -> None:
    extra = {} if ttl is None else {"ttl": ttl}
    as_bytes = {"key": key, "value": value}
    as_text = {f"{name}_b64": base64.b64encode(data).decode() for name, data in as_bytes.items()}
    key_text = {"key_b64": as_text["key_b64"]}
    from_json = decoded(
        {
            "if": [as_text, {**key_text, "exists": True}],
            "then": [{"op": "put", **as_text, **extra}, {"op": "incr", **key_text, "by": by}],
            "else": [{"op": "get", **key_text}, {"op": "delete", **key_text}],
        }
    )
    assert from_json == packed(
        {
            "if": [as_bytes, {"key": key, "exists": True}],
            "then": [{"op": "put", **as_bytes, **extra}, {"op": "incr", "key": key, "by": by}],
            "else": [{"op": "get", "key": key}, {"op": "delete", "key": key}],
        }
    )
    assert from_json.conditions == (TxnIf(key, value=value), TxnIf(key, exists=True))
    assert from_json.then[1] == TxnOp(1, OpKind.INCR, key, by=by)
    assert [op.kind for op in from_json.otherwise] == [OpKind.GET, OpKind.DELETE]


def test_an_operation_has_its_place_in_its_branch_and_defaults() -> None:
    txn = decoded(
        {
            "then": [{"op": "incr", "key": "a"}, {"op": "put", "key": "a", "value": "x", "ttl": 1.5}],
            "else": [GET, {"op": "put", "key": "é", "value": "", "content_type": "text/plain"}],
        },
        token="t",
    )
    put = TxnOp(1, OpKind.PUT, b"a", b"x", "application/octet-stream", 1500)
    assert txn.then == (TxnOp(0, OpKind.INCR, b"a", by=1), put)
    assert txn.otherwise == (TxnOp(0, OpKind.GET, b"a"), TxnOp(1, OpKind.PUT, "é".encode(), b"", "text/plain"))
    assert (txn.keyspace, txn.conditions, txn.token) == ("default", (), "t")


@pytest.mark.parametrize("body", [{"if": [{"key": "a", "exists": False}]}, {"then": [GET]}, {"else": [GET]}])
def test_each_list_may_stand_alone(body: dict[str, Any]) -> None:
    txn = decoded(body)
    assert len(txn.conditions) + len(txn.then) + len(txn.otherwise) == 1


@pytest.mark.parametrize("by", [INCREMENTS[0], INCREMENTS[-1], 0, 5.0, -(2.0**53)])
def test_an_increment_is_any_number_of_64_bits_with_a_sign(by: int | float) -> None:
    assert decoded({"then": [{"op": "incr", "key": "a", "by": by}]}).then[0].by == by


PUT = {"op": "put", "key": "a", "value": "x"}
REFUSED: list[tuple[dict[str, Any], type[KvError], str]] = [
    ({}, BadBody, "at least one key"),
    ({"if": [], "then": [], "else": []}, BadBody, "at least one key"),
    ({"when": []}, BadBody, "unknown field `when`"),
    ({"if": [{"exists": True}]}, BadBody, "needs one of key and key_b64 - at `$.if[0]`"),
    ({"if": [{"key": "a"}]}, BadBody, "if[0]: a condition has exactly one of etag, exists and value"),
    ({"if": [{"key": "a", "etag": "1", "exists": True}]}, BadBody, "if[0]: a condition has exactly one"),
    ({"if": [{"key": "a", "etag": "1", "value_b64": ""}]}, BadBody, "if[0]: a condition has exactly one"),
    ({"if": [{"key": "a", "value": "1", "value_b64": ""}]}, BadBody, "if[0]: has both value and value_b64"),
    ({"if": [{"key": "a", "key_b64": "YQ==", "exists": True}]}, BadBody, "if[0]: has both key and key_b64"),
    *(({"if": [{"key": "a", "etag": tag}]}, BadBody, "if[0]: etag") for tag in ("", "*", '"1"', "x" * 256)),
    ({"if": [{"key": "a", "exists": None}]}, BadBody, "exists"),
    ({"if": [{"key": "", "exists": True}]}, BadKey, "if[0]: "),
    ({"then": [GET, GET, GET, {"op": "get", "key": ""}]}, BadKey, "then[3]: "),
    ({"then": [GET, {"op": "get", "key": "k" * 481}]}, KeyTooLong, "then[1]: "),
    ({"else": [{"op": "get", "key_b64": "*"}]}, BadBody, "else[0]: key_b64"),
    ({"else": [{"op": "get"}]}, BadBody, "else[0]: needs one of key"),
    ({"then": [{"op": "drop", "key": "a"}]}, BadBody, "$.then[0].op"),
    ({"then": [{"op": "put", "key": "a"}]}, BadBody, "then[0]: needs one of value"),
    ({"then": [{**GET, "value": "x"}]}, BadBody, "then[0]: get takes no value"),
    ({"then": [{**GET, "ttl": 1}]}, BadBody, "then[0]: get takes no value, ttl"),
    ({"then": [{**GET, "by": 1}]}, BadBody, "then[0]: get takes no by"),
    ({"then": [{**PUT, "by": 1}]}, BadBody, "then[0]: put takes no by"),
    ({"then": [{**PUT, "ttl": 0}]}, BadBody, "then[0]: ttl"),
    ({"then": [{**PUT, "content_type": "x"}]}, BadRequest, "then[0]: Content-Type"),
    ({"then": [{**PUT, "value": "x" * (VALUE_BYTES_MAX + 1)}]}, ValueTooLarge, "then[0]: "),
    ({"then": [{**PUT, "if_match": "*"}]}, BadBody, "unknown field `if_match`"),
    ({"then": [{"op": "delete", "key": "a", "if_none_match": "*"}]}, BadBody, "unknown field `if_none_match`"),
    *(
        ({"then": [{"op": "incr", "key": "a", "by": by}]}, BadBody, "by")
        for by in (1.5, 1e300, 2.0**54, 1 << 63, -(1 << 63) - 1, True, None, "1", float("nan"))
    ),
]


@pytest.mark.parametrize(("body", "kind", "says"), REFUSED)
def test_what_is_wrong_anywhere_refuses_the_whole_and_is_named(
    body: dict[str, Any], kind: type[KvError], says: str
) -> None:
    with pytest.raises(kind) as refused:
        decoded(body)
    assert type(refused.value) is kind
    # What is no number of JSON is refused without its name.
    assert says in refused.value.detail or "malformed" in refused.value.detail


def test_a_doubled_field_of_messagepack_is_refused() -> None:
    twice = b"\x82\xa4then\x91\x82\xa2op\xa3get\xa3key\xc4\x01a\xa4then\x90"
    with pytest.raises(BadBody, match="twice"):
        decode_txn(twice, Format.MSGPACK, "default", "", VALUE_BYTES_MAX)


@pytest.mark.parametrize("by", [1.5, float("nan"), float("inf"), (1 << 63), -0.5, float(1 << 54), -float(1 << 63)])
def test_an_increment_that_is_none_is_refused_in_messagepack(by: float) -> None:
    with pytest.raises(BadBody, match="by"):
        packed({"then": [{"op": "incr", "key": b"a", "by": by}]})


@pytest.mark.parametrize("name", ["if", "then", "else"])
def test_conditions_and_operations_are_counted_together(name: str) -> None:
    one: dict[str, Any] = {"key": "a", "exists": True} if name == "if" else GET
    most = OPERATIONS_MAX - 2
    body: dict[str, Any] = {"if": [{"key": "a", "exists": True}], "then": [GET], "else": []}
    body[name] = [*body[name], *([one] * most)]
    txn = decoded(body)
    assert len(txn.conditions) + len(txn.then) + len(txn.otherwise) == OPERATIONS_MAX
    body[name].append(one)
    with pytest.raises(BodyTooLarge):
        decoded(body)
    with pytest.raises(BodyTooLarge):
        decode_txn(
            msgpack.packb({"then": [{"op": "get", "key": b"a"}] * (OPERATIONS_MAX + 1)}), Format.MSGPACK, "k", "", 1
        )


def test_very_many_operations_are_refused_before_they_are_decoded() -> None:
    broken = b'{"then":[' + b'{"op":"get","key":"a"},' * 1000 + b"and no end"
    with pytest.raises(BodyTooLarge):
        decode_txn(broken, Format.JSON, "default", "", VALUE_BYTES_MAX)
    broken = b"\x82\xa2if\x91\x81\xa3key\xc4\x01a\xa4then\xdc" + OPERATIONS_MAX.to_bytes(2, "big") + b"\xc1" * 200
    with pytest.raises(BodyTooLarge):
        decode_txn(broken, Format.MSGPACK, "default", "", VALUE_BYTES_MAX)


@given(value=st.binary(max_size=40))
def test_results_come_back_byte_for_byte(value: bytes) -> None:
    results = [
        TxnResult(0, 200, "1.1.1", value, "text/plain", 2500),
        TxnResult(1, 201, "1.1.2"),
        TxnResult(2, 204, "1.1.3"),
        TxnResult(3, 204),
        TxnResult(4, 404),
        TxnResult(5, 200, "1.1.4", b"7"),
    ]
    answer = json.loads(encode_outcome(TxnOutcome("1-ab-1", False, results), Format.JSON))
    assert (answer["txn"], answer["branch"]) == ("1-ab-1", "else")
    got, created, replaced, deleted, missing, counted = answer["results"]
    text = got.get("value")
    assert (text.encode() if text is not None else base64.b64decode(got["value_b64"])) == value
    assert {name: got[name] for name in ("status", "etag", "content_type", "ttl")} == {
        "status": 200,
        "etag": "1.1.1",
        "content_type": "text/plain",
        "ttl": 2.5,
    }
    assert [created, replaced, deleted] == [
        {"status": 201, "etag": "1.1.2"},
        {"status": 204, "etag": "1.1.3"},
        {"status": 204},
    ]
    assert (missing["status"], missing["code"]) == (404, "key_not_found")
    assert counted == {"status": 200, "value": "7", "etag": "1.1.4"}
    in_bytes = msgpack.unpackb(encode_outcome(TxnOutcome("1-ab-1", True, results), Format.MSGPACK))
    assert (in_bytes["branch"], in_bytes["results"][0]["value"]) == ("then", value)


def test_only_a_committed_transaction_has_a_branch() -> None:
    told = [json.loads(encode_standing(TxnStanding(state, True))) for state in TxnState]
    assert told == [{"state": "committed", "branch": "then"}, {"state": "aborted"}, {"state": "pending"}]
    assert json.loads(encode_standing(TxnStanding(TxnState.COMMITTED)))["branch"] == "else"
