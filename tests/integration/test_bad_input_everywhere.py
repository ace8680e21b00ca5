"""Bad values of every parameter, header and field of the contract: each is refused by name, and nothing is changed."""

from __future__ import annotations

import gzip
import itertools
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgpack
import pytest
from bad_input import bodies, values
from bad_input.bodies import JSON, MSGPACK, NDJSON
from bad_input.contract import Operation, operations
from bad_input.served import KEYS, Served
from bad_input.values import Bad
from probe.processes import Answer

OPERATIONS = operations()
EACH = pytest.mark.parametrize("operation", OPERATIONS, ids=lambda one: one.name)
WITH_BODY = pytest.mark.parametrize("operation", [one for one in OPERATIONS if one.fields], ids=lambda one: one.name)
MIB = 1024**2
ENCODED = [
    ("gzip", gzip.compress(bytes(10 * MIB))),
    ("gzip", gzip.compress(b"") * 100_000),
    ("gzip, gzip", gzip.compress(gzip.compress(bytes(10 * MIB)))),
    ("deflate", b"\x78\x9c\x03\x00\x00\x00\x00\x01"),
    ("zstd", b"\x28\xb5\x2f\xfd\x24\x00\x01\x00\x00"),
    ("br", b"\x06"),
    ("identity", b"{}"),
    ("", b"{}"),
]


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    started = Served(tmp_path_factory.mktemp("served") / "data")
    yield started
    started.close()


@pytest.fixture
def unharmed(served: Served) -> Iterator[Served]:
    """The cluster, which must be after the test as it was before."""
    before = served.state()
    yield served
    assert served.state() == before
    assert not before["complaints"]


def target(operation: Operation, query: Mapping[str, str] | str, **path: str) -> str:
    """The request's target; parameters that are not given are valid ones."""
    names = {**values.VALID_PATH, **path}
    where = re.sub(r"\{(\w+)\}", lambda match: names[match[1]], operation.path)
    text = query if isinstance(query, str) else "&".join(f"{name}={value}" for name, value in query.items())
    return f"{where}?{text}" if text else where


def base_name(operation: Operation) -> str:
    """The operation of which this is the twin in a keyspace by name."""
    return operation.name.removesuffix("In")


def valid_body(operation: Operation) -> tuple[bytes | None, dict[str, str]]:
    if base_name(operation) == "putKey":
        return b"x", {}
    if not operation.fields:
        return None, {}
    media_type = next(iter(operation.fields))
    body = bodies.VALID[base_name(operation), media_type][0]
    return bodies.encoded(body, media_type), {"Content-Type": media_type}


def wrong(answer: Answer, bad: Bad, name: str, sent: object) -> list[str]:
    """What is wrong with the refusal, if anything."""
    says = name if bad.says is None else bad.says
    problem = problem_of(answer)
    # The answer to a HEAD has no body that says more.
    says_so = not answer.body or (problem.get("code") == bad.code and plain(says) in plain(problem["detail"]))
    if problem["status"] == bad.status and "x-request-id" in answer.headers and says_so:
        return []
    return [f"{str(sent)[:200]} -> {answer.status} {answer.body[:300]!r}; expected {bad.status} {bad.code}"]


def problem_of(answer: Answer) -> dict[str, Any]:
    """What an answer says is wrong, and in the answer to a batch the only operation of it."""
    if not answer.body:
        return {"status": answer.status}
    is_packed = answer.headers["content-type"] == MSGPACK
    found: dict[str, Any] = msgpack.unpackb(answer.body) if is_packed else json.loads(answer.body)
    results = found.get("results", ())
    return results[0] if len(results) == 1 else {"status": answer.status, **found}


def plain(text: str) -> str:
    return re.sub(r"[^a-z0-9']", "", text.lower())


def query_around(operation: Operation, name: str) -> dict[str, str]:
    context = {**values.BESIDE_IN.get(base_name(operation), {}), **values.BESIDE.get(name, {})}
    allowed = {parameter.name for parameter in operation.of("query")}
    return {one: value for one, value in context.items() if one != name and one in allowed}


def bad_queries(operation: Operation) -> Iterator[tuple[str, Bad, str]]:
    """A parameter's name, what is wrong, and the query with it."""
    for parameter in operation.of("query"):
        around = query_around(operation, parameter.name)
        for bad in values.QUERY[parameter.name, parameter.kind]:
            yield parameter.name, bad, "&".join(f"{n}={v}" for n, v in {**around, parameter.name: bad.text}.items())
        valid = f"{parameter.name}={values.VALID[parameter.name, parameter.kind]}"
        yield parameter.name, Bad(""), f"{valid}&{valid}"
        yield parameter.name, Bad("", says=parameter.name.upper()), f"{valid.upper()}"
    for unknown in ("unknown=1", "unknown", "=", "&", "%75nknown=1"):
        yield "", Bad("", says=None if "nknown" not in unknown else "unknown"), unknown


@EACH
def test_every_parameter_of_a_query_is_refused_by_name(unharmed: Served, operation: Operation) -> None:
    body, headers = valid_body(operation)
    found = []
    for name, bad, query in bad_queries(operation):
        answer = unharmed.send(operation.method, target(operation, query), body, headers)
        found += wrong(answer, bad, name, query)
    assert not found, "\n".join(found)


@EACH
def test_every_part_of_a_path_is_refused_by_name(unharmed: Served, operation: Operation) -> None:
    body, headers = valid_body(operation)
    found = []
    for parameter in operation.of("path"):
        table = values.PATH | values.PATH_IN.get(operation.name, {})
        for bad in table[parameter.name]:
            where = target(operation, query_around(operation, ""), **{parameter.name: bad.text})
            answer = unharmed.send(operation.method, where, body, headers)
            found += wrong(answer, bad, parameter.name, where)
    assert not found, "\n".join(found)


@EACH
def test_every_header_is_refused_by_name(unharmed: Served, operation: Operation) -> None:
    body, headers = valid_body(operation)
    table = values.HEADERS if operation.method in ("GET", "HEAD") else values.WRITE_HEADERS
    found = []
    for parameter in operation.of("header"):
        for bad in table[parameter.name]:
            given = {**headers, parameter.name: bad.text}
            answer = unharmed.send(operation.method, target(operation, {}, key="kept/1"), body, given)
            found += wrong(answer, bad, parameter.name, given)
        given = {**headers, parameter.name: "x" * MIB}
        answer = unharmed.send(operation.method, target(operation, {}), body, given)
        too_large = Bad("", 431, "headers_too_large", "")
        found += wrong(answer, too_large, "", parameter.name)
    assert not found, "\n".join(found)


@WITH_BODY
def test_every_field_of_a_body_is_refused_by_name(unharmed: Served, operation: Operation) -> None:
    found = []
    for media_type, declared in operation.fields.items():
        tried = set()
        for valid in bodies.VALID[base_name(operation), media_type]:
            tried |= set(bodies.paths(valid))
        assert tried == declared
        for name, value, body in bodies.bad_bodies(base_name(operation), media_type):
            answer = unharmed.send(operation.method, target(operation, {}), body, {"Content-Type": media_type})
            if not is_refused(answer, name, is_malformed=media_type != MSGPACK and is_no_json(value)):
                found.append(f"{name} = {str(value)[:80]!r} in {media_type} -> {answer.status} {answer.body[:300]!r}")
    assert not found, "\n".join(found)


def is_refused(answer: Answer, name: str, *, is_malformed: bool) -> bool:
    """Whether the body, or the one operation in it, was refused with a detail that names the field."""
    problem = problem_of(answer)
    if not 400 <= problem["status"] < 500 or not problem["code"].startswith(("bad_", "key_")):
        return False
    detail = plain(problem["detail"])
    # MessagePack refuses an array, or one field more than there are, before it has a name.
    is_unnamed = (is_malformed and "malformed" in detail) or "exceedsmax" in detail
    return is_unnamed or plain(name.removesuffix("_b64")) in detail


def is_no_json(value: Any) -> bool:
    return isinstance(value, float) and (value != value or value in (bodies.INFINITY, -bodies.INFINITY))


@WITH_BODY
def test_what_is_no_body_is_refused(unharmed: Served, operation: Operation) -> None:
    found = []
    for media_type, body in itertools.product(operation.fields, bodies.NO_BODIES):
        answer = unharmed.send(operation.method, target(operation, {}), body, {"Content-Type": media_type})
        found += wrong(answer, Bad("", code="bad_body", says=""), "", (media_type, body))
    for media_type in {"text/plain", "application/xml", "a", "multipart/form-data", JSON, NDJSON, MSGPACK} - set(
        operation.fields
    ):
        answer = unharmed.send(operation.method, target(operation, {}), b"{}", {"Content-Type": media_type})
        found += wrong(answer, Bad("", 415, "unsupported_media_type", ""), "", media_type)
    assert not found, "\n".join(found)


@EACH
def test_a_body_where_none_is_taken_is_refused(unharmed: Served, operation: Operation) -> None:
    if operation.fields or base_name(operation) == "putKey":
        return
    answer = unharmed.send(operation.method, target(operation, query_around(operation, ""), key="kept/1"), b"{}")
    assert not wrong(answer, Bad("", code="bad_body", says="body"), "", operation.name)


@EACH
def test_an_encoded_body_is_refused_undecoded(unharmed: Served, operation: Operation) -> None:
    _, headers = valid_body(operation)
    found = []
    for coding, body in ENCODED:
        where = target(operation, query_around(operation, ""), key="kept/1")
        answer = unharmed.send(operation.method, where, body, {**headers, "Content-Encoding": coding})
        bad = Bad("", 415, "unsupported_encoding", "Content-Encoding")
        found += wrong(answer, bad, "", (coding, len(body)))
    assert not found, "\n".join(found)


def test_a_cursor_is_taken_whole_and_for_its_own_scan_only(unharmed: Served) -> None:
    page = unharmed.document("/v1/kv?limit=5&prefix=kept/")
    cursor = page["cursor"]
    assert len(unharmed.document(f"/v1/kv?cursor={cursor}&limit=1000")["items"]) == KEYS - 5
    altered = [cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :] for at in range(len(cursor))]
    queries = [f"cursor={one}" for one in (*altered, *(cursor[:end] for end in range(len(cursor))), f"{cursor}A")]
    queries += [f"cursor={cursor}&{other}" for other in ("prefix=kept", "start=kept/", "end=l", "reverse=true")]
    found = []
    for query in queries:
        answer = unharmed.send("GET", f"/v1/kv?{query}")
        found += wrong(answer, Bad("", code="bad_cursor"), "cursor", query)
    assert not found, "\n".join(found)


def test_what_does_not_go_together_is_refused_by_name(unharmed: Served) -> None:
    queries = [("limit", "count=true&limit=1"), ("reverse", "count=true&reverse=true")]
    queries += [("keys_only", "keys_only=true&count=true"), ("cursor", "count=true&cursor=AAAA")]
    found = []
    for name, query in queries:
        found += wrong(unharmed.send("GET", f"/v1/kv?{query}"), Bad(""), name, query)
    for name, query in (("confirm", "prefix=k"), ("prefix", "confirm=true"), ("start", "start=b&end=a&confirm=true")):
        found += wrong(unharmed.send("DELETE", f"/v1/kv?{query}"), Bad(""), name, query)
    for consistency in ("", "consistency=strong&", "consistency=quorum&"):
        answer = unharmed.send("GET", f"/v1/kv/kept/1?{consistency}max_stale=1")
        found += wrong(answer, Bad(""), "max_stale", consistency)
    assert not found, "\n".join(found)


def test_the_tables_have_every_parameter_and_no_other() -> None:
    declared = {(place.name, place.kind) for one in OPERATIONS for place in one.of("query")}
    assert declared == set(values.QUERY) == set(values.VALID)
    assert {place.name for one in OPERATIONS for place in one.of("header")} == set(values.HEADERS)
    assert {place.name for one in OPERATIONS for place in one.of("path")} == set(values.PATH)
    assert {place.place for one in OPERATIONS for place in one.parameters} == {"query", "header", "path"}
    declared_bodies = {(base_name(one), media_type) for one in OPERATIONS for media_type in one.fields}
    assert declared_bodies == set(bodies.VALID)
