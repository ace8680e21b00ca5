"""Control's connection to one node, as numbered events.

Guarantees: every connection that stands is announced with a fresh number, and its end with the same number; what a
node says is passed on under the number of its connection; nothing is passed on after `close`. Leaves to others:
dialling (`kvstore.rpc.client`), meaning (`controller`).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Coroutine
from dataclasses import replace

from cluster.control.events import (
    AnswerCas,
    AskCopies,
    AskSplit,
    CasAsked,
    Compare,
    Compared,
    Connected,
    CopiesFailed,
    CopiesMade,
    DialFailed,
    DialProblem,
    Disconnected,
    DropOrphans,
    Event,
    Reported,
    Retired,
    RetireNode,
    SplitTold,
)
from kvstore.messages import (
    CompareAndSet,
    CopiesCreated,
    CreateCopies,
    Done,
    DropCopies,
    Envelope,
    Failed,
    FindSplit,
    MapUpdate,
    NodeReport,
    Retire,
    SplitBy,
    SplitFound,
    Verified,
    Verify,
)
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection, Lost, NotSent, RpcError, TimedOut

COPIES_TIMEOUT_S = 15.0
SPLIT_TIMEOUT_S = 5.0
RETIRE_TIMEOUT_S = 5.0
COMPARE_TIMEOUT_S = 5.0
COMPARE_POLL_S = 0.1
MOVE_NAME_BYTES = 16


class NodeLink:
    """Keeps a connection to `node` at `address`.

    Args:
        boot_floor: the highest boot counter that is known of the node, asked at each dial.
        next_number: gives each connection its number.
        emit: takes every event.
    """

    def __init__(
        self,
        node: str,
        address: str,
        identity: Identity,
        boot_floor: Callable[[], int],
        next_number: Callable[[], int],
        emit: Callable[[Event], None],
    ) -> None:
        self._node = node
        self._next_number = next_number
        self._emit = emit
        self._number = 0
        self._is_closed = False
        self._calls: set[asyncio.Task[None]] = set()
        self._link = Link(
            node,
            address,
            identity,
            self._received,
            on_up=self._up,
            on_down=self._down,
            on_failed=self._failed,
            boot_floor=boot_floor,
        )
        self._link.start()

    async def close(self) -> None:
        """Hang up."""
        self._is_closed = True
        for task in self._calls:
            task.cancel()
        await self._link.close()

    def cut(self, number: int, reason: str) -> None:
        """End that connection, if it still stands."""
        connection = self._standing(number)
        if connection is not None:
            connection.close(reason)

    def tell(self, number: int, update: MapUpdate) -> None:
        """Send an update; a connection that cannot take it is cut, for its node would miss a change."""
        connection = self._standing(number)
        if connection is not None and not connection.cast(update, PRIORITY_CONTROL):
            connection.close("the outgoing queue is full")

    def answer_cas(self, effect: AnswerCas) -> None:
        """Answer a compare-and-set on the connection on which it was asked."""
        connection = self._standing(effect.connection)
        if connection is not None:
            connection.answer(effect.call, effect.answer, PRIORITY_CONTROL)

    def drop_orphans(self, effect: DropOrphans) -> None:
        """Say which copies nobody needs; what is lost on the way is said again after the node's next report."""
        connection = self._standing(effect.connection)
        if connection is not None:
            connection.cast(DropCopies(list(effect.entries)), PRIORITY_CONTROL)

    def ask_copies(self, effect: AskCopies) -> None:
        """Ask for copies; what comes of it is an event."""
        self._call(self._create_copies(effect))

    def compare(self, effect: Compare) -> None:
        """Have a leader compare a copy with its own; what comes of it is an event."""
        self._call(self._compare(effect))

    def ask_split(self, effect: AskSplit) -> None:
        """Ask a leader where its partition is to be split; what it says is an event."""
        self._call(self._find_split(effect))

    def retire(self, effect: RetireNode) -> None:
        """Tell the node that it is no member any more; that it knows is an event."""
        self._call(self._retire(effect))

    def _call(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._calls.add(task)
        task.add_done_callback(self._calls.discard)

    def _standing(self, number: int) -> Connection | None:
        return self._link.connection if number == self._number else None

    def _send_event(self, event: Event) -> None:
        if not self._is_closed:
            self._emit(event)

    async def _create_copies(self, effect: AskCopies) -> None:
        connection = self._standing(effect.connection)
        try:
            if connection is None:
                raise RpcError("the connection is gone")
            answer = await connection.call(CreateCopies(list(effect.pids)), COPIES_TIMEOUT_S, PRIORITY_CONTROL)
        except RpcError as error:
            self._send_event(CopiesFailed(self._node, effect.connection, effect.pids, str(error)))
            return
        if isinstance(answer, CopiesCreated) and {pid for pid, _ in answer.rids}.issuperset(effect.pids):
            self._send_event(CopiesMade(self._node, effect.connection, tuple(answer.rids)))
        else:
            detail = answer.fault.detail if isinstance(answer, Failed) else f"answered by {type(answer).__name__}"
            self._send_event(CopiesFailed(self._node, effect.connection, effect.pids, detail))

    async def _compare(self, effect: Compare) -> None:
        answer = await self._verdict(effect)
        compared = Compared(effect.move, effect.pid, effect.epoch)
        if isinstance(answer, str):
            compared = replace(compared, failed=answer)
        elif answer.state == "different":
            compared = replace(compared, differences=_differences(answer))
        elif answer.state != "clean" or answer.epoch != effect.epoch:
            compared = replace(compared, failed=answer.detail or f"compared in epoch {answer.epoch}")
        self._send_event(compared)

    async def _verdict(self, effect: Compare) -> Verified | str:
        """What the leader says once it has compared, or why it does not."""
        name = effect.move.to_bytes(MOVE_NAME_BYTES, "big")
        while True:
            connection = self._standing(effect.connection)
            if connection is None:
                return "the connection is gone"
            question = Verify(effect.pid, effect.ver, name, [effect.rid])
            try:
                answer = await connection.call(question, COMPARE_TIMEOUT_S, PRIORITY_CONTROL)
            except RpcError as error:
                return str(error)
            if not isinstance(answer, Verified):
                return answer.fault.detail if isinstance(answer, Failed) else f"answered by {type(answer).__name__}"
            if answer.state != "running":
                return answer
            await asyncio.sleep(COMPARE_POLL_S)

    async def _find_split(self, effect: AskSplit) -> None:
        connection = self._standing(effect.connection)
        if connection is None:
            return
        question = FindSplit(effect.pid, effect.ver, SplitBy(effect.by), effect.start, effect.end)
        with contextlib.suppress(RpcError):
            answer = await connection.call(question, SPLIT_TIMEOUT_S, PRIORITY_CONTROL)
            if isinstance(answer, SplitFound):
                self._send_event(SplitTold(self._node, effect.pid, answer.key, answer.reason))

    async def _retire(self, effect: RetireNode) -> None:
        connection = self._standing(effect.connection)
        if connection is None:
            return
        with contextlib.suppress(RpcError):
            if isinstance(await connection.call(Retire(), RETIRE_TIMEOUT_S, PRIORITY_CONTROL), Done):
                self._send_event(Retired(self._node, effect.connection))

    def _received(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if connection is not self._link.connection:
            connection.close("a node speaks after welcome")
        elif isinstance(body, CompareAndSet) and envelope.call:
            self._send_event(CasAsked(self._node, self._number, envelope.call, tuple(body.entries)))
        elif isinstance(body, NodeReport):
            self._send_event(Reported(self._node, self._number, body))
        else:
            connection.close(f"unexpected message {type(body).__name__}")

    def _up(self, connection: Connection) -> None:
        if connection.is_open:
            self._number = self._next_number()
            self._send_event(
                Connected(self._node, self._number, connection.boot, connection.process, connection.is_new)
            )

    def _down(self) -> None:
        self._send_event(Disconnected(self._node, self._number))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TimedOut | TimeoutError):
            problem = DialProblem.SILENT
        elif isinstance(error, RpcError) and not isinstance(error, Lost | NotSent):
            problem = DialProblem.REFUSED
        else:
            problem = DialProblem.UNREACHABLE
        self._send_event(DialFailed(self._node, problem, str(error) or "no answer in time"))


def _differences(verified: Verified) -> tuple[str, ...]:
    keys = tuple(f"key {one.key!r}" for one in verified.keys)
    return keys or tuple(verified.parts) or ("nothing that can be named",)
