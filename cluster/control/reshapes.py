"""The steps of a transfer in the map: how keys change their partition, as guarded changes.

Guarantees: keys belong to one partition in every version of the map; they change it only when the source's leader said,
in the map, that the target has all of them, and that nobody serves them; the layout rises with each change, and both
partitions' entries with it; whoever proposes a step that another one took already changes nothing. Leaves to others:
when (`reshaping`), bringing the keys over (the leaders). Sans-IO. PROTOCOL "Transfer".

    begun: copying ─source's leader: handed─▶ switched ─each leader, when it has deleted what is not its own─▶ over
              └─────────────────────────aborted: the target's leader deletes──▶ over
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import msgspec

from cluster.cluster_map import ClusterMap, Reshape
from kvstore.map_values import Entry, KeyspaceInfo, Rid, Tenant, Transfer, TransferState

RANGE, DIRECTORY = "range", "directory"
_VER_BITS = 32


def segments(keyspace: KeyspaceInfo) -> list[tuple[bytes, bytes, int]]:
    """The ranges of a `range` keyspace in order, as (start, end, partition); the last end is empty."""
    starts = (b"", *keyspace.bounds)
    return list(zip(starts, (*keyspace.bounds, b""), keyspace.pids, strict=True))


def with_range(keyspace: KeyspaceInfo, start: bytes, end: bytes, target: int) -> KeyspaceInfo:
    """The keyspace with the keys from `start` to `end` (empty: no end) at `target`.

    Raises:
        ValueError: a partition would have two ranges.
    """
    cut: list[tuple[bytes, int]] = []
    for first, last, pid in segments(keyspace):
        if first < start and (not last or start < last):
            cut += [(first, pid), (start, target)]
        else:
            cut.append((first, target if _within(first, start, end) else pid))
        if end and first < end and (not last or end < last):
            cut.append((end, pid))
    joined = [next(same) for _, same in itertools.groupby(cut, key=lambda one: one[1])]
    pids = tuple(pid for _, pid in joined)
    if len(set(pids)) < len(pids):
        raise ValueError(f"a partition would have two ranges: {pids}")
    return msgspec.structs.replace(keyspace, pids=pids, bounds=tuple(first for first, _ in joined[1:]))


def _within(key: bytes, start: bytes, end: bytes) -> bool:
    return key >= start and (not end or key < end)


def is_free(entry: Entry | None, cluster: ClusterMap) -> bool:
    """Whether a transfer may begin there: the partition is led, and neither keys nor copies of it are on their way."""
    if entry is None or entry.leader is None or entry.transfer is not None:
        return False
    move = cluster.moves.get(entry.pid)
    return not entry.adding and not entry.removing and (move is None or not move.is_active)


def begin(
    source: Entry, target: Entry, start: bytes = b"", end: bytes = b"", tenant: bytes | None = None
) -> tuple[Transfer, Reshape]:
    """Begin a transfer between two partitions that stand in the map."""
    transfer = _new(source, target.pid, start, end, tenant)
    return transfer, Reshape((_next(source, transfer=transfer), _next(target, transfer=transfer)))


def begin_split(
    source: Entry, keyspace: KeyspaceInfo, pid: int, copies: Sequence[Rid], at: bytes, end: bytes
) -> tuple[Transfer, Reshape]:
    """Begin to give the keys of `source` from `at` to `end` to a partition that is new and has these copies."""
    transfer = _new(source, pid, at, end, None)
    rids = tuple(copies)
    target = Entry(
        pid=pid,
        keyspace=keyspace.name,
        ver=1,
        epoch=0,
        leader=None,
        in_sync=rids,
        replicas=rids,
        min_in_sync=keyspace.min_in_sync,
        layout=keyspace.layout,
        transfer=transfer,
    )
    return transfer, Reshape((_next(source, transfer=transfer), target))


def switch(source: Entry, cluster: ClusterMap) -> Reshape | None:
    """Give the keys of a transfer that is handed to its target; None where that is not so (any more)."""
    transfer = source.transfer
    if transfer is None or transfer.source != source.pid or transfer.state is not TransferState.HANDED:
        return None
    target, keyspace = cluster.entries.get(transfer.target), cluster.keyspaces.get(source.keyspace)
    if target is None or keyspace is None or target.transfer is None or target.transfer.id != transfer.id:
        return None
    layout = keyspace.layout + 1
    switched = msgspec.structs.replace(transfer, state=TransferState.SWITCHED)
    tenant = None
    changed = keyspace
    if transfer.tenant is not None:
        tenant = Tenant(keyspace.name, transfer.tenant, transfer.target)
    else:
        changed = with_range(keyspace, transfer.start, transfer.end, transfer.target)
    entries = (
        _next(source, transfer=switched, layout=layout),
        _next(target, transfer=switched, layout=layout),
    )
    return Reshape(entries, msgspec.structs.replace(changed, layout=layout), keyspace, tenant)


def abort(source: Entry, cluster: ClusterMap) -> Reshape | None:
    """Call a transfer off; None where it is past that, or goes on no more."""
    transfer = source.transfer
    if transfer is None or transfer.source != source.pid or transfer.state is not TransferState.COPYING:
        return None
    target = cluster.entries.get(transfer.target)
    if target is None or target.transfer is None or target.transfer.id != transfer.id:
        return Reshape((_next(source, transfer=None),))
    aborting = msgspec.structs.replace(transfer, state=TransferState.ABORTING)
    return Reshape((_next(source, transfer=None), _next(target, transfer=aborting)))


def retire(entry: Entry) -> Reshape:
    """Let a partition go that has no keys and never will have any."""
    return Reshape((tombstone(entry),))


def tombstone(entry: Entry) -> Entry:
    """What stays for ever of a partition that is no more: nobody has a copy of it, and so nobody can lead it."""
    return Entry(
        *(entry.pid, entry.keyspace, entry.ver + 1, entry.epoch, None, (), ()),
        min_in_sync=entry.min_in_sync,
        unclean_count=entry.unclean_count,
        layout=entry.layout,
    )


def _new(source: Entry, target: int, start: bytes, end: bytes, tenant: bytes | None) -> Transfer:
    """The source's next version has no other transfer, so the two make an id that is used once."""
    number = (source.pid << _VER_BITS) + source.ver + 1
    return Transfer(number, source.pid, target, TransferState.COPYING, start, end, tenant)


def _next(entry: Entry, **changes: object) -> Entry:
    return msgspec.structs.replace(entry, ver=entry.ver + 1, **changes)
