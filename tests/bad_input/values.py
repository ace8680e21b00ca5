"""Bad values of every parameter, as they stand in a request, and how each is refused.

Guarantees: a table by name, place and type; `test_bad_input_everywhere` fails where the contract has one that is not in
it. Leaves to others: sending them.
"""

from __future__ import annotations

from dataclasses import dataclass

from cluster.gateway.cursors import Cursor, encode_cursor
from cluster.gateway.scan_merge import KeyRange

MIB = 1024**2


@dataclass(frozen=True)
class Bad:
    """A value; how it is refused, and what the detail says beside, or in the place of, the parameter's name."""

    text: str
    status: int = 400
    code: str = "bad_parameter"
    says: str | None = None


def refused(*texts: str, code: str = "bad_parameter", says: str | None = None) -> tuple[Bad, ...]:
    return tuple(Bad(text, code=code, says=says) for text in texts)


TOO_LONG = Bad("1" * MIB, 414, "uri_too_long", "request line")
NO_NUMBERS = ("", "%20", "1%20", "%201", "+1", "-1", "-0", "0", "NaN", "nan", "Infinity", "1e3", "0x10", "1_0", "1,5")
NO_NUMBERS += ("%D9%A3", "%EF%BC%91", "%00", "1%00", "true", "null", "%zz", "%", "%ff", str(2**63), "9" * 400)
NO_FLAGS = ("", "1", "0", "yes", "no", "on", "True", "TRUE", "true%20", "%20true", "t", "null", "true%00", "%D9%A3")
NO_FLAGS += ("-1", "NaN", "truefalse", "true,true", "%zz", "%ff")
UNCLEAN = ("%", "a%", "%z", "%zz", "a%2gb", "%u0041")
ONE_TOO_LONG = "k" * 481

OTHER_CLUSTER = encode_cursor(Cursor("default", KeyRange(b"", b"", False), b"k"), b"\x07" * 8)
FLAG = (*refused(*NO_FLAGS), TOO_LONG)
BOUND = (*refused(*UNCLEAN, ONE_TOO_LONG, "%ff" * 481), TOO_LONG)
SECONDS = (*refused(*NO_NUMBERS, "0.0", "1.", ".5", "315576001", "1e9", "1000000000"), TOO_LONG)
WHOLE = (*refused(*NO_NUMBERS, "1.0", "1.5", "10001", "1000000000", "1e9"), TOO_LONG)

# In a query, by name and type.
QUERY: dict[tuple[str, str], tuple[Bad, ...]] = {
    ("ttl", "number"): SECONDS,
    ("max_stale", "number"): SECONDS,
    ("consistency", "string"): (
        *refused("", "weak", "STRONG", "strong%20", "strong,quorum", "%D9%A3", "-1", "null", "%zz", "%ff"),
        TOO_LONG,
    ),
    ("limit", "integer"): WHOLE,
    ("count", "integer"): WHOLE,
    ("count", "boolean"): FLAG,
    ("reverse", "boolean"): FLAG,
    ("keys_only", "boolean"): FLAG,
    ("allow_partial", "boolean"): FLAG,
    ("force", "boolean"): FLAG,
    ("consistent", "boolean"): FLAG,
    ("confirm", "boolean"): (*FLAG, Bad("false")),
    ("start", "string"): (*BOUND, Bad("%ff")),
    ("end", "string"): (*BOUND, Bad("")),
    ("prefix", "string"): BOUND,
    ("from", "string"): BOUND,
    # Of a keyspace: its name.
    ("confirm", "string"): (
        *refused("", "true", "Default", "default%20", "default%00", "other", "%ff", *UNCLEAN),
        TOO_LONG,
    ),
    ("cursor", "string"): (
        *refused("", "a", "-1", "0", "NaN", "%D9%A3", "null", "%00", "%ff", "*", "AAAA", "A" * 4096, code="bad_cursor"),
        *refused(OTHER_CLUSTER, OTHER_CLUSTER[:-1], f"{OTHER_CLUSTER}=", code="bad_cursor"),
        *refused(*UNCLEAN),
        Bad("A" * 5000, code="bad_cursor"),
        TOO_LONG,
    ),
}
# What stands beside the value that is tried: without it, another refusal would come first.
BESIDE: dict[str, dict[str, str]] = {"max_stale": {"consistency": "stale"}, "start": {"end": "%fe"}}
BESIDE_IN: dict[str, dict[str, str]] = {
    "removeRange": {"prefix": "nothing-begins-with-this", "confirm": "true"},
    "deleteKeyspace": {"confirm": "default"},
}
VALID: dict[tuple[str, str], str] = {
    ("ttl", "number"): "5",
    ("max_stale", "number"): "5",
    ("consistency", "string"): "strong",
    ("limit", "integer"): "5",
    ("count", "integer"): "5",
    ("cursor", "string"): OTHER_CLUSTER,
    **dict.fromkeys((("start", "string"), ("end", "string"), ("prefix", "string"), ("from", "string")), "k"),
    ("confirm", "string"): "default",
    **{key: "true" for key in QUERY if key[1] == "boolean"},
}

NO_ETAGS = ("x", '"x', '"a" "b"', "*, *", ",", ',"a', 'W/"', "*x", "-1", "NaN", "", '"a\tb"', '"\xe9"')
HEADERS: dict[str, tuple[Bad, ...]] = {
    "If-Match": refused(*NO_ETAGS, code="bad_request"),
    "If-None-Match": refused(*NO_ETAGS, code="bad_request"),
    "Idempotency-Key": (
        *refused("", "x" * 256, "\xe9", "a\tb", code="bad_request"),
        *refused("a\r\nIdempotency-Key: a", "a\r\nIdempotency-Key: b", code="bad_request"),
        Bad("a\x7fb", code="bad_request", says="header value"),
    ),
}
# Of a write it says only that nothing is there.
WRITE_HEADERS: dict[str, tuple[Bad, ...]] = {
    **HEADERS,
    "If-None-Match": (*HEADERS["If-None-Match"], *refused('"a"', '*, "a"', 'W/"a"', code="bad_request")),
}

KEY = (
    *refused("", *UNCLEAN, "a%00%", code="bad_key", says="key"),
    *(Bad("k" * length, 414, "key_too_long") for length in (481, 511, 512, 2000)),
    *(Bad("%ff" * length, 414, "key_too_long") for length in (481, 512)),
    Bad("k" * 10_000, 414, "uri_too_long", "request line"),
    *refused("\xff\xfe", "\xe2\x80\xae", "a\x00", code="bad_key", says="key"),
    *(Bad(raw, 400, "bad_request", "") for raw in ("a b", "a\tb")),
)
NAME = (
    *refused("", *UNCLEAN, "k" * 481),
    *(Bad(text, 404, "not_found", "there is no") for text in ("-1", "NaN", "%00", "%ff", "%D9%A3", "n%2F1", "k" * 480)),
    Bad("k" * 10_000, 414, "uri_too_long", "request line"),
)
TXN_ID = f"1-{'ab' * 16}-1"
NO_TXN = ("1", TXN_ID[:-2], f"{TXN_ID[:-1]}0", f"-{TXN_ID}", f"{TXN_ID}%20", TXN_ID.upper(), f"{'f' * 13}{TXN_ID[1:]}")
NO_TXN += (f"{TXN_ID}{'0' * 9}", f"1-{'ab' * 24}-1", f"%D9%A3{TXN_ID[1:]}")
PATH: dict[str, tuple[Bad, ...]] = {
    "key": KEY,
    "keyspace": NAME,
    "node": NAME,
    "tenant": (
        *refused("", *UNCLEAN, "k" * 481, "n%2F1", "a/b"),
        # There are none in a keyspace without a directory.
        *(Bad(text, 409, "conflict", "directory") for text in ("-1", "NaN", "%00", "%ff", "k" * 480)),
        Bad("k" * 10_000, 414, "uri_too_long", "request line"),
    ),
    "txn": (*NAME, *(Bad(text, 404, "not_found", "there is no") for text in NO_TXN)),
    "move": tuple(
        Bad(text, 404, "not_found", "move")
        for text in ("", "-1", "0", "1e9", "NaN", "%D9%A3", "999999999", str(2**63), "9" * 400, "%zz", "1.0", "+1")
    ),
}
# What is made must have a name, and what is deleted is named twice.
PATH_IN: dict[str, dict[str, tuple[Bad, ...]]] = {
    "putKeyspace": {
        "keyspace": (
            *refused("", *UNCLEAN, "NaN", "%00", "%ff", "%D9%A3", "n%2F1", "a.b", "a%20b", "k" * 65, "k" * 481),
            Bad("k" * 10_000, 414, "uri_too_long", "request line"),
        )
    },
    "deleteKeyspace": {"keyspace": refused("", *UNCLEAN, "-1", "NaN", "%00", "%ff", "n%2F1", "k" * 480, says="")},
}
VALID_PATH = {"tenant": "t", "key": "k", "keyspace": "default", "node": "n1", "move": "1", "txn": TXN_ID}
