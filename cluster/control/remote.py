"""Control in another process of the same gateway, as a worker sees it.

Guarantees: subscribers get the map and its changes as they would from control itself; a request ends as control ends
it, and where the connection or its time ends first, as one that changed nothing only if that is sure. Once the
connection is gone `wait_failed` says so, and nothing comes any more: it is not made anew. Leaves to others: control
(`worker_port`), and what the worker counts (`gateway.counts`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from cluster.cluster_map import ClusterMap
from cluster.control import codec
from cluster.control.asks import OWN_REQUESTS
from cluster.control.interface import Control
from cluster.control.messages import Answer, ChangeRequest, Request
from cluster.control.worker_port import NO_CLUSTER, ROLE
from kvstore.codec import FORMAT, CodecError
from kvstore.errors import KvError, NoLeader, OperatorError, OutcomeUnknown, ShuttingDown, from_code
from kvstore.messages import (
    AskControl,
    Body,
    ControlAnswer,
    DrawIds,
    DrawnIds,
    Envelope,
    Failed,
    Hello,
    MapUpdate,
    Welcome,
    WorkerCounts,
)
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection, NotSent, RpcError, TimedOut

HELLO_S_MAX = 10.0
# Of what this process cannot do without, which control answers when the map store does.
ANSWER_S_MAX = 86_400.0
# Control ends every other request in its time; where it does not even that, it stands still.
LATE_S = 2.0
# Longer than ids are waited for there, which is as long as any request may take.
IDS_S_MAX = 65.0
COUNTS_S_MAX = 5.0


class ControlLost(Exception):
    """The connection to control is gone."""


class RemoteControl(Control):
    """Args:
    path: of the socket where control listens.
    worker: the name of this worker, which no other one has.
    timeout_s: how long control lets those wait who ask it.
    """

    def __init__(self, path: Path, worker: str, timeout_s: float) -> None:
        self._path = path
        self._worker = worker
        self._answer_s = timeout_s + LATE_S
        self._cluster_id = b""
        self._map = ClusterMap.empty(b"")
        self._subscribers: list[Callable[[MapUpdate], None]] = []
        self._connection: Connection | None = None
        loop = asyncio.get_running_loop()
        self._knows_map: asyncio.Future[None] = loop.create_future()
        self._lost: asyncio.Future[None] = loop.create_future()

    @property
    def cluster_id(self) -> bytes:
        return self._cluster_id

    async def start(self) -> None:
        """Connect, and wait for the map.

        Raises:
            OperatorError: nobody answers there.
        """
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(HELLO_S_MAX):
                _, self._connection = await loop.create_unix_connection(self._connect, str(self._path))
                hello = Hello(NO_CLUSTER, self._worker, ROLE, FORMAT)
                answer = await self._connection.call(hello, HELLO_S_MAX, PRIORITY_CONTROL)
                if not isinstance(answer, Welcome):
                    raise OperatorError(f"control answered hello by {type(answer).__name__}")
                self._cluster_id = answer.cluster_id
                await self._knows_map
        except (OSError, RpcError, TimeoutError) as error:
            raise OperatorError(f"control does not answer at {self._path}: {error or 'no answer in time'}") from error

    async def close(self) -> None:
        """Send what is queued, and hang up. Again: nothing."""
        if self._connection is not None:
            await self._connection.drain_and_close()
        self._lost.cancel()
        self._knows_map.cancel()

    async def wait_failed(self) -> None:
        await asyncio.shield(self._lost)

    def subscribe(self, callback: Callable[[MapUpdate], None]) -> Callable[[], None]:
        callback(self._map.full_update())
        self._subscribers.append(callback)
        return lambda: self._subscribers.remove(callback)

    async def carry_out(self, request: Request) -> Answer:
        try:
            answer_s = ANSWER_S_MAX if isinstance(request, OWN_REQUESTS) else self._answer_s
            answer = await self._call(AskControl(codec.encode(request)), answer_s)
            if isinstance(answer, ControlAnswer):
                return codec.decode_answer(request, answer.answer)
        except NotSent as error:
            raise ShuttingDown("the gateway is stopping") from error
        except (RpcError, CodecError) as error:
            unanswered = NoLeader if isinstance(error, TimedOut) else ShuttingDown
            kind = OutcomeUnknown if isinstance(request, ChangeRequest) else unanswered
            raise kind(f"control did not answer: {error}") from error
        if isinstance(answer, Failed):
            raise from_code(answer.fault.code, answer.fault.detail)
        raise KvError(f"control answered by {type(answer).__name__}")

    def tell_counts(self, counts: bytes) -> None:
        """What this worker has counted so far; where it is lost, the next word holds it too."""
        if self._connection is not None:
            self._connection.cast(WorkerCounts(counts), PRIORITY_CONTROL)

    async def all_counts(self, counts: bytes) -> bytes:
        """What all workers have counted, this one as told here.

        Raises:
            NoLeader: control does not answer.
            ShuttingDown: it does not any more.
        """
        answer = await self._promptly(WorkerCounts(counts), COUNTS_S_MAX)
        if not isinstance(answer, WorkerCounts):
            raise KvError(f"control answered by {type(answer).__name__}")
        return answer.counts

    async def draw(self, count: int) -> list[int]:
        """So many ids, rising, and higher than all that any worker of this gateway got before.

        Raises:
            NoLeader: as control says, for it has no window of time for them, or it does not answer.
            ShuttingDown: it does not any more.
        """
        answer = await self._promptly(DrawIds(count), IDS_S_MAX)
        if isinstance(answer, Failed):
            raise from_code(answer.fault.code, answer.fault.detail)
        if not isinstance(answer, DrawnIds):
            raise KvError(f"control answered by {type(answer).__name__}")
        return answer.ids

    async def _promptly(self, body: WorkerCounts | DrawIds, timeout_s: float) -> Body:
        """The answer to a question that may be asked again."""
        try:
            return await self._call(body, timeout_s)
        except TimedOut as error:
            raise NoLeader("the control of this gateway does not answer") from error
        except RpcError as error:
            raise ShuttingDown("the gateway is stopping") from error

    def _call(self, body: AskControl | WorkerCounts | DrawIds, timeout_s: float) -> asyncio.Future[Body]:
        if self._connection is None:
            raise NotSent("control is not connected")
        return self._connection.call(body, timeout_s, PRIORITY_CONTROL)

    def _connect(self) -> Connection:
        return Connection(self._received, cluster_id=NO_CLUSTER, dialled=True, on_closed=self._closed)

    def _received(self, connection: Connection, envelope: Envelope) -> None:
        update = envelope.body
        if not isinstance(update, MapUpdate):
            connection.close(f"unexpected message {type(update).__name__}")
            return
        self._map = self._map.updated(update)
        if not self._knows_map.done():
            self._knows_map.set_result(None)
        for callback in list(self._subscribers):
            callback(update)

    def _closed(self, connection: Connection, _error: Exception | None) -> None:
        if not self._lost.done():
            self._lost.set_exception(ControlLost(connection.close_reason or "the connection to control is gone"))
            # Nobody may wait for it, and asyncio complains of an error that is not looked at.
            self._lost.exception()
