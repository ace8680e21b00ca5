"""What the cluster map costs: bytes, CPU and memory of the whole, of a change, and of what a map store writes.

Guarantees: messages and rows are encoded by the product's own codecs; seconds are CPU of this process, the best of
some. Leaves to others: what control does around it (`control_costs`).
"""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec

from cluster.cluster_map import ClusterMap
from cluster.control.map_store.rows import Head, encode_rows
from cluster.control.membership import node_update
from kvstore.codec import FORMAT, decode_frame, encode_frame
from kvstore.map_values import Move, Rebalance
from kvstore.messages import Body, Envelope, Frame, MapUpdate

T = TypeVar("T")
REPEATS = 3
# The prefix of our keys in etcd, and what its protocol has around a key and a value.
ROW_OVERHEAD_BYTES = len(b"kvstore/map/") + 16


@dataclass(frozen=True)
class MapCosts:
    """Of one map; `node_bytes` is what a node hears when it connects, `one_*` news of a single entry."""

    nodes: int
    partitions: int
    replicas: int
    whole_bytes: int
    encode_s: float
    decode_s: float
    apply_s: float
    memory_bytes: int
    one_bytes: int
    one_apply_s: float
    one_since_s: float
    node_bytes: int
    node_update_s: float
    place_txn_bytes: int
    entry_row_bytes: float
    move_row_bytes: float
    change_row_bytes: int


def map_costs(cluster: ClusterMap, replicas: int) -> MapCosts:
    """Measure all of it."""
    whole = cluster.full_update()
    encoded, encode_s = best(lambda: encode_frame(frame_of(whole)))
    _, decode_s = best(lambda: decode_frame(encoded))
    empty = ClusterMap.empty(cluster.cluster_id)
    _, apply_s = best(lambda: empty.updated(whole))
    changed = msgspec.structs.replace(next(iter(cluster.entries.values())), ver=3, epoch=2)
    one = MapUpdate(cluster.map_ver + 1, [], [changed])
    after, one_apply_s = best(lambda: cluster.updated(one))
    _, one_since_s = best(lambda: after.since(cluster))
    node = next(iter(cluster.nodes))
    update, node_update_s = best(lambda: node_update(node, cluster))
    count = len(cluster.entries)
    move = Move(1, 1, node, node)
    return MapCosts(
        *(len(cluster.nodes), count, replicas, len(encoded), encode_s, decode_s, apply_s),
        memory_bytes=_memory_bytes(encoded),
        one_bytes=wire_bytes(one),
        one_apply_s=one_apply_s,
        one_since_s=one_since_s,
        node_bytes=wire_bytes(update),
        node_update_s=node_update_s,
        place_txn_bytes=txn_bytes(MapUpdate(1, [], whole.entries)),
        entry_row_bytes=txn_bytes(MapUpdate(1, [], whole.entries)) / count,
        move_row_bytes=txn_bytes(MapUpdate(1, [], [], [], [move], Rebalance())) - txn_bytes(MapUpdate(1, [], [])),
        change_row_bytes=txn_bytes(one),
    )


def best(work: Callable[[], T]) -> tuple[T, float]:
    """What comes of `work`, and the least CPU that it took."""
    least_s = float("inf")
    for _ in range(REPEATS):
        began_s = time.process_time()
        result = work()
        least_s = min(least_s, time.process_time() - began_s)
    return result, least_s


def wire_bytes(body: Body) -> int:
    """The bytes of a message in a frame of its own."""
    return len(encode_frame(frame_of(body)))


def txn_bytes(written: MapUpdate) -> int:
    """About how many bytes etcd gets to write this."""
    rows = encode_rows(Head.first(b"cluster1"), written)
    return sum(len(key) + len(row) + ROW_OVERHEAD_BYTES for key, row in rows.items())


def frame_of(body: Body) -> Frame:
    """A frame with one message."""
    return Frame(FORMAT, b"cluster1", 1, [Envelope(0, 0, body)])


def _memory_bytes(encoded: bytes) -> int:
    """What a map that came over the wire holds of a process's memory."""
    tracemalloc.start()
    body = decode_frame(encoded).messages[0].body
    assert isinstance(body, MapUpdate)
    cluster = ClusterMap.empty(b"cluster1").updated(body)
    del body
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    del cluster
    return held
