"""The Python client of the HTTP API.

Guarantees: what `from kvstore.client import ...` offers is what a program needs: `Client` (async), `SyncClient`, the
operations of batches and transactions, and what the answers hold. Leaves to others: the errors, which are those of
`kvstore.errors`.
"""

from kvstore.client.answers import Deleted, Number, StreamCut, TxnOutcome, TxnState, Unreachable, Value, Written
from kvstore.client.client import Client
from kvstore.client.items import Item, Page
from kvstore.client.keyspaces import Keyspace
from kvstore.client.ops import Delete, Get, If, Incr, Op, Put, TxnOp
from kvstore.client.sync import SyncClient, SyncKeyspace

__all__ = [
    "Client",
    "Delete",
    "Deleted",
    "Get",
    "If",
    "Incr",
    "Item",
    "Keyspace",
    "Number",
    "Op",
    "Page",
    "Put",
    "StreamCut",
    "SyncClient",
    "SyncKeyspace",
    "TxnOp",
    "TxnOutcome",
    "TxnState",
    "Unreachable",
    "Value",
    "Written",
]
