"""What a coordinator wants done.

Guarantees: frozen values. Leaves to others: doing it (`driver`). Sans-IO.
"""

from __future__ import annotations

import msgspec

from cluster.txn.exchange import Ask
from cluster.txn.transaction import TxnOutcome
from kvstore.errors import KvError
from kvstore.messages import TxnName


class Answer(msgspec.Struct, frozen=True):
    """What the client is told."""

    result: TxnOutcome | KvError


class AllFinished(msgspec.Struct, frozen=True):
    """The primary may be told that all participants have carried the decision out."""

    txn: TxnName


Effect = Ask | Answer | AllFinished
