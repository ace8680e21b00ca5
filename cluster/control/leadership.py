"""Which changes of a partition's entry a node may ask for.

Guarantees: what passes keeps the map's part of the invariants: one leader per epoch, only in-sync copies lead, the
in-sync set stays among the copies, the process that leads is the one that was admitted last, and nothing else of an
entry is changed by a node. Leaves to others: the guard on `ver` (`map_store`). Sans-IO. PROTOCOL "Identity",
"Failover".
"""

from __future__ import annotations

from kvstore.messages import Entry


def objection(stored: Entry, asked: Entry, node: str, boot: int) -> str | None:
    """Why `node`, in its process number `boot`, may not replace `stored` by `asked` (whose `ver` is the next one);
    None when it may."""
    if asked.leader is None or (asked.leader.node, asked.leader_boot) != (node, boot):
        return "only the process that is to lead may ask"
    kept = (asked.keyspace, asked.replicas, asked.adding, asked.removing, asked.min_in_sync, asked.unclean_count)
    if kept != (
        stored.keyspace,
        stored.replicas,
        stored.adding,
        stored.removing,
        stored.min_in_sync,
        stored.unclean_count,
    ):
        return "a node changes only leader, epoch and in-sync set"
    if asked.epoch not in (stored.epoch, stored.epoch + 1):
        return "an epoch rises by one"
    led = (stored.leader, stored.leader_boot)
    if asked.epoch == stored.epoch and (asked.leader, asked.leader_boot) != led:
        return "a new leader needs a new epoch"
    if asked.leader not in stored.in_sync:
        return "only an in-sync copy leads"
    if asked.leader not in asked.in_sync:
        return "a leader is in sync with itself"
    copies = {*stored.replicas, *stored.adding}
    if len(set(asked.in_sync)) != len(asked.in_sync) or not copies.issuperset(asked.in_sync):
        return "the in-sync set is a set of the partition's copies"
    return None
