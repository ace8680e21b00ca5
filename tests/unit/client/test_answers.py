"""What answers mean: errors by code, and no guess about a write."""

import json

import msgpack
import pytest

from kvstore.client.answers import Deleted, Unreachable, Value, Written, outcomes_of, readiness_of, refusal, value_of
from kvstore.client.ops import Delete, Get, Put, encode_batch
from kvstore.errors import BadKey, KeyNotFound, NoLeader, OutcomeUnknown


def problem(code: str, status: int) -> bytes:
    return json.dumps({"type": "about:blank", "status": status, "code": code, "detail": "because"}).encode()


def test_a_problem_document_becomes_the_error_of_its_code() -> None:
    error = refusal(503, problem("no_leader", 503), is_write=True)
    assert isinstance(error, NoLeader)
    assert error.detail == "because"


@pytest.mark.parametrize("body", [b"", b"<html>Bad Gateway</html>", b"[]", b"{}", b'{"code":"of_another"}'])
def test_a_write_refused_without_a_known_reason_has_an_unknown_outcome(body: bytes) -> None:
    assert isinstance(refusal(503, body, is_write=True), OutcomeUnknown)
    assert isinstance(refusal(503, body, is_write=False), Unreachable)


def test_a_write_that_met_an_internal_error_has_an_unknown_outcome() -> None:
    assert isinstance(refusal(500, problem("internal", 500), is_write=True), OutcomeUnknown)


def test_a_client_error_of_a_stranger_is_neither_retried_nor_unknown() -> None:
    error = refusal(404, b"nginx", is_write=True)
    assert error.definite
    assert error.status not in {429, 503}


def test_a_value_keeps_what_it_was_put_with() -> None:
    headers = {"ETag": '"1.2.3"', "Content-Type": "text/plain", "X-KV-TTL": "4.5"}
    assert value_of(headers, b"x") == Value(b"x", "1.2.3", "text/plain", 4.5)


def test_readiness_has_its_reason() -> None:
    assert readiness_of(200, b"").ready
    assert readiness_of(503, problem("no_leader", 503)).reason == "because"


def test_each_operation_of_a_batch_has_its_own_outcome() -> None:
    results = [
        {"status": 200, "value": b"v", "etag": "1.1.1", "content_type": "a/b", "ttl": 2.0},
        {"status": 201, "etag": "1.1.2"},
        {"status": 204, "etag": "1.1.3"},
        {"status": 204},
        {"status": 404, "code": "key_not_found"},
        {"status": 504, "code": "outcome_unknown", "detail": "lost"},
    ]
    ops = [Get("a"), Put("b", b""), Put("c", b""), Delete("d"), Get("e"), Put("f", b"")]
    outcomes = outcomes_of(ops, msgpack.packb({"results": results}))
    assert outcomes[:4] == [
        Value(b"v", "1.1.1", "a/b", 2.0),
        Written(True, "1.1.2"),
        Written(False, "1.1.3"),
        Deleted(),
    ]
    assert isinstance(outcomes[4], KeyNotFound)
    assert isinstance(outcomes[5], OutcomeUnknown)


@pytest.mark.parametrize(
    "body",
    [b"", b"\xc1", b"{}", msgpack.packb({"results": []}), msgpack.packb({"results": [1]}), msgpack.packb([1])],
)
def test_a_batch_answer_that_cannot_be_read_leaves_the_outcome_open(body: bytes) -> None:
    with pytest.raises(OutcomeUnknown):
        outcomes_of([Put("a", b"")], body)


def test_a_batch_carries_bytes_as_bytes_and_leaves_out_what_was_not_given() -> None:
    body = encode_batch([Put(b"\xff", b"\x00", ttl_s=2.0, if_none_match="*"), Delete("d", if_match="1.1.1"), Get("g")])
    assert msgpack.unpackb(body, raw=False) == {
        "ops": [
            {"op": "put", "key": b"\xff", "value": b"\x00", "ttl": 2.0, "if_none_match": "*"},
            {"op": "delete", "key": b"d", "if_match": "1.1.1"},
            {"op": "get", "key": b"g"},
        ]
    }


def test_a_batch_with_a_bad_key_is_refused_before_it_is_sent() -> None:
    with pytest.raises(BadKey):
        encode_batch([Get("")])
