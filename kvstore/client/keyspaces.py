"""Calls on keyspaces: to make, list, describe and delete them, and on the tenants of those that have a directory.

Guarantees: a keyspace that `keyspace` gives is the same set of calls on keys as the client's own, on its connections.
Leaves to others: the calls on keys (`keys`, `transactions`, `ranges`), sending (`transport`), what a keyspace may be
(the contract).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any, Literal
from urllib.parse import quote, quote_from_bytes

from kvstore.client.answers import JSON, Unreachable
from kvstore.client.documents import json_answer
from kvstore.client.items import bytes_field, text_or_base64
from kvstore.client.ranges import RangeCalls
from kvstore.client.transactions import TxnCalls
from kvstore.client.transport import Request, Transport
from kvstore.client.urls import ROOT, keyspace_path, query_of

Strategy = Literal["consistent", "hash", "range", "directory", "geo"]


class Keyspace(RangeCalls, TxnCalls):
    """The keys of one keyspace; it lives as long as the client that gave it."""

    def __init__(self, transport: Transport, name: str) -> None:
        self.name = name
        self._transport = transport
        self._root = keyspace_path(name)

    async def describe(self) -> dict[str, Any]:
        """What the keyspace is, and its partitions; raises NotFound."""
        return await json_answer(self._transport, Request("GET", _path(self.name)))

    async def tenant(self, name: str | bytes) -> dict[str, Any]:
        """The `partition` of a tenant's keys, and the `transfer` that goes on; raises NotFound."""
        return await json_answer(self._transport, Request("GET", self._tenant_path(name)))

    async def tenants(self) -> AsyncIterator[tuple[bytes, int]]:
        """All tenants, in byte order, and the partition of each."""
        first: bytes | None = None
        while True:
            path = f"{_path(self.name)}/directory" + query_of({"from": first})
            page = await json_answer(self._transport, Request("GET", path))
            try:
                found = [(bytes_field(one, "tenant"), int(one["partition"])) for one in page["tenants"]]
                first = bytes_field(page, "next") if {"next", "next_b64"} & page.keys() else None
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise Unreachable(f"{self._transport.gateway}{path} did not answer with tenants") from error
            for one in found:
                yield one
            if first is None:
                return

    async def move_tenant(self, name: str | bytes, partition: int | None = None) -> dict[str, Any]:
        """Begin to move a tenant's keys to a partition, the least loaded other one where none is named.

        Raises:
            OutcomeUnknown: it may have begun: see `tenant`.
            KvError: any other refusal.
        """
        body = json.dumps({} if partition is None else {"partition": partition}).encode()
        request = Request("PUT", self._tenant_path(name), body, {"Content-Type": JSON}, is_write=True, changed=())
        return await json_answer(self._transport, request)

    def _tenant_path(self, name: str | bytes) -> str:
        raw = name.encode() if isinstance(name, str) else name
        return f"{_path(self.name)}/directory/{quote_from_bytes(raw, safe='').replace('.', '%2E')}"


class KeyspaceCalls:
    """Calls that make, list and delete keyspaces, and give the keys of one; part of `Client`."""

    _transport: Transport

    def keyspace(self, name: str) -> Keyspace:
        """The keys of a keyspace, whether or not there is one of that name."""
        return Keyspace(self._transport, name)

    async def keyspaces(self) -> list[dict[str, Any]]:
        """All keyspaces, without their partitions."""
        found: list[dict[str, Any]] = (await json_answer(self._transport, Request("GET", f"{ROOT}/keyspaces")))[
            "keyspaces"
        ]
        return found

    async def create_keyspace(
        self,
        name: str,
        strategy: Strategy = "consistent",
        *,
        partitions: int | None = None,
        replicas: int | Literal["all"] | None = None,
        min_in_sync: int | None = None,
        default_ttl_s: float | None = None,
        max_value_bytes: int | None = None,
        splits: Sequence[str | bytes] = (),
        regions: Mapping[str, str] | None = None,
        default_zone: str | None = None,
    ) -> dict[str, Any]:
        """Make a keyspace, and return what it is, as `Keyspace.describe` does; where it is there already, the same.

        Args:
            strategy: how keys find their partition.
            replicas: copies of each partition; `all`: one on every node.
            splits: of `range`: the first keys of all partitions but the first.
            regions: of `geo`: the zone of each region.
            default_zone: of `geo`: the zone of all others.

        Raises:
            BadParameter: there can be no such keyspace.
            Conflict: there is another one of that name.
            OutcomeUnknown: it may have been made; asking again tells.
            KvError: any other refusal.
        """
        asked: dict[str, Any] = {
            "strategy": strategy,
            "partitions": partitions,
            "replicas": replicas,
            "min_in_sync": min_in_sync,
            "default_ttl": default_ttl_s,
            "max_value_bytes": max_value_bytes,
            "splits": [_split(one) for one in splits] or None,
            "regions": dict(regions) if regions is not None else None,
            "default_zone": default_zone,
        }
        body = json.dumps({field: value for field, value in asked.items() if value is not None}).encode()
        request = Request("PUT", _path(name), body, {"Content-Type": JSON}, is_write=True, changed=())
        return await json_answer(self._transport, request)

    async def delete_keyspace(self, name: str, *, confirm: str) -> None:
        """Delete a keyspace and all that is in it.

        Args:
            confirm: its name, once more.

        Raises:
            BadParameter: `confirm` is not its name.
            NotFound: there is none.
            OutcomeUnknown: it may have been deleted; asking again tells.
            KvError: any other refusal.
        """
        await self._transport.send(Request("DELETE", _path(name) + query_of({"confirm": confirm}), is_write=True))


def _path(name: str) -> str:
    return f"{ROOT}/keyspaces/{quote(name, safe='')}"


def _split(key: str | bytes) -> str | dict[str, str]:
    if isinstance(key, str):
        return key
    field = text_or_base64("key", key)
    return field.get("key", field)
