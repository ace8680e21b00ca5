"""Control's connection to one node, as numbered events.

Guarantees: every connection that stands is announced with a fresh number, and its end with the same number; what a
node says is passed on under the number of its connection; nothing is passed on after `close`. Leaves to others:
dialling (`kvstore.rpc.client`), meaning (`controller`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from cluster.control.events import (
    AnswerCas,
    AskCopies,
    CasAsked,
    Connected,
    CopiesFailed,
    CopiesMade,
    DialFailed,
    DialProblem,
    Disconnected,
    Event,
    Reported,
)
from kvstore.messages import CompareAndSet, CopiesCreated, CreateCopies, Envelope, Failed, MapUpdate, NodeReport
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection, Lost, RpcError, TimedOut

COPIES_TIMEOUT_S = 15.0


class NodeLink:
    """Keeps a connection to `node` at `address`.

    Args:
        next_number: gives each connection its number.
        emit: takes every event.
    """

    def __init__(
        self,
        node: str,
        address: str,
        identity: Identity,
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

    def ask_copies(self, effect: AskCopies) -> None:
        """Ask for copies; what comes of it is an event."""
        task = asyncio.get_running_loop().create_task(self._create_copies(effect))
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
            self._send_event(CopiesFailed(self._node, effect.connection, str(error)))
            return
        if isinstance(answer, CopiesCreated):
            self._send_event(CopiesMade(self._node, effect.connection, tuple(answer.rids)))
        else:
            detail = answer.fault.detail if isinstance(answer, Failed) else f"answered by {type(answer).__name__}"
            self._send_event(CopiesFailed(self._node, effect.connection, detail))

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
            self._send_event(Connected(self._node, self._number, connection.boot))

    def _down(self) -> None:
        self._send_event(Disconnected(self._node, self._number))

    def _failed(self, error: Exception) -> None:
        if isinstance(error, TimedOut | TimeoutError):
            problem = DialProblem.SILENT
        elif isinstance(error, RpcError) and not isinstance(error, Lost):
            problem = DialProblem.REFUSED
        else:
            problem = DialProblem.UNREACHABLE
        self._send_event(DialFailed(self._node, problem, str(error) or "no answer in time"))
