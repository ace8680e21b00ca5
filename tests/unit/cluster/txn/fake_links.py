"""Links to nodes that answer when a test says so, and a router whose map it writes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass

from cluster.control.keyspace_messages import ResolveTenant, TenantResolved
from cluster.gateway.router import Router
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid
from kvstore.messages import Body, Failed, Fault, MapUpdate
from kvstore.rpc.connection import Lost, NotSent

CLUSTER = b"c" * 8
NODES = ("n1", "n2", "n3")


def led_by(pid: int, node: str | None, ver: int = 1) -> Entry:
    leader = None if node is None else Rid(node, node.encode().ljust(16, b"."))
    copies = tuple(Rid(one, one.encode().ljust(16, b".")) for one in NODES)
    return Entry(pid, "default", ver, ver, leader, copies, copies)


def router_of(partitions: int = 3) -> Router:
    """Partition N is led by node N."""
    router = Router(CLUSTER)
    nodes = [NodeInfo(node, "127.0.0.1:1", "z", 1.0, 1) for node in NODES]
    pids = tuple(range(1, partitions + 1))
    entries = [led_by(pid, f"n{pid}") for pid in pids]
    router.take(MapUpdate(1, nodes, entries, [KeyspaceInfo("default", "consistent", pids, 2, 1)]))
    return router


def key_in(router: Router, pid: int, above: bytes = b"") -> bytes:
    """A key of that partition that is larger than `above`."""
    keys = (above + b"%d" % number for number in range(10_000))
    return next(key for key in keys if router.route("default", key).pid == pid)


async def no_control(_question: ResolveTenant) -> TenantResolved:
    raise AssertionError("there are no tenants here")


@dataclass(eq=False)
class Call:
    node: str
    body: Body
    future: asyncio.Future[Body]


class FakeLinks:
    """`calls` are those under way; `heard` is what breakers were told; `said` what needs no answer."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self.down: set[str] = set()
        self.away: set[str] = set()
        self.heard: list[tuple[str, bool]] = []
        self.said: list[tuple[str, Body]] = []
        self._changed = asyncio.Event()
        self.respond: Callable[[str, Body], Body | None] = lambda node, body: None

    def call(self, node: str, body: Body, timeout_s: float) -> asyncio.Future[Body]:
        if node in self.down:
            raise NotSent("down")
        future: asyncio.Future[Body] = asyncio.get_running_loop().create_future()
        answer = self.respond(node, body)
        if answer is None:
            self.calls.append(Call(node, body, future))
            self._changed.set()
        else:
            future.set_result(answer)
        return future

    def tell(self, node: str, body: Body) -> None:
        self.said.append((node, body))
        self._changed.set()

    def answered(self, node: str) -> None:
        self.heard.append((node, True))

    def failed(self, node: str) -> None:
        self.heard.append((node, False))

    def is_away(self, node: str) -> bool:
        return node in self.away

    # ---- for tests ----------------------------------------------------------------------------------------------

    async def called(self, kind: type[Body], count: int = 1) -> list[Call]:
        """The calls of a kind under way, once there are so many."""
        async with asyncio.timeout(10):
            while len(found := [call for call in self.calls if isinstance(call.body, kind)]) < count:
                await self._change()
        return found

    async def told(self) -> list[tuple[str, Body]]:
        """What was said, once there is something."""
        async with asyncio.timeout(10):
            while not self.said:
                await self._change()
        return self.said

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()

    async def answer(self, kind: type[Body], body: Body) -> Call:
        """Answer the first call of a kind as soon as there is one."""
        call = (await self.called(kind))[0]
        self.calls.remove(call)
        call.future.set_result(body)
        return call

    async def refuse(self, kind: type[Body], code: str, entry: Entry | None = None) -> Call:
        return await self.answer(kind, Failed(Fault(code, code, entry)))

    async def lose(self, kind: type[Body], error: Exception | None = None) -> Call:
        call = (await self.called(kind))[0]
        self.calls.remove(call)
        call.future.set_exception(error or Lost("cut"))
        return call
