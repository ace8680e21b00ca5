"""A real gateway listener over sockets, in front of an in-memory node and a control that knows one map."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
import pytest

from cluster.control.messages import AdmitNode, Admitted, ClusterStatus, ClusterView, Readiness, Ready
from cluster.gateway.cluster_routes import ClusterRoutes
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.http_server import HttpServer
from cluster.gateway.key_routes import KeyRoutes
from cluster.gateway.metrics import Metrics
from cluster.gateway.router import Router
from cluster.gateway.routes import Routes
from cluster.gateway.service import KvService
from cluster.gateway.settings import GatewaySettings
from kvstore.messages import (
    Entry,
    Envelope,
    Fault,
    Hello,
    KeyspaceInfo,
    MapUpdate,
    NodeInfo,
    Read,
    ReadResult,
    Rid,
    Welcome,
    Write,
    WriteOne,
    WriteResult,
    Written,
)
from kvstore.rpc.client import Identity
from kvstore.rpc.connection import Connection
from kvstore.rpc.server import Server
from kvstore.storage.records import decode_value, encode_value
from kvstore.versions import etag, matches

CLUSTER = b"\x01" * 8
PARTITIONS = 4
NOW_MS = 1_000_000


class MemoryNode:
    """Leads the partitions that it is told to, keeps rows in a dictionary, and can be told to misbehave."""

    def __init__(self, name: str) -> None:
        self.name = name
        self.rid = Rid(name, name.encode().ljust(16, b"-"))
        self.rows: dict[bytes, bytes] = {}
        self.seq = 0
        self.entries: dict[int, Entry] = {}
        self.fault: Fault | None = None
        self.hold: asyncio.Event | None = None
        self.is_silent = False
        self.cuts_after_writes = False
        self.writes = 0
        self.reads = 0
        self.port = 0
        self._held: set[asyncio.Task[None]] = set()
        self._server = Server(self._handle, cluster_id=lambda: None)

    async def start(self) -> None:
        self.port = await self._server.listen("127.0.0.1", 0)

    async def stop(self) -> None:
        for task in self._held:
            task.cancel()
        await self._server.close()

    def _handle(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if isinstance(body, Hello):
            connection.peer, connection.role = body.sender, body.role
            connection.answer(envelope.call, Welcome(CLUSTER, self.name, 1))
            return
        assert isinstance(body, Read | Write)
        if isinstance(body, Read):
            self.reads += len(body.reads)
        else:
            self.writes += len(body.writes)
        if self.is_silent:
            return
        if self.hold is not None:
            task = asyncio.ensure_future(self._answer_later(self.hold, connection, envelope))
            self._held.add(task)
            return
        self._answer(connection, envelope)

    async def _answer_later(self, hold: asyncio.Event, connection: Connection, envelope: Envelope) -> None:
        await hold.wait()
        self._answer(connection, envelope)

    def _answer(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if isinstance(body, Read):
            results = [self._fault_of(one.pid, one.ver) or self.rows.get(one.key) for one in body.reads]
            connection.answer(envelope.call, ReadResult(NOW_MS, results))
        elif isinstance(body, Write):
            answers = [self._fault_of(one.pid, one.ver) or self._write(one) for one in body.writes]
            if self.cuts_after_writes:
                connection.close("cut")
                return
            connection.answer(envelope.call, WriteResult(answers))

    def _fault_of(self, pid: int, ver: int) -> Fault | None:
        if self.fault is not None:
            return self.fault
        entry = self.entries[pid]
        if entry.leader != self.rid or ver < entry.ver:
            return Fault("wrong_leader", "another node leads", entry)
        return None

    def _write(self, one: WriteOne) -> Written | Fault:
        row = self.rows.get(one.key)
        stored = decode_value(row) if row is not None else None
        version = etag(one.pid, stored.epoch, stored.seq) if stored else ""
        for wanted, holds_if in ((one.if_match, True), (one.if_none_match, False)):
            if wanted is not None and matches(wanted, version) is not holds_if:
                return Fault("precondition_failed", "no")
        if one.value is None:
            self.rows.pop(one.key, None)
            return Written(False, 0, 0, 2)
        self.seq += 1
        expiry_ms = NOW_MS + one.ttl_ms if one.ttl_ms is not None else 0
        self.rows[one.key] = encode_value(1, self.seq, expiry_ms, one.content_type, one.value)
        return Written(row is None, 1, self.seq, 2)


@dataclass
class MemoryControl:
    """Answers what the routes ask of control."""

    view: ClusterView = field(default_factory=lambda: ClusterView("healthy", 7, (), ()))
    ready: Ready = field(default_factory=lambda: Ready(True, ""))
    admitted: list[AdmitNode] = field(default_factory=list)

    async def ask(self, request: AdmitNode | ClusterStatus | Readiness) -> Any:
        if isinstance(request, AdmitNode):
            is_new = request.id not in {one.id for one in self.admitted}
            self.admitted.append(request)
            return Admitted(is_new)
        return self.view if isinstance(request, ClusterStatus) else self.ready


@dataclass(frozen=True)
class HttpAnswer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def code(self) -> str:
        problem = msgspec.json.decode(self.body)
        assert problem["status"] == self.status
        assert self.headers["content-type"] == "application/problem+json"
        return str(problem["code"])

    @property
    def detail(self) -> str:
        return str(msgspec.json.decode(self.body)["detail"])


class RawClient:
    """A socket on which a test says what it wants, byte for byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    def send(self, data: bytes) -> None:
        self.writer.write(data)

    async def answer(self, *, is_head: bool = False) -> HttpAnswer:
        head = (await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), 10)).decode("latin-1")
        status_line, *lines = head[:-4].split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
        length = 0 if is_head else int(headers.get("content-length", "0"))
        body = await asyncio.wait_for(self.reader.readexactly(length), 10)
        return HttpAnswer(int(status_line.split(" ")[1]), headers, body)

    async def is_closed(self) -> bool:
        """Whether the gateway ends the connection without another byte."""
        try:
            return await asyncio.wait_for(self.reader.read(1), 10) == b""
        except ConnectionError:
            return True

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HttpAnswer:
        lines = {"Host": "test", **(headers or {})}
        if body is not None:
            lines["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self.send(f"{method} {path} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))
        return await self.answer(is_head=method == "HEAD")

    async def close(self) -> None:
        self.writer.close()
        with contextlib.suppress(ConnectionError):
            await self.writer.wait_closed()


class Gateway:
    """A listener with two nodes behind it; partition i is led by node i modulo 2."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.settings = settings
        self.nodes = [MemoryNode("n1"), MemoryNode("n2")]
        self.control = MemoryControl()
        self.port = 0
        self.entries: list[Entry] = []
        self.stray_errors: list[dict[str, Any]] = []
        self._clients: list[RawClient] = []

    async def start(self) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, context: self.stray_errors.append(context))
        for node in self.nodes:
            await node.start()
        self.router = Router(CLUSTER)
        limit = self.settings.max_value_bytes
        self.dispatcher = Dispatcher(
            self.router,
            Identity(CLUSTER, "gateway", "gateway"),
            timeout_s=self.settings.request_timeout_s,
            max_value_bytes=limit,
            rng=random.Random(1),
        )
        service = KvService(
            self.dispatcher,
            self.router,
            max_value_bytes=limit,
            batch_answer_bytes_max=self.settings.batch_answer_bytes_max,
        )
        keys = KeyRoutes(service, max_value_bytes=limit, batch_bytes_max=self.settings.batch_bytes_max)
        metrics = Metrics()
        routes = Routes(keys, ClusterRoutes(self.control, metrics, openapi=b"openapi: 3"))
        self.server = HttpServer(routes.handle, self.settings, metrics.observe)
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.server, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def place(self) -> None:
        """Tell everybody the map, and wait until the gateway is connected to the nodes."""
        self.entries = [self.entry(pid, 1, self.nodes[pid % 2]) for pid in range(1, PARTITIONS + 1)]
        for node in self.nodes:
            node.entries = {entry.pid: entry for entry in self.entries}
        infos = [NodeInfo(node.name, f"127.0.0.1:{node.port}", "z", 1.0, 1) for node in self.nodes]
        keyspace = KeyspaceInfo("default", "consistent", tuple(range(1, PARTITIONS + 1)), 2, 1)
        self.dispatcher.take(MapUpdate(1, infos, self.entries, [keyspace]))
        await self.until(lambda: self.links_up == 2)

    @property
    def links_up(self) -> int:
        """How many nodes the gateway is connected to."""
        return sum(link.is_up for link in self.dispatcher._links.values())

    @property
    def writes(self) -> int:
        """How many writes have reached the nodes."""
        return sum(node.writes for node in self.nodes)

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait for a condition, at most ten seconds."""
        async with asyncio.timeout(10):
            while not holds():  # noqa: ASYNC110
                await asyncio.sleep(0.002)

    def entry(self, pid: int, ver: int, leader: MemoryNode | None) -> Entry:
        rids = tuple(node.rid for node in self.nodes)
        return Entry(pid, "default", ver, ver, leader.rid if leader else None, rids, rids)

    async def connect(self) -> RawClient:
        client = RawClient(*await asyncio.open_connection("127.0.0.1", self.port))
        self._clients.append(client)
        return client

    async def ask(
        self, method: str, path: str, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> HttpAnswer:
        """One request on a connection of its own."""
        client = await self.connect()
        answer = await client.ask(method, path, body, headers)
        await client.close()
        return answer

    async def raw(self, data: bytes) -> HttpAnswer:
        """The answer to these very bytes."""
        client = await self.connect()
        client.send(data)
        return await client.answer()

    async def stop(self) -> None:
        self.listener.close()
        await self.server.stop()
        for client in self._clients:
            await client.close()
        await self.dispatcher.close()
        for node in self.nodes:
            await node.stop()
        assert not self.stray_errors


StartGateway = Callable[..., Awaitable[Gateway]]


@pytest.fixture
def taken_address() -> Iterator[str]:
    """An address at which somebody already listens."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        yield f"127.0.0.1:{taken.getsockname()[1]}"


@pytest.fixture
async def start_gateway(tmp_path: Path) -> AsyncIterator[StartGateway]:
    """Starts gateways with the settings given, placed unless told otherwise."""
    started: list[Gateway] = []

    async def start(*, is_placed: bool = True, **settings: Any) -> Gateway:
        gateway = Gateway(GatewaySettings(data=tmp_path, **settings))
        started.append(gateway)
        await gateway.start()
        if is_placed:
            await gateway.place()
        return gateway

    yield start
    for gateway in started:
        await gateway.stop()


@pytest.fixture
async def gateway(start_gateway: StartGateway) -> Gateway:
    """A gateway with default settings."""
    return await start_gateway()
