"""What a schema cannot say: valid requests that may be refused all the same, and parts that are not built.

Guarantees: each is named with its operations, its code and what its detail says, so that any other refusal of a valid
request is a failure. Leaves to others: seeing the answers (`hooks`). Sans-IO.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Refusal:
    """What may refuse a request that its schema allows, and why no schema can say so."""

    operations: str
    code: str
    detail: str
    why: str


UNDECIDABLE = (
    Refusal(".*Key(In)?|locate(In)?", "key_too_long", "a key has at most", "a schema counts characters, not bytes"),
    Refusal("(get|head)Key(In)?", "bad_parameter", "max_stale is for", "it goes with another parameter"),
    Refusal("put.*|delete.*", "bad_request", "If-Match compares strongly", "weak etags are well formed"),
    Refusal("putKey(In)?", "bad_request", "Content-Type is type/subtype", "a content type is no parameter"),
    Refusal("importItems(In)?", "bad_body", "a key has at most", "a schema counts characters, not bytes"),
    Refusal("transact(In)?", "key_too_long", r"\w+\[\d+\]: a key has at most", "a schema counts characters, not bytes"),
    Refusal("transact(In)?", "body_too_large", "a transaction has at most", "three lists are counted together"),
    Refusal("transact(In)?", "bad_request", r"operation \d+: incr", "what is stored is no number, or too large a one"),
    Refusal("(head)?[sS]can(In)?", "bad_cursor", "cursor: ", "only what a page gave is a cursor"),
    Refusal("(head)?[sS]can(In)?", "bad_parameter", "start is after end", "it goes with another parameter"),
    Refusal("(head)?[sS]can(In)?", "bad_parameter", ".* is not for a count", "it goes with another parameter"),
    Refusal("(.*[sS]can|removeRange)(In)?", "bad_parameter", ".* has at most 480 bytes", "a schema counts characters"),
    Refusal(".*Scan(In)?|scan(In)?|removeRange(In)?", "uri_too_long", "", "a schema knows no bound of all together"),
    Refusal("removeRange(In)?", "bad_parameter", "start is after end", "it goes with another parameter"),
    Refusal("removeRange(In)?", "bad_parameter", "prefix, start or end: name", "one of three parameters is needed"),
    Refusal("batch(In)?", "bad_body", r"ops\[[0-9]+\]: with consistent=true", "a parameter bounds the body"),
    Refusal("putKeyspace", "bad_parameter", "(splits|regions|default_zone): ", "fields bound each other, and zones"),
    Refusal("putKeyspace", "bad_parameter", "(partitions|replicas|min_in_sync): ", "fields bound each other"),
    Refusal("putKeyspace", "bad_parameter", "max_value_bytes: at most", "the gateway's limit is a setting"),
    Refusal("listTenants", "bad_parameter", "from has at most 480 bytes", "a schema counts characters"),
    Refusal("moveTenant", "bad_parameter", "partition: .* is no partition of keyspace", "partitions are made and end"),
    Refusal("(get|move)Tenant", "bad_parameter", "tenant: 1 to 480 bytes", "a schema counts characters"),
    Refusal("admitNode", "bad_parameter", "address: ", "whether it can be dialled, and whether a node answers there"),
    Refusal("admitNode", "overloaded", "address: no handshake", "a node answers there or not"),
    Refusal("forcePromote", "bad_parameter", "confirmed_stopped, all_of: there is no node", "members change"),
    Refusal("plan", "bad_parameter", "add: node .* is a member already", "members change"),
    Refusal("plan", "bad_parameter", "add: a node is named twice", "a field of each item is unique"),
    Refusal("plan", "bad_parameter", "remove: (there is no node|no node would be left)", "members change"),
)


def undecidable(operation: str, problem: Mapping[str, Any]) -> str:
    """Why this problem may answer a request of this operation that fits its schema; empty where it may not."""
    for one in UNDECIDABLE:
        is_said = problem.get("code") == one.code and re.match(one.detail, str(problem.get("detail")))
        if is_said and re.fullmatch(one.operations, operation):
            return f"{one.code}, {one.detail or 'any detail'}: {one.why}"
    return ""


def may_be_unbuilt(operation: Mapping[str, Any], problem: Mapping[str, Any]) -> bool:
    """Whether the contract says of what was asked that it is not built."""
    return operation.get("x-not-built", False) and problem.get("code") == "not_implemented"
