"""Which changes of a partition's entry a node may ask for.

Guarantees: what passes keeps the map's part of the invariants: one leader per epoch, only in-sync copies lead, the
in-sync set stays among the copies and holds its leader, a copy that is being added is placed only as it gets in sync,
the process that leads is the one that was admitted last, and nothing else of an entry is changed by a node but how far
its side of a transfer is. Leaves to
others: the guard on `ver` (`map_store`), which copies are added and dropped (`repair`), whether a copy is caught up
(its leader). Sans-IO. PROTOCOL "Control".
"""

from __future__ import annotations

import msgspec

from kvstore.candidate import PASSED_ON
from kvstore.map_values import Entry, Transfer, TransferState


def objection(stored: Entry, asked: Entry, node: str, boot: int) -> str | None:
    """Why `node`, in its process number `boot`, may not replace `stored` by `asked` (whose `ver` is the next one);
    None when it may. An entry of which only `ver` changes passes: that settles what became of an earlier one."""
    if asked.leader is None:
        return "an entry that was led stays led"
    led = stored.leader is not None and (stored.leader.node, stored.leader_boot) == (node, boot)
    passes_on = led and asked.epoch > stored.epoch and asked.leader_boot == PASSED_ON
    if not passes_on and (asked.leader.node, asked.leader_boot) != (node, boot):
        return "only the process that is to lead may ask, or the one that leads and passes it on"
    if _kept(asked) != _kept(stored):
        return "a node changes only leader, epoch, in-sync set, and where an added copy stands"
    if asked.leader not in stored.in_sync:
        return "only an in-sync copy leads"
    if asked.epoch == stored.epoch:
        return _objection_to_leader(stored, asked)
    if asked.epoch != stored.epoch + 1:
        return "an epoch rises by one"
    if asked.transfer != stored.transfer:
        return "with a new epoch the transfer stays"
    if (asked.replicas, asked.adding) != (stored.replicas, stored.adding):
        return "with a new epoch the copies stay"
    former = None if passes_on else stored.leader
    stay = tuple(rid for rid in stored.in_sync if rid == asked.leader or rid != former)
    if asked.in_sync not in (stored.in_sync, stay):
        return "with a new epoch only the former leader may leave the in-sync set"
    return None


def _objection_to_leader(stored: Entry, asked: Entry) -> str | None:
    if (asked.leader, asked.leader_boot) != (stored.leader, stored.leader_boot):
        return "a new leader needs a new epoch"
    if asked.leader not in asked.in_sync:
        return "a leader is in sync with itself"
    if asked.transfer != stored.transfer and asked.transfer not in _next_transfers(stored):
        return "a leader says of a transfer only that its keys are handed over, or that nothing is left of it"
    copies = {*stored.replicas, *stored.adding}
    if len(set(asked.in_sync)) != len(asked.in_sync) or not copies.issuperset(asked.in_sync):
        return "the in-sync set is a set of the partition's copies"
    placed = [rid for rid in stored.adding if rid not in asked.adding]
    if (asked.replicas, asked.adding) != (
        (*stored.replicas, *placed),
        tuple(rid for rid in stored.adding if rid not in placed),
    ):
        return "a leader changes no copy but by placing an added one after the others"
    if not set(asked.in_sync).issuperset(placed):
        return "an added copy is placed as it gets in sync"
    if not all(stored.admits(rid) for rid in placed):
        return "a copy that moves gets in sync once it was verified in this epoch"
    return None


def _next_transfers(entry: Entry) -> tuple[Transfer | None, ...]:
    """What the leader may make of the transfer in its entry."""
    transfer = entry.transfer
    if transfer is None:
        return ()
    if transfer.state in (TransferState.SWITCHED, TransferState.ABORTING):
        return (None,)
    if transfer.state is TransferState.COPYING and transfer.source == entry.pid:
        return (msgspec.structs.replace(transfer, state=TransferState.HANDED),)
    return ()


def _kept(entry: Entry) -> tuple[object, ...]:
    """What no node changes."""
    return (
        *(entry.keyspace, entry.removing, entry.min_in_sync, entry.unclean_count),
        *(entry.moving, entry.verified_epoch, entry.layout),
    )
