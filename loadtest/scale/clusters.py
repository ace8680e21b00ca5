"""Clusters of any size, placed by the product's own placement.

Guarantees: the same sizes give the same map; every partition is led by its first copy and all of its copies are in
sync. Leaves to others: what is measured on them. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from cluster.cluster_map import ClusterMap
from cluster.placement import Assignment, Member
from cluster.placement.ring import RingPlacement
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid
from kvstore.messages import CopyReport, NodeReport

KEYSPACE = "default"
STORE_BYTES = 16
BOOT = 1
KEYS, COPY_BYTES = 100_000, 100_000_000


def members(nodes: int, zones: int = 1) -> list[Member]:
    """`nodes` members of equal weight, over `zones` in turn."""
    return [Member(f"node-{number:04}", f"zone-{number % zones}") for number in range(nodes)]


def placed(partitions: int, of: Sequence[Member], replicas: int, current: Assignment | None = None) -> Assignment:
    """Where the placement has the copies of partitions 1 to `partitions`."""
    return RingPlacement().place(range(1, partitions + 1), of, replicas, current or {})


def map_of(assignment: Assignment, of: Sequence[Member], replicas: int) -> ClusterMap:
    """The map of a cluster in which all is well."""
    nodes = {member.id: _node(member, number) for number, member in enumerate(of)}
    entries = {pid: _entry(pid, names) for pid, names in assignment.items()}
    keyspace = KeyspaceInfo(KEYSPACE, "consistent", tuple(assignment), replicas, 1)
    return ClusterMap(b"cluster1", len(nodes) + 2, nodes, {KEYSPACE: keyspace}, entries)


def report_of(node: str, held: Sequence[Entry]) -> NodeReport:
    """What a node tells of itself when all is well."""
    return NodeReport(
        [CopyReport(one.pid, one.epoch, _leads(node, one), KEYS, COPY_BYTES, one.ver, one.epoch, KEYS) for one in held]
    )


def held_by(cluster: ClusterMap) -> Mapping[str, Sequence[Entry]]:
    """The entries that name each node."""
    held: dict[str, list[Entry]] = {node: [] for node in cluster.nodes}
    for entry in cluster.entries.values():
        for rid in entry.replicas:
            held[rid.node].append(entry)
    return held


def process_of(node: str) -> bytes:
    """The name of the process that a node runs."""
    return node.encode().ljust(STORE_BYTES, b".")


def _leads(node: str, entry: Entry) -> bool:
    return entry.leader is not None and entry.leader.node == node


def _node(member: Member, number: int) -> NodeInfo:
    address = f"10.{number // 250}.0.{number % 250}:7000"
    return NodeInfo(
        *(member.id, address, member.zone, member.weight, BOOT, process_of(member.id)),
        own_zone=member.zone,
        own_weight=member.weight,
    )


def _entry(pid: int, names: Sequence[str]) -> Entry:
    rids = tuple(Rid(name, f"{pid}/{name}".encode().ljust(STORE_BYTES, b".")[-STORE_BYTES:]) for name in names)
    return Entry(pid, KEYSPACE, 2, 1, rids[0], rids, rids, leader_boot=BOOT)
