"""A follower of one partition.

Guarantees: it accepts rows of the one epoch that it promised, and only where they continue its log, link by link of
the checksum chain; it cuts its tail at most once an epoch, before it accepted anything of that epoch, and never below
what is applied; an ack or a vector tells what is durable, and leaves only after the batch that made it so. Leaves to
others: which epoch it is (`partition`). Sans-IO. PROTOCOL "Write path", "Reconciliation".
"""

from __future__ import annotations

from kvstore.effects import Send
from kvstore.messages import Acked, Append, Chunk, CutTail, EpochVector, Reconcile, Refused
from kvstore.replication.copy import Copy
from kvstore.replication.log import Held
from kvstore.storage.records import DamagedRow, decode_log_row


class Follower:
    """Args: copy: the copy that follows; leader_node: who is to be told at once where its log stands."""

    def __init__(self, copy: Copy, leader_node: str = "") -> None:
        self.leader_node = leader_node
        self._copy = copy
        self._ack_to = ""
        self._vector_to = leader_node
        self._after: list[Send] = []

    @property
    def has_answer(self) -> bool:
        """Whether an answer waits for the next batch."""
        return bool(self._ack_to or self._vector_to)

    def on_reconcile(self, node: str, message: Reconcile) -> list[Send]:
        """The leader of an epoch asks where this log stands: promise it, and tell."""
        copy = self._copy
        if message.epoch < copy.promised:
            return [Send(node, Refused(message.pid, message.rid, copy.promised))]
        copy.promise(message.epoch)
        copy.hear(message.ver)
        self.leader_node = self._vector_to = node
        return []

    def on_append(self, node: str, message: Append) -> list[Send]:
        """Rows that continue the log, or news of what is committed."""
        copy = self._copy
        if message.epoch != copy.promised:
            if message.epoch < copy.promised:
                return [Send(node, Refused(message.pid, message.rid, copy.promised))]
            return []
        if message.prev_seq == copy.log.end and message.prev_checksum == copy.log.end_checksum:
            copy.reconcile(message.epoch)
        gap = message.prev_seq > copy.log.end
        if copy.reconciled != message.epoch or gap or not self._extend(message.rows):
            self._vector_to = node
            return []
        copy.commit(min(message.commit_seq, copy.log.end))
        self.leader_node = self._ack_to = node
        return []

    def on_cut(self, node: str, message: CutTail) -> list[Send]:
        """Drop the tail that the leader of this epoch does not have.

        Raises:
            DamagedRow: the cut would reach below what is applied.
        """
        copy = self._copy
        if message.epoch != copy.promised:
            return []
        if copy.reconciled != message.epoch:
            copy.cut(message.end)
            copy.reconcile(message.epoch)
        self._ack_to = node
        return []

    def on_chunk(self, node: str, message: Chunk) -> list[Send]:
        """A piece of the leader's data."""
        if message.epoch == self._copy.promised:
            self._copy.take_chunk(message)
            self._ack_to = node
        return []

    def prepare_answers(self, full: bool) -> None:
        """Fix what will be answered once the batch at hand is durable: the log as it is in that batch."""
        copy = self._copy
        name, end = copy.name, copy.log.end
        if self._vector_to:
            starts = list(copy.log.starts)
            vector = EpochVector(name.pid, name.rid, copy.promised, starts, end, copy.is_backfilling)
            self._after.append(Send(self._vector_to, vector))
        if self._ack_to and copy.reconciled == copy.promised:
            acked = Acked(name.pid, name.rid, copy.promised, end, copy.commit_seq, full, copy.is_backfilling)
            self._after.append(Send(self._ack_to, acked))
        self._ack_to = self._vector_to = ""

    def release_answers(self) -> list[Send]:
        """The batch is durable."""
        after, self._after = self._after, []
        return after

    def _extend(self, rows: list[bytes]) -> bool:
        """Append the rows that are new; False at a gap, a break of the chain or a damaged row."""
        copy = self._copy
        for row in rows:
            try:
                head = decode_log_row(row)
            except DamagedRow:
                return False
            if head.last_seq <= copy.log.end:
                continue
            if head.first_seq != copy.log.end + 1 or head.previous != copy.log.end_checksum:
                return False
            copy.append(Held(row, head))
        return True
