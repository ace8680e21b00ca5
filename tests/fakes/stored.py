"""A gateway with a few keys in memory, for what a client does with pages, streams and cached reads.

Guarantees: ranges, cursors, streams and `Cache-Control` as the contract says them, as far as the tests ask; etags never
repeat. `cut_at` ends a stream after so many lines, each time that one is asked for. Leaves to others: everything that a
real gateway is tested for.
"""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import count
from typing import Any
from urllib.parse import unquote_to_bytes

import msgpack
from aiohttp import web
from fakes.gateway import Gateway, refuse

PAGE = 100


@dataclass
class Kept:
    value: bytes
    etag: str
    content_type: str = "application/octet-stream"
    ttl: float | None = None


@dataclass
class StoredGateway(Gateway):
    """`lag_ms` is how far behind stale reads are told to be; `copies`: what they are answered from, else `keys`."""

    keys: dict[bytes, Kept] = field(default_factory=dict)
    copies: dict[bytes, Kept] | None = None
    lag_ms: int = 0
    cut_at: list[int] = field(default_factory=list)
    deleted_steps: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self._etags = count(1)
        self.handler = self._answer

    def fill(self, *keys: bytes) -> None:
        for key in keys:
            self.put(key, b"value of " + key)

    def put(self, key: bytes, value: bytes, **others: Any) -> Kept:
        self.keys[key] = Kept(value, f"{next(self._etags)}.1", **others)
        return self.keys[key]

    def within(self, parameters: Mapping[str, bytes]) -> list[bytes]:
        """The keys of a range, in the order that was asked for."""
        prefix, start, end = (parameters.get(name, b"") for name in ("prefix", "start", "end"))
        chosen = [key for key in self.keys if key.startswith(prefix) and key >= start and (not end or key < end)]
        return sorted(chosen, reverse="reverse" in parameters)

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self.answer_of(request)
        self.statuses.append(answer.status)
        return answer

    async def answer_of(self, request: web.BaseRequest) -> web.StreamResponse:
        """What it holds answers; a test may stand in between."""
        path, _, query = request.raw_path.partition("?")
        parameters = {
            name: unquote_to_bytes(value) for name, _, value in (part.partition("=") for part in query.split("&"))
        }
        if path == "/v1/import":
            return await self._import(request)
        if path == "/v1/batch" and request.content_type == "application/json":
            return web.json_response({"results": []})
        if path == "/v1/batch":
            return await self._batch(request)
        if path == "/v1/kv":
            return await self._range(request, parameters)
        key = unquote_to_bytes(path.removeprefix("/v1/kv/"))
        if request.method == "GET":
            return self._get(key, parameters, request.headers.get("If-None-Match", ""))
        body = await request.read()
        if request.method == "DELETE":
            self.keys.pop(key, None)
            return web.Response(status=204)
        return web.Response(status=204, headers={"ETag": f'"{self.put(key, body).etag}"'})

    def _get(self, key: bytes, parameters: Mapping[str, bytes], known: str) -> web.Response:
        is_stale = parameters.get("consistency") == b"stale"
        kept = (self.copies if is_stale and self.copies is not None else self.keys).get(key)
        if kept is None:
            return refuse("key_not_found", 404)
        headers = {"ETag": f'"{kept.etag}"', "Content-Type": kept.content_type, "Cache-Control": "no-store"}
        if kept.ttl is not None:
            headers["X-KV-TTL"] = f"{kept.ttl:.3f}"
        if is_stale:
            headers["X-KV-Lag-Ms"] = str(self.lag_ms)
            left_s = int(float(parameters.get("max_stale", b"0")) - self.lag_ms / 1000)
            if left_s > 0:
                headers["Cache-Control"] = f"private, max-age={left_s}"
        if known == headers["ETag"]:
            return web.Response(status=304, headers=headers)
        return web.Response(body=kept.value, headers=headers)

    async def _range(self, request: web.BaseRequest, parameters: dict[str, bytes]) -> web.StreamResponse:
        if request.method == "DELETE":
            return await self._delete(request, parameters)
        if "cursor" in parameters:
            parameters |= msgpack.unpackb(base64.urlsafe_b64decode(parameters["cursor"]), strict_map_key=False)
        keys = self.within(parameters)
        if "count" in parameters:
            return web.json_response({"count": len(keys)})
        if request.headers["Accept"] == "application/x-ndjson":
            return await self._stream(request, [self._line(key) for key in keys])
        size = int(parameters.get("limit", b"100"))
        page: dict[str, Any] = {"items": [self._item(key, parameters) for key in keys[:size]]}
        if len(keys) > size:
            rest = {name: parameters[name] for name in ("prefix", "start", "end", "reverse") if name in parameters}
            last = keys[size - 1]
            rest |= {"end": last} if "reverse" in parameters else {"start": last + b"\0"}
            page["cursor"] = base64.urlsafe_b64encode(msgpack.packb(rest)).decode()
        return web.Response(body=msgpack.packb(page), headers={"Content-Type": "application/msgpack"})

    def _item(self, key: bytes, parameters: Mapping[str, bytes]) -> dict[str, Any]:
        kept = self.keys[key]
        if "keys_only" in parameters:
            return {"key": key}
        item = {"key": key, "value": kept.value, "etag": kept.etag, "content_type": kept.content_type}
        return item if kept.ttl is None else {**item, "ttl": kept.ttl}

    def _line(self, key: bytes) -> bytes:
        item = self._item(key, {})
        for name in ("key", "value"):
            item[f"{name}_b64"] = base64.b64encode(item.pop(name)).decode()
        return json.dumps(item).encode() + b"\n"

    async def _delete(self, request: web.BaseRequest, parameters: dict[str, bytes]) -> web.StreamResponse:
        if parameters.get("confirm") != b"true":
            return refuse("bad_parameter", 400)
        keys = self.within(parameters)
        for key in keys:
            del self.keys[key]
        lines = [b'{"deleted":%d}\n' % done for done in self.deleted_steps]
        return await self._stream(request, [*lines, b'{"deleted":%d,"done":true}\n' % len(keys)])

    async def _stream(self, request: web.BaseRequest, lines: list[bytes]) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "application/x-ndjson"})
        response.enable_chunked_encoding()
        await response.prepare(request)
        cut_at = self.cut_at.pop(0) if self.cut_at else None
        if cut_at is None:
            await response.write(b"".join(lines))
            return response
        # Half of the line after those that come whole, and time to read it before the connection ends.
        await response.write(b"".join(lines[:cut_at]) + lines[cut_at][: len(lines[cut_at]) // 2])
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
        return response

    async def _import(self, request: web.BaseRequest) -> web.Response:
        lines = (await request.read()).splitlines()
        for item in map(json.loads, lines):
            key, value = (base64.b64decode(item[f"{name}_b64"]) for name in ("key", "value"))
            self.put(key, value, content_type=item["content_type"], ttl=item.get("ttl"))
        return web.json_response({"imported": len(lines)})

    async def _batch(self, request: web.BaseRequest) -> web.Response:
        results = []
        for op in msgpack.unpackb(await request.read())["ops"]:
            if op["op"] == "delete":
                self.keys.pop(op["key"], None)
                results.append({"status": 204})
            else:
                results.append({"status": 204, "etag": self.put(op["key"], op["value"]).etag})
        return web.Response(body=msgpack.packb({"results": results}))


class Gate:
    """Holds up the answers to some requests, which are made out before; each of those releases `arrived` once."""

    def __init__(self, stored: StoredGateway, *methods: str) -> None:
        self._stored, self._methods = stored, methods
        self.arrived, self.open = asyncio.Semaphore(0), asyncio.Event()
        self.statuses: list[int] = []
        stored.handler = self._answer

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        answer = await self._stored.answer_of(request)
        self.statuses.append(answer.status)
        if request.method in self._methods:
            self.arrived.release()
            await self.open.wait()
        return answer
