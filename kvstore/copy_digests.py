"""The digests that the copies of a node make where a verify record says so, until their leaders have them.

Guarantees: digests are of the state at the record's seq and no other; what was not made when the record was applied,
or got lost with the process, is told as missed. Leaves to others: making them (`bucket_digests`, and the shell, a piece
at a time), comparing (`verification`). Sans-IO. PROTOCOL "Verify".
"""

from __future__ import annotations

from kvstore.effects import TakeDigests
from kvstore.messages import AskDigests, Digests
from kvstore.partition import Partition
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.replication.verify_order import order_of

PENDING, READY, MISSED, FAILED = "pending", "ready", "missed", "failed"


class CopyDigests:
    """The last digests of each copy of a node."""

    def __init__(self) -> None:
        self._last: dict[int, Digests] = {}

    def due(self, partition: Partition) -> TakeDigests | None:
        """A batch is durable that ended with a verify record: what is to be digested at once, if this copy is named."""
        copy = partition.copy
        due, copy.verify_due = copy.verify_due, None
        if due is None:
            return None
        epoch, seq, value = due
        order, rid = order_of(value), copy.name.rid
        if rid.store not in order.stores:
            return None
        self._last[partition.pid] = Digests(partition.pid, rid, epoch, seq, PENDING)
        return TakeDigests(partition.pid, rid, epoch, seq, copy.prefix, order.buckets)

    def digested(self, asked: TakeDigests, made: BucketDigests | None, failure: str) -> Digests | None:
        """What was asked for is made, or failed; None where nobody waits for it any more."""
        last = self._last.get(asked.pid)
        if last is None or (last.rid, last.epoch, last.seq) != (asked.rid, asked.epoch, asked.seq):
            return None
        names = asked.pid, asked.rid, asked.epoch, asked.seq
        if made is None:
            digests = Digests(*names, FAILED, failure)
        elif made.seq != asked.seq:
            digests = Digests(*names, MISSED)
        else:
            digests = Digests(*names, READY, "", made.keys, made.size_bytes, made.digests, made.rows)
        self._last[asked.pid] = digests
        return digests

    def answer(self, partition: Partition, asked: AskDigests) -> Digests:
        """How the digests stand that a leader asks for."""
        last, names = self._last.get(asked.pid), (asked.pid, asked.rid, asked.epoch, asked.seq)
        if last is not None and (last.pid, last.rid, last.epoch, last.seq) == names:
            return last
        return Digests(*names, PENDING if partition.copy.applied_seq < asked.seq else MISSED)

    def forget(self, pid: int) -> None:
        """The copy is gone."""
        self._last.pop(pid, None)
