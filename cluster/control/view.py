"""What control shows: the state of the cluster, and whether it is ready.

Guarantees: both follow from the map and the nodes' last reports alone; a partition counts as led only if its leader is
connected and reported that it serves at the map's epoch, and an in-sync copy as there only if its node reported it.
Leaves to others: gathering reports (`controller`). Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from cluster.cluster_map import ClusterMap
from cluster.control.messages import ClusterView, MoveView, NodeView, PartitionView, Ready
from kvstore.map_values import Entry, NodeInfo, Rid, Standing
from kvstore.messages import CopyReport


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A member's connection and its last report: its copies by partition, and those it lost (partition, store)."""

    is_up: bool
    copies: Mapping[int, CopyReport]
    lost: frozenset[tuple[int, bytes]] = frozenset()


NEVER_SEEN = NodeStatus(False, {})


def is_led(entry: Entry, status: Mapping[str, NodeStatus]) -> bool:
    """Whether the partition's leader is connected and serves at the entry's epoch."""
    if entry.leader is None:
        return False
    leader = status.get(entry.leader.node, NEVER_SEEN)
    report = leader.copies.get(entry.pid)
    return leader.is_up and report is not None and report.serving and report.epoch == entry.epoch


def readiness(cluster: ClusterMap, status: Mapping[str, NodeStatus], initial_nodes: int) -> Ready:
    """Whether every partition that has keys, or may have, is led; `initial_nodes` only words the reason before the
    first placement. The reason counts as `cluster_view` does, with those whose keys went to others and that are kept
    yet."""
    pids = [pid for keyspace in cluster.keyspaces.values() for pid in keyspace.pids]
    if not pids or any(pid not in cluster.entries for pid in pids):
        up = sum(one.is_up for one in status.values())
        return Ready(False, f"partitions are not placed yet: {up} of {initial_nodes} nodes have joined")
    leaderless = [pid for pid in pids if not is_led(cluster.entries[pid], status)]
    if leaderless:
        living = cluster.living.values()
        count = sum(not is_led(entry, status) for entry in living)
        return Ready(False, f"{count} of {len(living)} partitions have no leader, partition {leaderless[0]} first")
    return Ready(True, "")


def cluster_view(
    cluster: ClusterMap,
    status: Mapping[str, NodeStatus],
    moves: tuple[MoveView, ...] = (),
    gone: Collection[str] = (),
) -> ClusterView:
    """The whole state, nodes by id and partitions by number; `moves` are those that are not over, `gone` are nodes that
    are not waited for."""
    members = sorted(node for node, info in cluster.nodes.items() if info.standing is not Standing.REMOVED)
    living = cluster.living
    entries = living.values()
    held = Counter(node for entry in entries for node in {rid.node for rid in (*entry.replicas, *entry.adding)})
    leads = Counter(
        entry.leader.node
        for entry in entries
        if entry.leader is not None and entry.holds(entry.leader.node) is not None
    )
    return ClusterView(
        state=_state(cluster, status, gone),
        map_version=cluster.map_ver,
        nodes=tuple(
            _node_view(cluster.nodes[node], status.get(node, NEVER_SEEN), held[node], leads[node]) for node in members
        ),
        partitions=tuple(_partition_view(living[pid]) for pid in sorted(living)),
        moves=moves,
    )


def _state(cluster: ClusterMap, status: Mapping[str, NodeStatus], gone: Collection[str]) -> str:
    if not readiness(cluster, status, 0).ready:
        return "unavailable"
    hosts = sum(node.may_host and node.id not in gone for node in cluster.nodes.values())
    for keyspace in cluster.keyspaces.values():
        copies = keyspace.replicas or hosts
        for pid in keyspace.pids:
            in_sync = cluster.entries[pid].in_sync
            if sum(_is_there(pid, rid, status) for rid in in_sync) < copies:
                return "degraded"
    return "rebalancing" if cluster.active_moves else "healthy"


def _is_there(pid: int, rid: Rid, status: Mapping[str, NodeStatus]) -> bool:
    node = status.get(rid.node, NEVER_SEEN)
    return node.is_up and pid in node.copies and (pid, rid.store) not in node.lost


def _node_view(info: NodeInfo, status: NodeStatus, held: int, leads: int) -> NodeView:
    is_drained = info.standing is not Standing.MEMBER
    return NodeView(
        id=info.id,
        address=info.address,
        zone=info.zone,
        weight=info.weight,
        state="down" if not status.is_up else "draining" if is_drained else "up",
        leads=leads,
        follows=held - leads,
        keys=sum(copy.keys for copy in status.copies.values()),
        size_bytes=sum(copy.size_bytes for copy in status.copies.values()),
    )


def _partition_view(entry: Entry) -> PartitionView:
    return PartitionView(
        id=entry.pid,
        keyspace=entry.keyspace,
        epoch=entry.epoch,
        leader=entry.leader.node if entry.leader is not None else None,
        in_sync=tuple(rid.node for rid in entry.in_sync),
        replicas=tuple(rid.node for rid in (*entry.replicas, *entry.adding)),
        unclean_count=entry.unclean_count,
    )
