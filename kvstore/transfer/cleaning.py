"""Deleting the rows of keys that a partition has and does not serve.

Guarantees: a piece deletes all keys of the transfer from where the last one ended up to its own end, as they stand at
the log's end, and looks at a bounded number of rows; when none is left beyond all are gone. Leaves to others: that no
such key comes meanwhile, one piece at a time (`transfers`). Sans-IO. PROTOCOL "Transfer".
"""

from __future__ import annotations

from kvstore.map_values import Transfer
from kvstore.replication.copy import Copy
from kvstore.replication.leader import Leader
from kvstore.replication.log import replaced
from kvstore.storage.engine import Snapshot, Table
from kvstore.transfer.pieces import LOOKED_ROWS_MAX
from kvstore.txn.records import Effect


class Cleaning:
    """Args: copy: the leader's own. Attributes: is_done: nothing is left beyond the last piece."""

    def __init__(self, copy: Copy, transfer: Transfer) -> None:
        self.is_done = False
        self._copy = copy
        self._transfer = transfer
        self._next = transfer.start

    def piece(self, leader: Leader, view: Snapshot) -> list[Effect]:
        """The next keys to delete."""
        copy, transfer, start = self._copy, self._transfer, self._next
        last = copy.prefix + transfer.end if transfer.end else copy.prefix_end
        row_keys = view.keys(Table.DATA, copy.prefix + start, last, LOOKED_ROWS_MAX)
        keys = {row_key[len(copy.prefix) :] for row_key in row_keys}
        self.is_done = len(row_keys) < LOOKED_ROWS_MAX
        end = transfer.end if self.is_done else row_keys[-1][len(copy.prefix) :] + b"\x00"
        # What is not applied yet stands in no view.
        keys.update(key for key in leader.overlay.at_end if start <= key and (not end or key < end))
        self._next = end
        effects = []
        for key in sorted(filter(transfer.takes, keys)):
            row = leader.end_row(key, view)
            if row is not None:
                effects.append(Effect(key, None, *replaced(key, row)))
        return effects
