"""What a node knows of itself, and its row in the store.

Guarantees: what is read back is what was saved last. Leaves to others: when it is saved (`partitions`), raising the
boot counter (`node.process`). Sans-IO. PROTOCOL "Identity".
"""

from __future__ import annotations

import msgspec

from kvstore.storage.engine import Snapshot, Table

NODE_ROW = b"\x00\x00\x00\x00node"


class NodeState(msgspec.Struct, frozen=True, array_like=True):
    """What a node knows of itself: persisted before it says a word. `is_retired`: it is no member any more."""

    node_id: str
    cluster_id: bytes
    boot: int
    next_copy: int
    is_retired: bool = False


def load_node_state(view: Snapshot) -> NodeState | None:
    row = view.get(Table.META, NODE_ROW)
    return None if row is None else msgspec.msgpack.decode(row, type=NodeState)
