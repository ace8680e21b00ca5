"""What a request may carry, read out of the contract: every parameter, and every field of every body.

Guarantees: nothing that the contract names is left out, so that what is tried can be held against it. Leaves to others:
the values (`values`, `bodies`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

CONTRACT: dict[str, Any] = yaml.safe_load(
    (Path(__file__).parents[2] / "docs" / "openapi.yaml").read_text(encoding="utf-8")
)
METHODS = ("get", "head", "put", "post", "patch", "delete")


@dataclass(frozen=True)
class Parameter:
    name: str
    place: str
    kind: str


@dataclass(frozen=True)
class Operation:
    """`fields` are the paths of fields in a body, such as `ops[].key`, by media type."""

    name: str
    method: str
    path: str
    parameters: tuple[Parameter, ...]
    fields: Mapping[str, frozenset[str]]

    def of(self, place: str) -> list[Parameter]:
        return [one for one in self.parameters if one.place == place]


def operations() -> list[Operation]:
    """All that are built."""
    return [
        Operation(
            described["operationId"],
            method.upper(),
            path,
            tuple(_parameters([*item.get("parameters", ()), *described.get("parameters", ())])),
            dict(_fields_by_type(described)),
        )
        for path, item in CONTRACT["paths"].items()
        for method, described in item.items()
        if method in METHODS and not described.get("x-not-built")
    ]


def _parameters(described: list[dict[str, Any]]) -> Iterator[Parameter]:
    for one in map(_resolved, described):
        yield Parameter(one["name"], one["in"], one["schema"]["type"])


def _fields_by_type(described: dict[str, Any]) -> Iterator[tuple[str, frozenset[str]]]:
    for media_type, content in described.get("requestBody", {}).get("content", {}).items():
        if media_type != "*/*":
            yield media_type, frozenset(_fields(content["schema"], ""))


def _fields(schema: dict[str, Any], prefix: str) -> Iterator[str]:
    schema = _resolved(schema)
    for kind in ("allOf", "oneOf", "anyOf"):
        for branch in schema.get(kind, ()):
            yield from _fields(branch, prefix)
    if "items" in schema:
        yield from _fields(schema["items"], f"{prefix}[]")
    for name, field in schema.get("properties", {}).items():
        path = f"{prefix}.{name}" if prefix else name
        yield path
        yield from _fields(field, path)


def _resolved(part: dict[str, Any]) -> dict[str, Any]:
    while "$ref" in part:
        found: Any = CONTRACT
        for step in part["$ref"].removeprefix("#/").split("/"):
            found = found[step]
        part = {**found, **{name: value for name, value in part.items() if name != "$ref"}}
    return part
