"""Requests on keyspaces themselves, and on the tenants of those that have a directory.

Guarantees: what control refuses is told as control says it; nothing in a body, a path or a query is taken that the
contract does not name; who has made a keyspace may use it here at once, if its partitions find leaders in `SETTLE_S`,
and who has deleted one does not find it here any more. Leaves to others: every decision (control), which request it is
(`routes`), documents (`keyspace_documents`).
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from itertools import islice
from typing import Protocol, overload

import msgspec
from msgspec import UNSET, UnsetType

from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceCreated,
    KeyspaceDeleted,
    MoveTenant,
    ResolveTenant,
    TenantMoving,
    TenantResolved,
)
from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.conditions import parse_query, parse_raw_query
from cluster.gateway.documents import check_no_body, decoded_json
from cluster.gateway.http_request import Request
from cluster.gateway.item_fields import text_or_b64
from cluster.gateway.keyspace_documents import KeyspaceBody, creation_of, described, tenant_document
from cluster.gateway.router import Router
from kvstore.errors import BadKey, BadParameter, Conflict, KeyTooLong, MethodNotAllowed, NotFound
from kvstore.keys import KEY_BYTES_MAX, decode_key
from kvstore.map_values import KeyspaceInfo

SETTLE_S = 5.0
LOOK_S = 0.01
LIMIT_DEFAULT, LIMIT_MAX = 1000, 10_000
PARTITION_MAX = (1 << 53) - 1
METHODS = ("GET", "HEAD", "PUT", "DELETE")

_NAME = re.compile(r"[a-z0-9_-]{1,64}", re.ASCII)
_LIMIT = re.compile(rb"[0-9]{1,5}")


class Control(Protocol):
    """What the routes ask of control; a refusal is raised as `KvError`."""

    @overload
    async def ask(self, request: CreateKeyspace) -> KeyspaceCreated: ...
    @overload
    async def ask(self, request: DeleteKeyspace) -> KeyspaceDeleted: ...
    @overload
    async def ask(self, request: ResolveTenant) -> TenantResolved: ...
    @overload
    async def ask(self, request: MoveTenant) -> TenantMoving: ...


class _MoveBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # A float, for JSON knows only one kind of number: 5.0 is 5.
    partition: float | UnsetType = UNSET


_BODY = msgspec.json.Decoder(KeyspaceBody)
_MOVE = msgspec.json.Decoder(_MoveBody)
_JSON = msgspec.json.Encoder()


class KeyspaceRoutes:
    """Args:
    control: who decides.
    router: whose map is told of.
    max_value_bytes: the gateway's limit.
    """

    def __init__(self, control: Control, router: Router, *, max_value_bytes: int) -> None:
        self._control = control
        self._router = router
        self._max_value_bytes = max_value_bytes

    async def list(self, request: Request) -> Answer:
        """All keyspaces, by name."""
        request.operation = "keyspace"
        keyspaces = self._router.map.keyspaces
        told = [self._described(keyspaces[name], is_whole=False) for name in sorted(keyspaces) if keyspaces[name].pids]
        return json_answer(200, _JSON.encode({"keyspaces": told}))

    async def one(self, request: Request, name: str, query: str) -> Answer:
        """One keyspace: what it is, its beginning, its end."""
        if request.method not in METHODS:
            raise MethodNotAllowed(METHODS)
        request.operation = "keyspace"
        if request.method == "DELETE":
            return await self._delete(request, name, query)
        parse_query(query, ())
        if request.method == "PUT":
            return await self._create(request, name)
        check_no_body(request)
        return json_answer(200, _JSON.encode(self._described(self._known(name), is_whole=True)))

    async def directory(self, request: Request, keyspace: str, query: str) -> Answer:
        """The tenants of a keyspace, by name."""
        if request.method not in ("GET", "HEAD"):
            raise MethodNotAllowed(("GET", "HEAD"))
        request.operation = "directory"
        check_no_body(request)
        given = parse_raw_query(query, ("limit", "from"))
        limit, first = _limit(given.get("limit")), given.get("from", b"")
        if len(first) > KEY_BYTES_MAX:
            raise BadParameter(f"from has at most {KEY_BYTES_MAX} bytes")
        self._with_directory(keyspace)
        found = list(islice(self._router.tenants_from(keyspace, first), limit + 1))
        entries = self._router.map.entries
        told: dict[str, object] = {"tenants": [tenant_document(name, pid, entries) for name, pid in found[:limit]]}
        if len(found) > limit:
            told |= text_or_b64("next", found[limit][0])
        return json_answer(200, _JSON.encode(told))

    async def tenant(self, request: Request, keyspace: str, raw_name: str, query: str) -> Answer:
        """One tenant: which partition has its keys, and to which they are to go."""
        if request.method not in ("GET", "HEAD", "PUT"):
            raise MethodNotAllowed(("GET", "HEAD", "PUT"))
        request.operation = "directory"
        parse_query(query, ())
        name = _tenant_name(raw_name)
        if request.method == "PUT":
            return await self._move(request, keyspace, name)
        check_no_body(request)
        self._with_directory(keyspace)
        pid = (await self._control.ask(ResolveTenant(keyspace, name))).pid
        if pid is None:
            raise NotFound("there is no such tenant")
        return json_answer(200, _JSON.encode(tenant_document(name, pid, self._router.map.entries)))

    # ---- what is changed ----------------------------------------------------------------------------------------

    async def _create(self, request: Request, name: str) -> Answer:
        if not _NAME.fullmatch(name):
            raise BadParameter("keyspace: 1 to 64 of the characters a-z 0-9 _ -")
        body = await decoded_json(request, _BODY)
        made = await self._control.ask(creation_of(name, body, self._max_value_bytes))
        pids = made.keyspace.pids
        await self._until(lambda: all(map(self._is_led, pids)) and name in self._router.map.keyspaces)
        known = self._router.map.keyspaces.get(name, made.keyspace)
        return json_answer(201 if made.created else 200, _JSON.encode(self._described(known, is_whole=True)))

    async def _delete(self, request: Request, name: str, query: str) -> Answer:
        if parse_query(query, ("confirm",)).get("confirm") != name:
            raise BadParameter(f"confirm={name} is needed to delete a keyspace and all that is in it")
        check_no_body(request)
        before = self._router.map.keyspaces.get(name)
        await self._control.ask(DeleteKeyspace(name))
        await self._until(lambda: before is None or self._router.map.keyspaces.get(name) != before)
        return Answer(204)

    async def _move(self, request: Request, keyspace: str, name: bytes) -> Answer:
        partition: int | None = None
        if request.has_body:
            asked = (await decoded_json(request, _MOVE)).partition
            partition = None if asked is UNSET else _partition(asked)
        self._with_directory(keyspace)
        moving = await self._control.ask(MoveTenant(keyspace, name, partition))
        told = {**text_or_b64("tenant", name), "partition": moving.partition, "transfer": moving.transfer}
        return json_answer(202, _JSON.encode(told))

    async def _until(self, holds: Callable[[], bool]) -> None:
        """Wait for news, for a while."""
        for _ in range(round(SETTLE_S / LOOK_S)):
            if holds():
                return
            await asyncio.sleep(LOOK_S)

    # ---- what is known ------------------------------------------------------------------------------------------

    def _known(self, name: str) -> KeyspaceInfo:
        keyspace = self._router.map.keyspaces.get(name)
        if keyspace is None or keyspace.is_deleted:
            raise NotFound(f"there is no keyspace {name!r}")
        return keyspace

    def _with_directory(self, name: str) -> KeyspaceInfo:
        keyspace = self._known(name)
        if keyspace.strategy != "directory":
            raise Conflict(f"keyspace {name!r} has no directory, its strategy is {keyspace.strategy}")
        return keyspace

    def _is_led(self, pid: int) -> bool:
        entry = self._router.map.entries.get(pid)
        return entry is not None and entry.leader is not None

    def _described(self, keyspace: KeyspaceInfo, *, is_whole: bool) -> dict[str, object]:
        return described(keyspace, self._router.map, self._max_value_bytes, is_whole=is_whole)


def _tenant_name(raw: str) -> bytes:
    """The tenant that stands in a path; raises BadParameter."""
    try:
        name = decode_key(raw)
    except (BadKey, KeyTooLong) as error:
        raise BadParameter(f"tenant: 1 to {KEY_BYTES_MAX} bytes, percent-encoded") from error
    if b"/" in name:
        raise BadParameter("tenant: the shard key up to its first '/', so there is none in it")
    return name


def _limit(text: bytes | None) -> int:
    if text is None:
        return LIMIT_DEFAULT
    if not _LIMIT.fullmatch(text) or not 1 <= int(text) <= LIMIT_MAX:
        raise BadParameter(f"limit is a whole number from 1 to {LIMIT_MAX}")
    return int(text)


def _partition(number: float) -> int:
    if not 1 <= number <= PARTITION_MAX or not number.is_integer():
        raise BadParameter(f"partition: a whole number from 1 to {PARTITION_MAX}")
    return int(number)
