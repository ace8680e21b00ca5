"""What it costs to find a key's partition and leader, and a partition's nodes on the ring."""

from __future__ import annotations

from pytest_benchmark.fixture import BenchmarkFixture

from cluster.gateway.router import Router
from cluster.placement import Member
from cluster.placement.ring import Ring
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid
from kvstore.messages import MapUpdate

PARTITIONS = 64
NODES = ("n1", "n2", "n3")


def test_route_a_key(benchmark: BenchmarkFixture) -> None:
    rids = tuple(Rid(node, b"1" * 16) for node in NODES)
    pids = tuple(range(1, PARTITIONS + 1))
    entries = [Entry(pid, "default", 1, 1, rids[pid % 3], rids[:2], rids[:2]) for pid in pids]
    nodes = [NodeInfo(node, "127.0.0.1:1", "z", 1.0, 1) for node in NODES]
    router = Router(b"c" * 8)
    router.take(MapUpdate(1, nodes, entries, [KeyspaceInfo("default", "consistent", pids, 2, 1)]))
    assert benchmark(router.route, "default", b"b100-000001").pid in pids


def test_walk_the_ring(benchmark: BenchmarkFixture) -> None:
    ring = Ring([Member(node, node) for node in NODES])
    assert sorted(benchmark(ring.walk, 17)) == list(NODES)
