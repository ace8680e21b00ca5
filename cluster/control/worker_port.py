"""Where the workers of a gateway reach its control: a Unix socket.

Guarantees: a worker that has said hello gets the whole map and then every change, in order, until its connection ends;
one that does not take what it is told, or says what no worker says, is cut off, and nobody waits for it. Leaves to
others: who may open the socket (the directory it is in), carrying requests out (control), what counts mean (`Tally`),
ids.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, Protocol

import structlog

from cluster.control import codec
from cluster.control.interface import Control
from cluster.control.messages import Request
from kvstore.codec import CodecError
from kvstore.errors import KvError, OperatorError
from kvstore.messages import (
    AskControl,
    Body,
    ControlAnswer,
    DrawIds,
    DrawnIds,
    Envelope,
    Failed,
    Fault,
    Hello,
    MapUpdate,
    Welcome,
    WorkerCounts,
)
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection

NAME = "control"
ROLE = "worker"
# A connection of this socket is in no cluster before its worker was told in which it is.
NO_CLUSTER = b""


class Tally(Protocol):
    """What is kept of what workers count."""

    def take(self, worker: str, counts: bytes) -> None:
        """The newest word of a worker; raises CodecError."""

    def lose(self, worker: str) -> None:
        """A worker has ended; another one of its name may begin."""

    def total(self) -> bytes:
        """All together."""


class Ids(Protocol):
    """Where ids come from."""

    async def draw(self, count: int) -> list[int]:
        """So many, higher than all before; a refusal is raised as `KvError`."""


class WorkerPort:
    """Args:
    control: whose map and answers the workers get.
    tally: is told what they count.
    ids: draws those that rise for all workers together.
    """

    def __init__(self, control: Control, tally: Tally, ids: Ids) -> None:
        self._control = control
        self._tally = tally
        self._ids = ids
        self._connections: set[Connection] = set()
        self._subscriptions: dict[Connection, Callable[[], None]] = {}
        self._calls: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self, path: Path) -> None:
        """Accept workers there.

        Raises:
            OperatorError: no socket can be made there.
        """
        try:
            self._server = await asyncio.get_running_loop().create_unix_server(self._accept, str(path))
        except OSError as error:
            raise OperatorError(f"cannot listen at {path}: {error.strerror or error}") from error

    async def close(self) -> None:
        """Cut every worker off."""
        if self._server is not None:
            self._server.close()
        for task in self._calls:
            task.cancel()
        for connection in list(self._connections):
            connection.close("control ends")

    def _accept(self) -> Connection:
        connection = Connection(self._received, cluster_id=NO_CLUSTER, dialled=False, on_closed=self._closed)
        self._connections.add(connection)
        return connection

    def _received(self, connection: Connection, envelope: Envelope) -> None:
        try:
            self._take(connection, envelope.call, envelope.body)
        except CodecError as error:
            connection.close(f"{type(envelope.body).__name__}: {error}")

    def _take(self, connection: Connection, call: int, body: Body) -> None:
        if connection in self._subscriptions:
            if isinstance(body, AskControl) and call:
                self._spawn(connection, call, self._carry_out(codec.decode_request(body.request)))
                return
            if isinstance(body, DrawIds) and call:
                self._spawn(connection, call, self._draw(body.count))
                return
            if isinstance(body, WorkerCounts):
                self._tally.take(connection.peer, body.counts)
                if call:
                    connection.answer(call, WorkerCounts(self._tally.total()), PRIORITY_CONTROL)
                return
        elif isinstance(body, Hello) and call and body.role == ROLE:
            self._welcome(connection, call, body)
            return
        connection.close(f"unexpected message {type(body).__name__}")

    def _welcome(self, connection: Connection, call: int, hello: Hello) -> None:
        if any(other.peer == hello.sender for other in self._subscriptions):
            connection.close("a worker of this name is connected")
            return
        connection.peer, connection.role = hello.sender, hello.role
        connection.answer(call, Welcome(self._control.cluster_id, NAME, 0), PRIORITY_CONTROL)

        def tell(update: MapUpdate) -> None:
            if not connection.cast(update, PRIORITY_CONTROL):
                connection.close("it does not take what it is told")

        self._subscriptions[connection] = self._control.subscribe(tell)

    def _spawn(self, connection: Connection, call: int, answering: Coroutine[Any, Any, Body]) -> None:
        task = asyncio.get_running_loop().create_task(self._answer(connection, call, answering))
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    async def _carry_out(self, request: Request) -> Body:
        return ControlAnswer(codec.encode(await self._control.carry_out(request)))

    async def _draw(self, count: int) -> Body:
        return DrawnIds(await self._ids.draw(count))

    async def _answer(self, connection: Connection, call: int, answering: Coroutine[Any, Any, Body]) -> None:
        try:
            answer = await answering
        except KvError as error:
            answer = Failed(Fault(error.code, error.detail))
        except Exception as error:
            structlog.get_logger().error("control broke on what a worker asked", worker=connection.peer, exc_info=error)
            answer = Failed(Fault(KvError.code, "an error of the gateway; its log says more"))
        connection.answer(call, answer, PRIORITY_CONTROL)

    def _closed(self, connection: Connection, _error: Exception | None) -> None:
        self._connections.discard(connection)
        stop = self._subscriptions.pop(connection, None)
        if stop is not None:
            stop()
            self._tally.lose(connection.peer)
