"""A real gateway listener over sockets, in front of an in-memory node and a control that knows one map."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import pytest
from integration.gateway.memory_control import MemoryControl
from integration.gateway.memory_node import CLUSTER, MemoryNode
from integration.gateway.memory_transactor import MemoryTransactor

from cluster.gateway.app import TXN_ANSWER_BYTES_MAX
from cluster.gateway.balance import Balance
from cluster.gateway.balance_routes import BalanceRoutes
from cluster.gateway.cluster_routes import ClusterRoutes
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.fast_pages import FastPages
from cluster.gateway.http_server import HttpServer
from cluster.gateway.id_routes import IdRoutes
from cluster.gateway.id_source import IdSource
from cluster.gateway.import_routes import ImportRoutes
from cluster.gateway.key_routes import KeyRoutes
from cluster.gateway.keyspace_news import KeyspaceNews
from cluster.gateway.keyspace_routes import KeyspaceRoutes
from cluster.gateway.metrics import Metrics
from cluster.gateway.rebalance_routes import RebalanceRoutes
from cluster.gateway.router import Router
from cluster.gateway.routes import Routes
from cluster.gateway.scan_routes import ScanRoutes
from cluster.gateway.scans import Scans
from cluster.gateway.service import KvService
from cluster.gateway.settings import GatewaySettings
from cluster.gateway.txn_operator_routes import TxnOperatorRoutes
from cluster.gateway.txn_operators import TxnOperators
from cluster.gateway.txn_routes import TxnRoutes
from cluster.gateway.verifier import Verifier
from cluster.txn.driver import Transactions
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo
from kvstore.messages import MapUpdate
from kvstore.rpc.client import Identity

PARTITIONS = 4


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

    async def chunks(self) -> tuple[bytes, bool]:
        """A chunked body, and whether it came to its end."""
        body = b""
        try:
            while size := int(await asyncio.wait_for(self.reader.readuntil(b"\r\n"), 10), 16):
                body += (await asyncio.wait_for(self.reader.readexactly(size + 2), 10))[:-2]
            return body, await self.reader.readexactly(2) == b"\r\n"
        except (asyncio.IncompleteReadError, ConnectionError):
            return body, False

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
    """A listener with two nodes behind it; partition i is led by node i modulo 2. `has_lane`: it has the short ways."""

    def __init__(self, settings: GatewaySettings, has_lane: bool = True) -> None:
        self.settings = settings
        self.has_lane = has_lane
        self.nodes = [MemoryNode("n1"), MemoryNode("n2")]
        self.control = MemoryControl()
        self.transactor = MemoryTransactor()
        self.port = 0
        self.incarnation = 0
        self.clock_ms = 1_000_000
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
            incarnation=await self.draw_incarnation(),
            draw_incarnation=self.draw_incarnation,
            timeout_s=self.settings.request_timeout_s,
            max_value_bytes=limit,
            rng=random.Random(1),
            ask=self.control.ask,
        )
        self.transactions = Transactions(
            self.dispatcher.links,
            self.router,
            incarnation=self.incarnation,
            timeout_s=self.settings.request_timeout_s,
            answer_bytes_max=TXN_ANSWER_BYTES_MAX,
            rng=random.Random(2),
            tenants=self.dispatcher.tenants,
        )
        service = KvService(
            self.dispatcher,
            self.router,
            self.transactions,
            max_value_bytes=limit,
            batch_answer_bytes_max=self.settings.batch_answer_bytes_max,
            zone=self.settings.zone,
        )
        keys = KeyRoutes(service, max_value_bytes=limit, batch_bytes_max=self.settings.batch_bytes_max)
        metrics = Metrics()
        imports = ImportRoutes(service, patience_s=self.settings.import_patience_s)
        links = self.dispatcher.links
        verifier = Verifier(self.router, links)
        in_doubt = TxnOperators(self.router, links, patience_s=0.3)
        cluster = ClusterRoutes(
            self.control, verifier, in_doubt, metrics, openapi=b"openapi: 3", breakers=links.breakers
        )
        scans = ScanRoutes(
            Scans(self.dispatcher, self.router, page_bytes_max=self.settings.batch_answer_bytes_max),
            service,
            cluster_id=CLUSTER,
            patience_s=self.settings.import_patience_s,
        )
        self.ids = IdSource(
            *(5, self.control.ask), now_ms=lambda: self.clock_ms, timeout_s=self.settings.request_timeout_s
        )
        txns = TxnRoutes(self.transactor, max_value_bytes=limit)
        operators = TxnOperatorRoutes(in_doubt)
        rebalance = RebalanceRoutes(self.control)
        keyspaces = KeyspaceRoutes(self.control, self.router, max_value_bytes=limit)
        balance = BalanceRoutes(Balance(self.router, links))
        known = IdRoutes(self.ids), cluster, rebalance, operators, keyspaces, balance
        routes = Routes(keys, txns, scans, imports, *known, KeyspaceNews(self.control.ask, self.router))
        lane = FastLane(self.dispatcher, self.router, metrics.observe_all, max_value_bytes=limit)
        self.pages = FastPages(
            self.dispatcher, self.router, cluster_id=CLUSTER, page_bytes_max=self.settings.batch_answer_bytes_max
        )
        short = (lane, self.pages) if self.has_lane else (None, None)
        self.server = HttpServer(routes.handle, self.settings, metrics.observe, *short)
        loop = asyncio.get_running_loop()
        self.listener = await loop.create_server(self.server, "127.0.0.1", 0)
        self.port = self.listener.sockets[0].getsockname()[1]

    async def draw_incarnation(self) -> int:
        self.incarnation += 1
        return self.incarnation

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
        return self.dispatcher.links.up_count

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
        await self.transactions.close()
        await self.dispatcher.close()
        await self.ids.close()
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

    async def start(*, is_placed: bool = True, has_lane: bool = True, **settings: Any) -> Gateway:
        gateway = Gateway(GatewaySettings(data=tmp_path, **settings), has_lane)
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
    return await start_gateway()
