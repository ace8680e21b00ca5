"""Valid bodies that together have every field, and bad values of every field.

Guarantees: `bad_bodies` gives each valid body with each field in turn replaced; `test_bad_input_everywhere` fails where
the contract has a field that stands in none of them. Leaves to others: sending them.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from typing import Any

import msgpack

JSON, MSGPACK, NDJSON = "application/json", "application/msgpack", "application/x-ndjson"

NOT_TEXT = (None, True, 1, 1.5, [], {}, ["a"])
NOT_A_LIST = (None, True, 1, "a", {}, 1.5)
NO_NAME = (*NOT_TEXT, "", " ", "a b", "a/b", "ключ", "٣", "a\u0000", "x" * 65)
NO_NUMBER = (None, True, "1", "NaN", "", "٣", [], {}, [1])
NO_BASE64 = (*NOT_TEXT, "*", "a", "YQ", "YQ=", "Y Q==", "YQ==YQ==", "٣٣٣٣", "_-8=")
NO_TTL = (*NO_NUMBER, -1, 0, 0.0, 1e9, 2**63, 2**64, 1e300, -0.5)

# A value that Python's JSON writes as no other JSON can be: a number that is none.
NAN, INFINITY = float("nan"), float("inf")

BAD: dict[str, tuple[Any, ...]] = {
    "ops": (*NOT_A_LIST, [1], [None], [[]], [{}], ["get"]),
    "op": (*NOT_TEXT, "", "GET", "drop", "get ", "٣"),
    "key": (*NOT_TEXT, "", "x" * 481, "x" * 512, "ключ" * 100),
    "key_b64": (*NO_BASE64, "", "eHh4" * 161),
    "value": NOT_TEXT,
    "value_b64": NO_BASE64,
    "ttl": (*NO_TTL, NAN, INFINITY),
    "content_type": (*NOT_TEXT, "a", "a\nb/c", "text/plain ", "té/xt", "a/" + "b" * 300, "٣"),
    "if_match": (*NOT_TEXT, "", '"a"', "x" * 256),
    "if_none_match": (*NOT_TEXT, "", "a", '"*"', "* "),
    "etag": NOT_TEXT,
    "if": (*NOT_A_LIST, [1], [None], [[]], [{}], ["a"]),
    **dict.fromkeys(("then", "else"), (*NOT_A_LIST, [1], [None], [[]], [{}], ["get"])),
    "exists": (None, "true", "", 0, 1, [], {}),
    "by": (*NO_NUMBER, 0.5, 2**63, -(2**63) - 1, 1e300, NAN, INFINITY),
    "outcome": (*NOT_TEXT, "", "ABORT", "undo", "٣"),
    "branch": (*NOT_TEXT, "", "THEN", "both", "٣"),
    "id": NO_NAME,
    "zone": NO_NAME,
    "all_of": (*NOT_TEXT, "no-such-node", "٣", "a b"),
    "address": (
        *(*NOT_TEXT, "", "a", "a:0", "a:65536", "a:-1", "a:٣", "a:1e3", ":1", "a b:1", "http://a:1", "2130706433:1"),
        *(
            "169.254.169.254:80",
            "0.0.0.0:1",
            "[::]:1",
            "::1:1",
            "[127.0.0.1]:1",
            "[::ffff:169.254.0.1]:1",
            "224.0.0.1:1",
        ),
        *("file:///etc/passwd", "127.0.0.1:1/../x", "a:1?b", "[::1%eth0]:1", "127.0.0.1:1"),
    ),
    "weight": (*NO_NUMBER, -1, 0, 1001, 1e9, 2**63, NAN, INFINITY),
    "draining": (None, "true", "", 0, 1, [], {}),
    "partition": (*NO_NUMBER, -1, 0, 1.5, 2**53, 2**63, 1e300, NAN),
    "confirmed_stopped": (*NOT_A_LIST, [], [1], [None], ["no-such-node"], [""], ["٣"]),
    "plan": NOT_TEXT,
    "add": (*NOT_A_LIST, [1], [None], [{}], [{"id": "n1"}], [{"id": "m1"}, {"id": "m1"}]),
    "remove": (*NOT_A_LIST, [1], [None], [""], ["no-such-node"]),
    "strategy": (*NOT_TEXT, "", "HASH", "hash ", "ring", "٣"),
    "partitions": (*NO_NUMBER, -1, 0, 1.5, 4097, 2**63, 1e300, NAN),
    "replicas": (*NO_NUMBER, -1, 0, 1.5, 17, "ALL", "all ", 2**63, 1e300, NAN),
    "min_in_sync": (*NO_NUMBER, -1, 0, 1.5, 17, 2**63, 1e300, NAN),
    "default_ttl": (*NO_TTL, NAN, INFINITY),
    "max_value_bytes": (*NO_NUMBER, -1, 0, 0.5, 2**20 + 1, 2**63, 1e300, NAN),
    "splits": (*NOT_A_LIST, [1], [None], [[]], [{}], [""], [{"key": "a"}], ["b", "a"], ["a", "a"], ["x" * 481]),
    "regions": (None, True, 1, 1.5, "a", [], ["a"], {"eu": 1}, {"": "z"}, {"a/b": "z"}, {"eu": ""}, {"eu": "a b"}),
    "default_zone": NO_NAME,
    "max_bytes_per_second": (*NO_NUMBER, -1, 0.5, 2**40 + 1, 2**63, 1e300, NAN),
}
# Text is not a type that MessagePack could mean here: `key` and `value` are bin.
BAD_PACKED = {
    **BAD,
    "key": (*NOT_TEXT, "text", b"", b"x" * 481),
    "value": (*NOT_TEXT, "text"),
    # What has more than 64 bits is no value of MessagePack.
    "ttl": (*(value for value in NO_TTL if value != 2**64), NAN, INFINITY),
    "by": (*NO_NUMBER, 0.5, 2**63, 1e300, NAN, INFINITY),
}
# That of an item is ignored where it is given.
BAD_IN: dict[str, dict[str, tuple[Any, ...]]] = {"transact": {"etag": (*NOT_TEXT, "", "*", '"a"', "x" * 256)}}

VALID: dict[tuple[str, str], tuple[Any, ...]] = {
    ("batch", JSON): (
        {"ops": [{"op": "get", "key": "k"}]},
        {"ops": [{"op": "get", "key_b64": "aw=="}]},
        {"ops": [{"op": "put", "key": "k", "value": "v", "ttl": 5, "content_type": "a/b", "if_match": "1.1.1"}]},
        {"ops": [{"op": "put", "key_b64": "aw==", "value_b64": "dg==", "if_none_match": "*"}]},
        {"ops": [{"op": "delete", "key": "k", "if_match": "1.1.1", "if_none_match": "*"}]},
    ),
    ("batch", MSGPACK): (
        {"ops": [{"op": "get", "key": b"k"}]},
        {"ops": [{"op": "put", "key": b"k", "value": b"v", "ttl": 5, "content_type": "a/b", "if_match": "1.1.1"}]},
        {"ops": [{"op": "delete", "key": b"k", "if_match": "1.1.1", "if_none_match": "*"}]},
    ),
    ("transact", JSON): (
        {"if": [{"key": "k", "etag": "1.1.1"}], "then": [{"op": "get", "key": "k"}]},
        {"if": [{"key_b64": "aw==", "exists": True}], "then": [{"op": "delete", "key_b64": "aw=="}]},
        {"if": [{"key": "k", "value": "v"}], "else": [{"op": "incr", "key": "k", "by": 5}]},
        {"if": [{"key": "k", "value_b64": "dg=="}], "else": [{"op": "delete", "key_b64": "aw=="}]},
        {"then": [{"op": "put", "key": "k", "value": "v", "ttl": 5, "content_type": "a/b"}]},
        {"then": [{"op": "put", "key_b64": "aw==", "value_b64": "dg=="}, {"op": "incr", "key_b64": "aw==", "by": 1}]},
        {"else": [{"op": "put", "key": "k", "value": "v", "ttl": 5, "content_type": "a/b"}]},
        {"else": [{"op": "put", "key_b64": "aw==", "value_b64": "dg=="}]},
        {"then": [{"op": "incr", "key": "k", "by": 5}]},
    ),
    ("transact", MSGPACK): (
        {"if": [{"key": b"k", "etag": "1.1.1"}], "then": [{"op": "incr", "key": b"k", "by": 5}]},
        {"if": [{"key": b"k", "exists": True}], "else": [{"op": "incr", "key": b"k", "by": 5}]},
        {"if": [{"key": b"k", "value": b"v"}]},
        *(
            {branch: [{"op": "put", "key": b"k", "value": b"v", "ttl": 5, "content_type": "a/b"}]}
            for branch in ("then", "else")
        ),
    ),
    ("resolveTransaction", JSON): ({"outcome": "commit", "branch": "then"},),
    ("importItems", NDJSON): (
        {"key": "k", "value": "v", "ttl": 5, "content_type": "a/b", "etag": "1.1.1"},
        {"key_b64": "aw==", "value_b64": "dg==", "ttl": 5},
    ),
    ("importItems", MSGPACK): ({"key": b"k", "value": b"v", "ttl": 5, "content_type": "a/b", "etag": "1.1.1"},),
    ("admitNode", JSON): ({"id": "n9", "address": "127.0.0.1:1", "zone": "z", "weight": 1},),
    ("forcePromote", JSON): (
        {"partition": 1, "confirmed_stopped": ["n1"]},
        {"all_of": "n1", "confirmed_stopped": ["n1"]},
    ),
    ("changeNode", JSON): ({"zone": "z", "weight": 2, "draining": True},),
    ("plan", JSON): ({"add": [{"id": "n9", "zone": "z", "weight": 1}], "remove": ["n1"]},),
    ("startPlan", JSON): ({"plan": "1234"},),
    ("putKeyspace", JSON): (
        {
            "strategy": "hash",
            "partitions": 4,
            "replicas": 2,
            "min_in_sync": 1,
            "default_ttl": 5,
            "max_value_bytes": 9,
        },
        {"strategy": "range", "splits": ["m"]},
        {"strategy": "range", "splits": [{"key_b64": "bQ=="}]},
        {"strategy": "geo", "regions": {}, "default_zone": "default"},
    ),
    ("moveTenant", JSON): ({"partition": 1},),
    ("limitRebalance", JSON): ({"max_bytes_per_second": 5000},),
}
# Bodies that are wrong as a whole, and not in one field.
NO_BODIES = (b"null", b"1", b'"a"', b"[]", b"[1]", b"\xff\xfe", b"\x00", b"[" * 5000, b'{"a":', b"NaN", b"{} {}")


def paths(value: Any, prefix: str = "") -> Iterator[str]:
    """The fields of a body, as the contract's are called."""
    if isinstance(value, list):
        for item in value:
            yield from paths(item, f"{prefix}[]")
    if isinstance(value, dict):
        for name, field in value.items():
            path = f"{prefix}.{name}" if prefix else name
            yield path
            yield from paths(field, path)


def bad_bodies(operation: str, media_type: str) -> Iterator[tuple[str, Any, bytes]]:
    """A field, a bad value of it, and a body that is otherwise valid; an unknown field in the end."""
    table = {**(BAD_PACKED if media_type == MSGPACK else BAD), **BAD_IN.get(operation, {})}
    for valid in VALID[operation, media_type]:
        for path in dict.fromkeys(paths(valid)):
            name = path.rpartition(".")[2]
            for value in table[name]:
                yield name, value, encoded(_replaced(valid, path, value), media_type)
        yield "unknown", 1, encoded({**valid, "unknown": 1}, media_type)


def _replaced(valid: Any, path: str, value: Any) -> Any:
    body = copy.deepcopy(valid)
    within = body
    *steps, last = path.split(".")
    for step in steps:
        within = within[step.removesuffix("[]")]
        within = within[0] if step.endswith("[]") else within
    within[last] = value
    return body


def encoded(body: Any, media_type: str) -> bytes:
    if media_type == MSGPACK:
        packed: bytes = msgpack.packb(body, use_bin_type=True)
        return packed
    return json.dumps(body).encode()
