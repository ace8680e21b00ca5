"""What a node answers: calls of gateways, control and other nodes.

Guarantees: nothing is served before `Hello` named the same cluster, which is said once; each role may only say what
belongs to it; an unexpected message closes the connection. Leaves to others: the protocol (`partitions`), effects
(`shell`).
"""

from __future__ import annotations

from collections.abc import Callable

import structlog

from kvstore.codec import FORMAT
from kvstore.doubts import TxnCall, TxnNews
from kvstore.messages import (
    Acked,
    Append,
    AskDigests,
    AskHeat,
    BeginBackfill,
    Confirm,
    Confirmed,
    CopiesCreated,
    CountKeys,
    CreateCopies,
    CutTail,
    Digests,
    Done,
    DropCopies,
    Envelope,
    EpochVector,
    Failed,
    Fault,
    FindSplit,
    Hello,
    KeysFound,
    ListPrepared,
    MapUpdate,
    Ping,
    Pong,
    PullChunk,
    PullKeys,
    Read,
    ReadOne,
    ReadResult,
    ReadStale,
    Reconcile,
    Refused,
    ResolveTxns,
    Retire,
    Scan,
    SeekKeys,
    TxnsResolved,
    Verify,
    Welcome,
    Write,
)
from kvstore.node.bulk import ROLE
from kvstore.node.pending import PendingCall, PendingOne, PendingStale, PendingUrgent
from kvstore.node.scanner import Scanner
from kvstore.node.shell import Shell
from kvstore.node.split_finder import SplitFinder
from kvstore.replication.answers import LATER, Later
from kvstore.rpc.connection import PRIORITY_CONTROL, Connection

REPLICATION = (Reconcile, Append, CutTail, EpochVector, Acked, Refused, BeginBackfill, SeekKeys, KeysFound)
BETWEEN_NODES = (Ping, Pong, Confirm, Confirmed, AskDigests, Digests)
# On a connection that this node dialled the other end says no role.
PEERS = ("node", "")
VERIFIERS = ("gateway", "control", "admin")
ROLES = ("gateway", "control", "node", ROLE, "admin")
CLUSTER_ID_BYTES = 8
READ_BYTES_MAX = 16 * 1024 * 1024

TOO_MUCH = Fault("body_too_large", "the answer is full: get this key in another batch")

log = structlog.get_logger("node")


class Service:
    """Args:
    on_admitted: called at the first map update.
    on_retired: called when control was answered that this node knows that it is no member any more.
    process: the random name of this process.
    is_new: whether its store belonged to no cluster when it started.
    """

    def __init__(
        self, on_admitted: Callable[[], None], on_retired: Callable[[], None], process: bytes, is_new: bool
    ) -> None:
        self.is_admitted = False
        self._process = process
        self._is_new = is_new
        self._on_admitted = on_admitted
        self._on_retired = on_retired
        self._shell: Shell | None = None
        self._scanner: Scanner | None = None
        self._split_finder: SplitFinder | None = None

    def bind(self, shell: Shell) -> None:
        """Serve with this shell."""
        self._shell = shell
        self._scanner = Scanner(shell)
        self._split_finder = SplitFinder(shell.engine, shell.partitions)

    @property
    def shell(self) -> Shell:
        assert self._shell is not None, "bound before the first connection"
        return self._shell

    @property
    def scanner(self) -> Scanner:
        assert self._scanner is not None, "bound before the first connection"
        return self._scanner

    @property
    def split_finder(self) -> SplitFinder:
        assert self._split_finder is not None, "bound before the first connection"
        return self._split_finder

    def handle(self, connection: Connection, envelope: Envelope) -> None:
        """A call or a one-way message arrived."""
        body = envelope.body
        if isinstance(body, Read):
            self._read(connection, envelope.call, body)
        elif isinstance(body, Write):
            self._write(connection, envelope.call, body)
        elif isinstance(body, Scan | CountKeys) and connection.role == "gateway":
            self.scanner.ask(connection, envelope.call, body, envelope.deadline_ms)
        elif isinstance(body, REPLICATION) and connection.peer and connection.role in PEERS:
            self.shell.receive(connection.peer, body)
        elif isinstance(body, ReadStale):
            self._read_stale(connection, envelope.call, body)
        elif isinstance(body, PullChunk | PullKeys) and connection.role == ROLE:
            self.shell.bulk.asked(connection)
            self.shell.receive(connection.peer, body)
        elif isinstance(body, TxnCall) and connection.role == "gateway":
            self._transact(connection, envelope.call, body)
        elif isinstance(body, ResolveTxns) and envelope.call and connection.role == "gateway":
            self._resolve(connection, envelope.call, body)
        elif isinstance(body, TxnNews) and connection.peer and connection.role in (*PEERS, "gateway"):
            shell = self.shell
            view, now = shell.view(), shell.now_after_view()
            shell.perform(shell.partitions.doubts.on_news(connection.peer, body, view, now))
        elif isinstance(body, ListPrepared) and connection.role in VERIFIERS:
            connection.answer(envelope.call, self.shell.partitions.doubts.listed(body, self.shell.now()))
        elif isinstance(body, BETWEEN_NODES) and connection.peer and connection.role in PEERS:
            # What is granted or told counts from when the question came, which this turn's instant may precede.
            shell = self.shell
            shell.perform(shell.partitions.handle(connection.peer, body, shell.fresh_now()))
            shell.schedule()
        elif isinstance(body, Hello):
            self._hello(connection, envelope.call, body)
        elif not connection.role and not connection.peer:
            connection.close("the first message is hello")
        elif isinstance(body, Verify) and connection.role in VERIFIERS:
            answer = self.shell.partitions.verifications.ask(body, self.shell.now())
            connection.answer(envelope.call, Failed(answer) if isinstance(answer, Fault) else answer)
            self.shell.schedule()
        elif isinstance(body, AskHeat) and connection.role in VERIFIERS:
            partitions = self.shell.partitions
            connection.answer(envelope.call, partitions.heat.answer(body, partitions.copies(body.pids)))
        elif connection.role == "control":
            self._from_control(connection, envelope)
        else:
            connection.close(f"unexpected message {type(body).__name__}")

    # ---- handshake and control ----------------------------------------------------------------------------------

    def _hello(self, connection: Connection, call: int, hello: Hello) -> None:
        if connection.role or connection.peer:
            # What is known of a connection, as where chunks go, is known by the name that it had then.
            connection.close("hello was said before")
            return
        shell = self.shell
        refusal = self._refusal(hello)
        if refusal:
            connection.answer(call, Failed(Fault("conflict", refusal)), PRIORITY_CONTROL)
            return
        connection.peer, connection.role = hello.sender, hello.role

        def welcome() -> None:
            state = shell.partitions.state
            answer = Welcome(hello.cluster_id, state.node_id, state.boot, self._process, self._is_new)
            connection.answer(call, answer, PRIORITY_CONTROL)

        if hello.role == "control":
            shell.partitions.join(hello.cluster_id, hello.boot_floor)
            # Always after a batch: what an earlier hello joined may not be durable yet.
            shell.after_batch(welcome)
        else:
            welcome()

    def _refusal(self, hello: Hello) -> str:
        state = self.shell.partitions.state
        if hello.format != FORMAT:
            return f"this node speaks format {FORMAT}, not {hello.format}"
        if hello.role not in ROLES or not hello.sender:
            return f"nobody is {hello.sender!r} in the role {hello.role!r}"
        if len(hello.cluster_id) != CLUSTER_ID_BYTES:
            # It would become this node's own, for good.
            return f"there is no cluster {hello.cluster_id.hex()}"
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
            if shell.controls.heard(connection, body):
                shell.on_nodes(body.nodes)
                if body.rebalance is not None:
                    shell.partitions.filling.steer(body.rebalance)
            shell.on_entries(body.entries)
            shell.send_report()
            if not self.is_admitted:
                self.is_admitted = True
                self._on_admitted()
        elif isinstance(body, DropCopies):
            shell.perform(shell.partitions.drop_copies(body.entries))
            shell.schedule()
        elif isinstance(body, CreateCopies):
            created = CopiesCreated(shell.partitions.create_copies(body.pids))
            shell.after_batch(lambda: connection.answer(envelope.call, created, PRIORITY_CONTROL))
        elif isinstance(body, FindSplit):
            self.split_finder.ask(connection, envelope.call, body)
        elif isinstance(body, Retire):
            shell.partitions.retire()
            shell.after_batch(lambda: self._retired(connection, envelope.call))
        else:
            connection.close(f"unexpected message {type(body).__name__}")

    def _retired(self, connection: Connection, call: int) -> None:
        connection.answer(call, Done(), PRIORITY_CONTROL)
        self._on_retired()

    def closed(self, connection: Connection) -> None:
        """A connection that this node accepted is gone."""
        if self._shell is not None:
            self._shell.controls.closed(connection)
            self._shell.bulk.closed(connection)

    # ---- data ---------------------------------------------------------------------------------------------------

    def _read(self, connection: Connection, call: int, message: Read) -> None:
        if connection.role != "gateway":
            connection.close("only a gateway reads and writes")
            return
        if not (message.is_quorum or message.tells_absences) and self._read_at_once(connection, call, message.reads):
            return
        shell = self.shell
        view, now = shell.view(), shell.now_after_view()
        read = shell.partitions.reads.quorum if message.is_quorum else shell.partitions.reads.plain
        pending = (
            PendingUrgent(connection, call, now.wall_ms, now.mono_ms, shell.urgent)
            if message.is_urgent
            else PendingCall(connection, call, now.wall_ms, now.mono_ms)
        )
        results = pending.results
        left_bytes = READ_BYTES_MAX
        for index, one in enumerate(message.reads):
            row = read((pending, index), one, view, now) if left_bytes > 0 else TOO_MUCH
            results.append(row)
            if row is LATER:
                pending.open_parts += 1
            elif isinstance(row, bytes):
                left_bytes -= len(row)
        if message.tells_absences:
            absence = shell.partitions.reads.absence
            pairs = zip(message.reads, results, strict=True)
            # Asked in the turn of the reads: what was found later is told without.
            pending.absences = [absence(one) if row is None else None for one, row in pairs]
        if message.is_quorum:
            shell.metrics.quorum_reads += len(results)
        shell.metrics.reads += len(results)
        shell.metrics.queued += pending.open_parts
        if not pending.open_parts:
            pending.send()
        elif isinstance(pending, PendingUrgent) and pending.is_partly_known:
            pending.answer_known()

    def _read_at_once(self, connection: Connection, call: int, reads: list[ReadOne]) -> bool:
        """Answer, if that takes no more than a look, in a view of its own: so no turn of the shell has to close it."""
        shell = self.shell
        view = shell.engine.snapshot()
        try:
            now = shell.clock.now()
            rows = shell.partitions.reads.at_once(reads, view, now, READ_BYTES_MAX)
        finally:
            view.close()
        if rows is None:
            return False
        shell.metrics.reads += len(rows)
        connection.answer(call, ReadResult(now.wall_ms, [*rows]))
        return True

    def _read_stale(self, connection: Connection, call: int, message: ReadStale) -> None:
        if connection.role != "gateway":
            connection.close("only a gateway reads and writes")
            return
        shell = self.shell
        view, now = shell.view(), shell.now_after_view()
        pending = PendingStale(connection, call, now.wall_ms, now.mono_ms)
        answer = shell.partitions.reads.stale((pending, 0), message, view, now)
        shell.metrics.reads += 1
        shell.metrics.stale_reads += 1
        if isinstance(answer, Later):
            pending.results, pending.open_parts = [answer], 1
            shell.metrics.queued += 1
        else:
            connection.answer(call, Failed(answer) if isinstance(answer, Fault) else answer)

    def _transact(self, connection: Connection, call: int, asked: TxnCall) -> None:
        shell = self.shell
        view, now = shell.view(), shell.now_after_view()
        pending = PendingOne(connection, call, None, now.mono_ms)
        answer = shell.partitions.doubts.call((pending, 0), asked, view, now, shell.partitions.is_full)
        pending.results.append(answer)
        if answer is LATER:
            pending.open_parts = 1
            shell.metrics.queued += 1
        else:
            pending.send()
        shell.schedule()

    def _resolve(self, connection: Connection, call: int, asked: ResolveTxns) -> None:
        """A coordinator asks what becomes of the votes that it got."""
        shell = self.shell
        view, now = shell.view(), shell.now_after_view()
        connection.answer(call, TxnsResolved(shell.partitions.doubts.decisions(asked.asks, view, now)))
        shell.schedule()

    def _write(self, connection: Connection, call: int, message: Write) -> None:
        if connection.role != "gateway":
            connection.close("only a gateway reads and writes")
            return
        shell = self.shell
        view, now = shell.view(), shell.now_after_view()
        write = shell.partitions.write
        pending = (
            PendingUrgent(connection, call, None, now.mono_ms, shell.urgent)
            if message.is_urgent
            else PendingCall(connection, call, None, now.mono_ms)
        )
        results = pending.results
        for index, one in enumerate(message.writes):
            result = write((pending, index), one, view, now)
            results.append(result)
            if result is LATER:
                pending.open_parts += 1
        shell.metrics.writes += len(results)
        shell.company.wrote(len(results))
        shell.metrics.queued += pending.open_parts
        if not pending.open_parts:
            pending.send()
