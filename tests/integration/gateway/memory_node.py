"""A node in memory, behind the real RPC, for tests of the gateway."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection

from cluster.partitioning.hash import HashPartitioner
from kvstore.map_values import Entry, Rid
from kvstore.messages import (
    AbortTxn,
    AskHeat,
    AskTxn,
    Counted,
    CountKeys,
    DigestedCopy,
    Done,
    Envelope,
    Failed,
    Fault,
    ForceFinish,
    Heat,
    Hello,
    ListPrepared,
    PreparedTxn,
    PreparedTxns,
    Read,
    ReadResult,
    ReadStale,
    Scan,
    Scanned,
    StaleResult,
    Transacted,
    TxnKnown,
    TxnName,
    Verified,
    Verify,
    Welcome,
    Write,
    WriteOne,
    WriteResult,
    Written,
)
from kvstore.rpc.connection import Connection
from kvstore.rpc.server import Server
from kvstore.scan.items import ItemForm, item_encoder
from kvstore.storage.records import decode_value, encode_value
from kvstore.versions import etag, matches

CLUSTER = b"\x01" * 8
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
        self.forgets_up_to = 0
        self.asked: list[WriteOne] = []
        self.outcomes: dict[object, Written | Fault] = {}
        self.writes = 0
        self.reads = 0
        self.sizes: list[int] = []
        self.quorum_reads = 0
        self.stale_reads: list[int | None] = []
        self.stale_fault: Fault | None = None
        self.lag_ms = 0
        self.scans: list[Scan | CountKeys] = []
        self.page_keys_max = 1000
        self.verifies: list[Verify] = []
        self.verdict: Callable[[Verify], Verified] = lambda asked: Verified(
            asked.pid, 1, 9, "clean", copies=[DigestedCopy(node, 3, 30) for node in ("n1", "n2")]
        )
        self.heat = Heat([])
        self.heat_asked: list[AskHeat] = []
        self.prepared: list[PreparedTxn] = []
        self.known = TxnKnown(False)
        self.stands: TxnName | None = None
        self.txns_asked: list[AskTxn | AbortTxn | ForceFinish | ListPrepared] = []
        self.port = 0
        self._held: set[asyncio.Task[None]] = set()
        self._connections: set[Connection] = set()
        self._server = Server(self._handle, cluster_id=lambda: None)

    async def start(self) -> None:
        self.port = await self._server.listen("127.0.0.1", 0)

    async def stop(self) -> None:
        for task in self._held:
            task.cancel()
        await self._server.close()

    def cut_all(self) -> None:
        for connection in self._connections:
            connection.close("cut")

    def _handle(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        if isinstance(body, Hello):
            connection.peer, connection.role = body.sender, body.role
            self._connections.add(connection)
            connection.answer(envelope.call, Welcome(CLUSTER, self.name, 1))
            return
        if isinstance(body, Verify):
            self.verifies.append(body)
            fault = self._fault_of(body.pid, body.ver)
            connection.answer(envelope.call, Failed(fault) if fault else self.verdict(body))
            return
        if isinstance(body, AskHeat):
            self.heat_asked.append(body)
            if not self.is_silent:
                connection.answer(envelope.call, self.heat)
            return
        if isinstance(body, AskTxn | AbortTxn | ForceFinish | ListPrepared):
            self.txns_asked.append(body)
            if not self.is_silent:
                connection.answer(envelope.call, self._of_txns(body))
            return
        assert isinstance(body, Read | ReadStale | Write | Scan | CountKeys)
        if isinstance(body, Read):
            self.reads += len(body.reads)
            self.sizes.append(len(body.reads))
            self.quorum_reads += body.is_quorum
        elif isinstance(body, ReadStale):
            self.stale_reads.append(body.max_stale_ms)
        elif isinstance(body, Scan | CountKeys):
            self.scans.append(body)
        else:
            self.writes += len(body.writes)
            self.sizes.append(len(body.writes))
            self.asked += body.writes
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
            told = zip(body.reads, results, strict=True) if body.tells_absences else ()
            absences = [(one.pid, 0, 1, self.seq) if row is None else None for one, row in told]
            connection.answer(envelope.call, ReadResult(NOW_MS, results, absences))
        elif isinstance(body, ReadStale):
            fault = self.stale_fault
            row = StaleResult(NOW_MS, self.lag_ms, self.rows.get(body.read.key))
            connection.answer(envelope.call, row if fault is None else Failed(fault))
        elif isinstance(body, Scan):
            connection.answer(envelope.call, self._scan(body))
        elif isinstance(body, CountKeys):
            faults = [(pid, fault) for pid, ver, _ in body.parts if (fault := self._fault_of(pid, ver))]
            starts = {pid: start for pid, ver, start in body.parts if not self._fault_of(pid, ver)}
            counts = [(pid, len(self._keys_of((pid,), start, body.end)), None) for pid, start in starts.items()]
            connection.answer(envelope.call, Counted(counts, faults))
        elif isinstance(body, Write):
            answers = [self._fault_of(one.pid, one.ver) or self._write_once(one) for one in body.writes]
            if self.cuts_after_writes:
                connection.close("cut")
                return
            connection.answer(envelope.call, WriteResult(answers))

    def _of_txns(
        self, asked: AskTxn | AbortTxn | ForceFinish | ListPrepared
    ) -> Failed | PreparedTxns | TxnKnown | Transacted | Done:
        if isinstance(asked, ListPrepared):
            return PreparedTxns([one for one in self.prepared if asked.txn in (None, one.txn)])
        fault = self._fault_of(asked.pid, asked.ver)
        if fault is not None:
            return Failed(fault)
        if isinstance(asked, AskTxn):
            return self.known
        if isinstance(asked, AbortTxn):
            is_later = self.stands not in (None, asked.txn)
            return Transacted(self.stands or asked.txn, is_later, is_later, not is_later)
        self.prepared = [one for one in self.prepared if (one.txn, one.pid) != (asked.txn, asked.pid)]
        return Done()

    def _scan(self, asked: Scan) -> Scanned:
        faults = [(pid, fault) for pid, ver in asked.parts if (fault := self._fault_of(pid, ver))]
        served = {pid for pid, _ in asked.parts} - {pid for pid, _ in faults}
        found = sorted(self._keys_of(served, asked.start, asked.end), reverse=asked.reverse)
        keys = found[: min(asked.limit, self.page_keys_max)]
        encode = item_encoder(ItemForm(asked.form), asked.keys_only, NOW_MS)
        return Scanned(
            keys, [encode(1, 0, key, self.rows[key]) or b"" for key in keys], len(keys) == len(found), faults
        )

    def _keys_of(self, pids: Collection[int], start: bytes, end: bytes) -> list[bytes]:
        locate = HashPartitioner(sorted(self.entries)).locate
        return [key for key in self.rows if start <= key and (not end or key < end) and locate(key) in pids]

    def _fault_of(self, pid: int, ver: int) -> Fault | None:
        if self.fault is not None:
            return self.fault
        entry = self.entries[pid]
        if entry.leader != self.rid or ver < entry.ver:
            return Fault("wrong_leader", "another node leads", entry)
        return None

    def _write_once(self, one: WriteOne) -> Written | Fault:
        if one.origin <= self.forgets_up_to and not one.token:
            return Fault("stale_token", "forgotten")
        mark = one.token or (one.pid, one.origin, one.number)
        if mark not in self.outcomes:
            self.outcomes[mark] = self._write(one)
        return self.outcomes[mark]

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
