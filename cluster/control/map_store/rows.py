"""The rows of a stored map, the same in every store that keeps bytes.

Guarantees: one row for the head, one for each node, keyspace, tenant, partition and its last move, one for how moves
are to go; decoding checks the format and every type. Leaves to others: where the rows are kept, and that those of one
change are written together (the stores). Sans-IO.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping

import msgspec

from cluster.control.id_windows import IdWindows
from kvstore.codec import decode_entry, encode_entry
from kvstore.map_values import KeyspaceInfo, Move, NodeInfo, Rebalance, Tenant
from kvstore.messages import MapUpdate

FORMAT = 1
CLUSTER_ID_BYTES = 8
HEAD_KEY = b"head"
_NODES, _KEYSPACES, _ENTRIES, _MOVES, _REBALANCE = b"n/", b"k/", b"p/", b"m/", b"rebalance"
_TENANTS, _LONG_TENANTS, _NAME_BYTES_MAX = b"t/", b"l/", 400


class Head(msgspec.Struct, frozen=True, array_like=True):
    """The one row that is not about a node, keyspace or partition; `next_pid` is the first uid never handed out,
    `next_incarnation` the first number of that kind, `ids` what is remembered of the windows for ids."""

    format: int
    cluster_id: bytes
    map_ver: int
    next_pid: int
    next_incarnation: int = 1
    ids: IdWindows = IdWindows()

    @classmethod
    def first(cls, cluster_id: bytes) -> Head:
        """The head of a new cluster; `cluster_id` is `CLUSTER_ID_BYTES` random bytes."""
        return cls(FORMAT, cluster_id, 0, 1)


_ENCODER = msgspec.msgpack.Encoder()
_HEAD_ROW = msgspec.msgpack.Decoder(Head)
_NODE_ROW = msgspec.msgpack.Decoder(NodeInfo)
_KEYSPACE_ROW = msgspec.msgpack.Decoder(KeyspaceInfo)
_MOVE_ROW = msgspec.msgpack.Decoder(Move)
_TENANT_ROW = msgspec.msgpack.Decoder(Tenant)
_REBALANCE_ROW = msgspec.msgpack.Decoder(Rebalance)


def encode_rows(head: Head, update: MapUpdate) -> Mapping[bytes, bytes]:
    """The rows of `head` and of all that `update` names, by key."""
    rows = {HEAD_KEY: _ENCODER.encode(head)}
    rows.update((_NODES + node.id.encode(), _ENCODER.encode(node)) for node in update.nodes)
    rows.update((_KEYSPACES + one.name.encode(), _ENCODER.encode(one)) for one in update.keyspaces)
    rows.update((_ENTRIES + entry.pid.to_bytes(8, "big"), encode_entry(entry)) for entry in update.entries)
    rows.update((_MOVES + move.pid.to_bytes(8, "big"), _ENCODER.encode(move)) for move in update.moves)
    rows.update((_tenant_key(one), _ENCODER.encode(one)) for one in update.tenants)
    if update.rebalance is not None:
        rows[_REBALANCE] = _ENCODER.encode(update.rebalance)
    return rows


def _tenant_key(tenant: Tenant) -> bytes:
    """Its name, or where that is too long for a key of LMDB, a digest."""
    keyspace = tenant.keyspace.encode() + b"/"
    if len(tenant.name) <= _NAME_BYTES_MAX:
        return _TENANTS + keyspace + tenant.name
    return _LONG_TENANTS + keyspace + hashlib.sha256(tenant.name).digest()


def decode_rows(rows: Iterable[tuple[bytes, bytes]]) -> tuple[Head | None, MapUpdate]:
    """The head, where it is among the rows, and what the other ones say.

    Raises:
        ValueError: a row is damaged, of no known kind, or the head is of another format.
    """
    head: Head | None = None
    update = MapUpdate(0, [], [], [], [], None, [])
    rebalance: Rebalance | None = None
    try:
        for key, row in rows:
            if key == HEAD_KEY:
                head = _HEAD_ROW.decode(row)
            elif key.startswith(_NODES):
                update.nodes.append(_NODE_ROW.decode(row))
            elif key.startswith(_KEYSPACES):
                update.keyspaces.append(_KEYSPACE_ROW.decode(row))
            elif key.startswith(_ENTRIES):
                update.entries.append(decode_entry(row))
            elif key.startswith(_MOVES):
                update.moves.append(_MOVE_ROW.decode(row))
            elif key.startswith((_TENANTS, _LONG_TENANTS)):
                update.tenants.append(_TENANT_ROW.decode(row))
            elif key == _REBALANCE:
                rebalance = _REBALANCE_ROW.decode(row)
            else:
                raise ValueError(f"it holds a row of an unknown kind, {key!r}")
    except msgspec.DecodeError as error:
        raise ValueError(f"a row is damaged: {error}") from error
    update = msgspec.structs.replace(update, rebalance=rebalance)
    if head is None:
        return None, update
    if head.format != FORMAT:
        raise ValueError(f"its format is {head.format}, this version reads {FORMAT}")
    return head, msgspec.structs.replace(update, map_ver=head.map_ver)
