"""A node that does what control expects of one, over a real socket, and no more. Its copies are never behind."""

from __future__ import annotations

import asyncio
import contextlib

import msgspec

from cluster.cluster_map import ClusterMap
from kvstore.map_values import Entry, Rid
from kvstore.messages import (
    CasResult,
    CompareAndSet,
    CopiesCreated,
    CopyReport,
    CreateCopies,
    Envelope,
    Failed,
    Fault,
    Hello,
    MapUpdate,
    NodeReport,
    Welcome,
)
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection, RpcError
from kvstore.rpc.server import Server


class FakeNode:
    """Leads what it should, at once, and takes every copy into the in-sync set.

    `drops_copies` connections are cut at the question for copies; `is_new`: its disk is empty.
    """

    def __init__(
        self, node: str, boot: int = 1, drops_copies: int = 0, answers_hello: bool = True, is_new: bool = False
    ) -> None:
        self.node = node
        self.boot = boot
        self.drops_copies = drops_copies
        self.answers_hello = answers_hello
        self.is_new = is_new
        self.address = ""
        self.cluster_id = b""
        self.map = ClusterMap.empty(b"")
        self.updates: list[MapUpdate] = []
        self.led: dict[int, Entry] = {}
        self.control: Connection | None = None
        self.controls: set[Connection] = set()
        self._server = Server(self._received, cluster_id=lambda: None)
        self._tasks: set[asyncio.Task[None]] = set()

    async def listen(self) -> FakeNode:
        self.address = f"127.0.0.1:{await self._server.listen('127.0.0.1', 0)}"
        return self

    async def close(self) -> None:
        for task in self._tasks:
            task.cancel()
        await self._server.close()

    async def compare_and_set(self, entries: list[Entry]) -> CasResult:
        assert self.control is not None
        answer = await self.control.call(CompareAndSet(entries), 5.0, PRIORITY_CONTROL)
        assert isinstance(answer, CasResult)
        return answer

    def rid(self, pid: int) -> Rid:
        return Rid(self.node, f"{self.node}/{pid}".encode().ljust(16, b"."))

    def _received(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if isinstance(body, Hello):
            self._hello(connection, envelope.call, body)
        elif isinstance(body, CreateCopies):
            if self.drops_copies:
                self.drops_copies -= 1
                connection.close()
                return
            rids = [(pid, self.rid(pid)) for pid in body.pids]
            connection.answer(envelope.call, CopiesCreated(rids), PRIORITY_CONTROL)
        elif isinstance(body, MapUpdate):
            self.control = connection
            self.controls.add(connection)
            self.updates.append(body)
            self.map = self.map.updated(body)
            self._spawn(connection)

    def _hello(self, connection: Connection, call: int, hello: Hello) -> None:
        if not self.answers_hello:
            return
        if self.cluster_id not in (b"", hello.cluster_id):
            connection.answer(call, Failed(Fault("conflict", f"node {self.node} is of another cluster")))
            return
        self.cluster_id = hello.cluster_id
        connection.peer, connection.role = hello.sender, hello.role
        if self.is_new:
            self.boot, self.is_new = hello.boot_floor + 1, False
        connection.answer(call, Welcome(hello.cluster_id, self.node, self.boot), PRIORITY_CONTROL)

    async def _lead(self, control: Connection) -> None:
        """Ask for what is to be led of the control that told of it: another one may not know it yet."""
        wanted = [
            self._wanted(entry)
            for entry in self.map.living.values()
            if (entry.leader or entry.replicas[0]) == self.rid(entry.pid)
            and (entry.pid not in self.led or entry.adding)
        ]
        if wanted:
            with contextlib.suppress(RpcError):
                answer = await control.call(CompareAndSet(wanted), 5.0, PRIORITY_CONTROL)
                entries = answer.entries if isinstance(answer, CasResult) else []
                self.led.update((one.pid, one) for one in entries if one.leader == self.rid(one.pid))
        known = {**self.map.living, **self.led}
        report = NodeReport([CopyReport(pid, one.epoch, pid in self.led, 2, 20) for pid, one in known.items()])
        for connection in self.controls:
            connection.cast(report)

    def _wanted(self, entry: Entry) -> Entry:
        if entry.pid in self.led:
            copies = (*entry.replicas, *entry.adding)
            return msgspec.structs.replace(entry, ver=entry.ver + 1, in_sync=copies, replicas=copies, adding=())
        return msgspec.structs.replace(
            entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=self.rid(entry.pid), leader_boot=self.boot
        )

    def _spawn(self, control: Connection) -> None:
        task = asyncio.get_running_loop().create_task(self._lead(control))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
