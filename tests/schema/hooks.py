"""What schemathesis has to know beyond the contract's text: its media types, and what a schema cannot say.

Guarantees: nothing leaves for another address than a loopback one, from here or from the gateway; a rejection of valid
data is passed over only where `refusals` names why no schema can tell; 501 only for what the contract says is not
built. Leaves to others: running it (`run`).
"""

from __future__ import annotations

import atexit
import json
import os
import re
import sys
import zlib
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgpack
import requests
import schemathesis
import yaml
from schemathesis.core.failures import AcceptedNegativeData, Failure, ServerError
from schemathesis.core.media_types import YAML_MEDIA_TYPES
from schemathesis.openapi.checks import RejectedPositiveData

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from schema.confined import about_members, confined, small_keyspace, where_chosen
from schema.refusals import may_be_unbuilt, undecidable

NDJSON = "application/x-ndjson"
MSGPACK = "application/msgpack"
PARTITIONS = 64
# What the contract's introduction says of any request, as far as requests made here can have it.
OF_ANY_REQUEST = ("414", "431")
TOLD = os.environ.get("SCHEMA_TOLD", "")
# The keyspaces that chance may make: each costs partitions.
MADE = ("made-1", "made-2", "made-3")
SECONDS = frozenset({"ttl", "max_stale"})
NODES = json.loads(os.environ["SCHEMA_NODES"])

statuses: defaultdict[str, Counter[int]] = defaultdict(Counter)
# Refusals that are no failures, by the reason why, and failures under the empty one.
passed_over: Counter[str] = Counter()


@schemathesis.serializer(NDJSON)
def write_lines(_context: Any, value: Any) -> bytes:
    lines = value if isinstance(value, list) else [value]
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


# Named beside the general one, for schemathesis would read these itself.
@schemathesis.deserializer("application/json", *YAML_MEDIA_TYPES, "text/event-stream", "*/*")
def read_body(context: Any, response: Any) -> Any:
    """What schemathesis would read itself, but values of keys: they are opaque, whatever their content type says."""
    if response.status_code == 200 and operation_id(context) in ("getKey", "getKeyIn"):
        return response.content.decode("latin-1")
    media_type = response.headers["content-type"][0].partition(";")[0]
    if media_type == NDJSON:
        assert response.content.endswith(b"\n") or not response.content, "the last line is not complete"
        return [json.loads(line) for line in response.content.splitlines()]
    if media_type == MSGPACK:
        return _as_text(msgpack.unpackb(response.content, raw=False))
    if media_type == "application/yaml":
        return yaml.safe_load(response.content)
    text = response.content.decode()
    return json.loads(text) if media_type.endswith("json") else text


def operation_id(context: Any) -> str:
    return str(context.operation.definition.raw["operationId"])


@schemathesis.serializer(MSGPACK)
def write_packed(context: Any, value: Any) -> bytes:
    if context.case.operation.path.endswith("/import") and isinstance(value, list):
        return b"".join(packed(item) for item in value)
    return packed(value)


def packed(value: Any) -> bytes:
    data: bytes = msgpack.packb(_packable(value), use_bin_type=True, unicode_errors="surrogatepass")
    return data


def _packable(value: Any, name: str = "") -> Any:
    if name in ("key", "value") and isinstance(value, str):
        return _as_bytes(value)
    if isinstance(value, dict):
        return {name: _packable(item, name) for name, item in value.items()}
    if isinstance(value, list):
        return [_packable(item) for item in value]
    is_huge = isinstance(value, int) and not -(1 << 63) <= value < 1 << 64
    return float(value) if is_huge else value


def _as_bytes(text: str) -> bytes:
    """The bytes for which a text stands in a schema: one for one where that can be."""
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return text.encode("utf-8", "surrogatepass")


def _as_text(value: Any) -> Any:
    """A body with each run of bytes as the text that stands for it in a schema."""
    if isinstance(value, bytes):
        return value.decode("latin-1")
    if isinstance(value, dict):
        return {name: _as_text(item) for name, item in value.items()}
    return [_as_text(item) for item in value] if isinstance(value, list) else value


@schemathesis.hook
def before_load_schema(_context: Any, raw_schema: dict[str, Any]) -> None:
    """Say of each operation what the contract says of all; and give the schema of all lines or items of a stream, where
    it has that of one, as is the way of OpenAPI 3.1."""
    for item in raw_schema["paths"].values():
        for method, operation in item.items():
            if not isinstance(operation, dict):
                continue
            problem = {"$ref": f"#/components/responses/problem{'Head' if method == 'head' else ''}"}
            for status in OF_ANY_REQUEST:
                operation["responses"].setdefault(status, problem)
            streams = [(NDJSON, response) for response in operation["responses"].values()]
            if operation["operationId"].startswith("importItems"):
                streams += [(NDJSON, operation["requestBody"]), (MSGPACK, operation["requestBody"])]
            for media_type, described in streams:
                _as_stream(described.get("content", {}), media_type)


def _as_stream(content: dict[str, Any], media_type: str) -> None:
    one = content.get(media_type)
    if one is not None and "items" not in one["schema"]:
        content[media_type] = {"schema": {"type": "array", "items": one["schema"]}}


@schemathesis.hook
def before_call(context: Any, case: Any, _kwargs: dict[str, Any]) -> None:
    assert urlsplit(case.operation.base_url).hostname == "127.0.0.1", "load goes to this machine only"
    if operation_id(case) == "admitNode" and isinstance(case.body, dict):
        case.body = confined(case.body, NODES)
    is_valid = case.meta is not None and case.meta.generation.mode.is_positive
    if operation_id(case) == "forcePromote" and isinstance(case.body, dict) and is_valid:
        case.body = about_members(case.body, NODES, PARTITIONS)
    if operation_id(case) in ("putKeyspace", "deleteKeyspace") and is_valid:
        about_made(case)
    if operation_id(case) == "moveTenant" and is_valid and isinstance(case.body, dict):
        case.path_parameters.update(keyspace="tenants", tenant="acme")
        case.body = where_chosen(case.body)
    for name in SECONDS & set(case.query or ()):
        if is_valid:
            case.query[name] = without_exponent(case.query[name])
    accepted = [
        media_type
        for media_type in case.operation.definition.raw["responses"].get("200", {}).get("content", {})
        if media_type in (NDJSON, MSGPACK)
    ]
    if accepted:
        choices = [*accepted, "application/json", "*/*"]
        drawn = zlib.crc32(repr((case.query, case.body)).encode("utf-8", "backslashreplace"))
        case.headers["Accept"] = choices[drawn % len(choices)]


def about_made(case: Any) -> None:
    """A valid request to make or delete a keyspace, about one of few."""
    drawn = zlib.crc32(repr((case.query, case.body)).encode("utf-8", "backslashreplace"))
    name = case.path_parameters["keyspace"] = MADE[drawn % len(MADE)]
    if operation_id(case) == "deleteKeyspace":
        case.query["confirm"] = name
    elif isinstance(case.body, dict):
        case.body = small_keyspace(case.body)


def without_exponent(seconds: float | str) -> str:
    """A number as the contract wants it in a query; that JSON may write it in other ways no schema can forbid."""
    return f"{max(0.001, float(seconds)):.3f}"


@schemathesis.hook
def after_call(_context: Any, case: Any, response: Any) -> None:
    statuses[operation_id(case)][response.status_code] += 1


@atexit.register
def tell() -> None:
    if TOLD:
        told = {"statuses": statuses, "passed_over": passed_over}
        Path(TOLD).write_text(json.dumps(told), encoding="utf-8")


@schemathesis.hook
def filter_failure(_context: Any, failure: Failure, case: Any, response: Any) -> bool:
    """Whether it stands as a failure."""
    problem = _problem(response)
    is_rejection = isinstance(failure, RejectedPositiveData)
    reason = ""
    if response.status_code == 501 and (is_rejection or isinstance(failure, ServerError | AcceptedNegativeData)):
        reason = "not built" if may_be_unbuilt(case.operation.definition.raw, problem) else ""
    elif is_rejection:
        reason = "" if headers_are_valid(case) else "not valid after all"
        reason = reason or undecidable(operation_id(case), problem)
    passed_over[reason] += 1
    return not reason


def headers_are_valid(case: Any) -> bool:
    """Looked at again, for schemathesis sends `If-Match: 0` as valid where it finds nothing that its pattern allows."""
    declared = case.operation.headers
    return all(
        re.search(parameter.definition["schema"].get("pattern", ""), case.headers[parameter.name])
        for parameter in declared
        if parameter.name in (case.headers or {})
    )


def _problem(response: Any) -> dict[str, Any]:
    """What the answer says is wrong; that to a HEAD does not, so the same is asked with GET."""
    request = response.request
    content = response.content
    if request.method == "HEAD":
        content = requests.get(request.url, headers=request.headers, timeout=30).content
    try:
        found = json.loads(content)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}
