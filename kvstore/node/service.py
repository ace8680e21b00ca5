"""What a node answers: calls of gateways, control and other nodes.

Guarantees: nothing is served before `Hello` named the same cluster; each role may only say what belongs to it; an
unexpected message closes the connection. Leaves to others: the protocol (`partitions`), effects (`shell`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine

import structlog

from kvstore.codec import FORMAT
from kvstore.messages import (
    Acked,
    Append,
    CopiesCreated,
    CreateCopies,
    CutTail,
    DigestOf,
    Envelope,
    EpochVector,
    Failed,
    Fault,
    Hello,
    MapUpdate,
    Read,
    Reconcile,
    Refused,
    Welcome,
    Write,
)
from kvstore.node.digest import digest_copy
from kvstore.node.pending import PendingCall
from kvstore.node.shell import Shell
from kvstore.replication.leader import LATER
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection

REPLICATION = (Reconcile, Append, CutTail, EpochVector, Acked, Refused)
DIGEST_POLL_S = 0.02
READ_BYTES_MAX = 16 * 1024 * 1024

TOO_MUCH = Fault("body_too_large", "the answer is full: get this key in another batch")

log = structlog.get_logger("node")


class Service:
    """Args: on_admitted: called at the first map update."""

    def __init__(self, on_admitted: Callable[[], None]) -> None:
        self.is_admitted = False
        self._on_admitted = on_admitted
        self._shell: Shell | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    def bind(self, shell: Shell) -> None:
        """Serve with this shell."""
        self._shell = shell

    @property
    def shell(self) -> Shell:
        assert self._shell is not None, "bound before the first connection"
        return self._shell

    def handle(self, connection: Connection, envelope: Envelope) -> None:
        """A call or a one-way message arrived."""
        body = envelope.body
        if isinstance(body, Read):
            self._read(connection, envelope.call, body)
        elif isinstance(body, Write):
            self._write(connection, envelope.call, body)
        elif isinstance(body, REPLICATION) and connection.peer:
            shell = self.shell
            effects = shell.partitions.handle(connection.peer, body, shell.now())
            if effects:
                shell.perform(effects)
            shell.schedule()
        elif isinstance(body, Hello):
            self._hello(connection, envelope.call, body)
        elif not connection.role and not connection.peer:
            connection.close("the first message is hello")
        elif isinstance(body, DigestOf):
            self._spawn(self._digest(connection, envelope, body))
        elif connection.role == "control":
            self._from_control(connection, envelope)
        else:
            connection.close(f"unexpected message {type(body).__name__}")

    # ---- handshake and control ----------------------------------------------------------------------------------

    def _hello(self, connection: Connection, call: int, hello: Hello) -> None:
        shell = self.shell
        state = shell.partitions.state
        refusal = self._refusal(hello)
        if refusal:
            connection.answer(call, Failed(Fault("conflict", refusal)), PRIORITY_CONTROL)
            return
        connection.peer, connection.role = hello.sender, hello.role
        welcome = Welcome(hello.cluster_id, state.node_id, state.boot)
        if state.cluster_id:
            connection.answer(call, welcome, PRIORITY_CONTROL)
            return
        shell.partitions.join(hello.cluster_id)
        shell.after_batch(lambda: connection.answer(call, welcome, PRIORITY_CONTROL))

    def _refusal(self, hello: Hello) -> str:
        state = self.shell.partitions.state
        if hello.format != FORMAT:
            return f"this node speaks format {FORMAT}, not {hello.format}"
        if state.cluster_id and hello.cluster_id != state.cluster_id:
            return (
                f"the data directory of node {state.node_id} belongs to cluster {state.cluster_id.hex()}, "
                f"not to cluster {hello.cluster_id.hex()}"
            )
        if not state.cluster_id and hello.role != "control":
            return "this node is not admitted to a cluster yet"
        return ""

    def _from_control(self, connection: Connection, envelope: Envelope) -> None:
        shell, body = self.shell, envelope.body
        if isinstance(body, MapUpdate):
            shell.control = connection
            shell.on_nodes(body.nodes)
            shell.on_entries(body.entries)
            shell.send_report()
            if not self.is_admitted:
                self.is_admitted = True
                self._on_admitted()
        elif isinstance(body, CreateCopies):
            created = CopiesCreated(shell.partitions.create_copies(body.pids))
            shell.after_batch(lambda: connection.answer(envelope.call, created, PRIORITY_CONTROL))
        else:
            connection.close(f"unexpected message {type(body).__name__}")

    def closed(self, connection: Connection) -> None:
        """A connection that this node accepted is gone."""
        if self._shell is not None and self._shell.control is connection:
            self._shell.control = None

    # ---- data ---------------------------------------------------------------------------------------------------

    def _read(self, connection: Connection, call: int, message: Read) -> None:
        if connection.role != "gateway":
            connection.close("only a gateway reads and writes")
            return
        shell = self.shell
        view, now = shell.view(), shell.now()
        read = shell.partitions.read
        pending = PendingCall(connection, call, now.wall_ms)
        results = pending.results
        left_bytes = READ_BYTES_MAX
        for index, one in enumerate(message.reads):
            row = read((pending, index), one, view, now) if left_bytes > 0 else TOO_MUCH
            results.append(row)
            if row is LATER:
                pending.open_parts += 1
            elif isinstance(row, bytes):
                left_bytes -= len(row)
        shell.metrics.reads += len(results)
        if not pending.open_parts:
            pending.send()

    def _write(self, connection: Connection, call: int, message: Write) -> None:
        if connection.role != "gateway":
            connection.close("only a gateway reads and writes")
            return
        shell = self.shell
        view, now = shell.view(), shell.now()
        write = shell.partitions.write
        pending = PendingCall(connection, call, None)
        results = pending.results
        for index, one in enumerate(message.writes):
            result = write((pending, index), one, view, now)
            results.append(result)
            if result is LATER:
                pending.open_parts += 1
        shell.metrics.writes += len(results)
        if not pending.open_parts:
            pending.send()

    async def _digest(self, connection: Connection, envelope: Envelope, body: DigestOf) -> None:
        shell = self.shell
        partition = shell.partitions.get(body.pid)
        if partition is None:
            connection.answer(envelope.call, Failed(Fault("not_found", f"no copy of partition {body.pid} here")))
            return
        loop = asyncio.get_running_loop()
        deadline = loop.time() + envelope.deadline_ms / 1000
        while partition.copy.applied_seq < body.at_seq and loop.time() < deadline:
            shell.apply_soon()
            await asyncio.sleep(DIGEST_POLL_S)
        result = await asyncio.to_thread(digest_copy, shell.engine, body.pid, partition.copy.prefix)
        connection.answer(envelope.call, result)

    def _spawn(self, coroutine: Coroutine[None, None, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
