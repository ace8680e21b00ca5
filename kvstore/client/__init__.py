"""The Python client of the HTTP API.

Guarantees: what `from kvstore.client import ...` offers is what a program needs: `Client` (async), `SyncClient`, the
operations of a batch and what the answers hold. Leaves to others: the errors, which are those of `kvstore.errors`.
"""

from kvstore.client.answers import Deleted, StreamCut, Unreachable, Value, Written
from kvstore.client.client import Client
from kvstore.client.items import Item, Page
from kvstore.client.ops import Delete, Get, Op, Put
from kvstore.client.sync import SyncClient

__all__ = [
    "Client",
    "Delete",
    "Deleted",
    "Get",
    "Item",
    "Op",
    "Page",
    "Put",
    "StreamCut",
    "SyncClient",
    "Unreachable",
    "Value",
    "Written",
]
