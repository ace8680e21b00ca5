"""Messages that flow while nothing happens: pings between nodes, reports to control, and the connections for them.

Guarantees: who pings whom follows from the placement, as in `kvstore.leases`: each node those with which it shares a
partition that one of them leads; sizes are those of the product's codec. Leaves to others: what handling a message
costs beyond its codec. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from cluster.placement import Assignment
from kvstore.codec import decode_frame, encode_frame
from kvstore.leases import PING_MS
from kvstore.map_values import Rid
from kvstore.messages import Ping, Pong
from scale.clusters import STORE_BYTES
from scale.map_costs import best, frame_of

REPORT_S = 0.5
SAMPLE = 20


@dataclass(frozen=True)
class Traffic:
    """Of a node, on average, each second; `ping_visits` are looks at a copy for the answers to pings."""

    nodes: int
    partitions: int
    replicas: int
    partners: float
    messages: float
    cluster_messages: float
    bytes_sent: float
    codec_cpu: float
    ping_visits: float
    reports_to_each_gateway: float
    node_connections: int


def partners(assignment: Assignment) -> Mapping[str, Mapping[str, Sequence[int]]]:
    """For each node whom it pings, with the partitions that it leads and the other has a copy of."""
    pairs: dict[str, dict[str, list[int]]] = {}
    for pid, (leader, *followers) in assignment.items():
        for follower in followers:
            pairs.setdefault(leader, {}).setdefault(follower, []).append(pid)
            pairs.setdefault(follower, {}).setdefault(leader, [])
    return pairs


def traffic(assignment: Assignment, nodes: int, replicas: int, gateways: int = 1) -> Traffic:
    """Work out what flows in a cluster with that placement; who has no partner counts too."""
    pairs = partners(assignment)
    pings_per_s = 1000 / PING_MS
    count = sum(map(len, pairs.values())) / nodes
    copies = len(assignment) * replicas / nodes
    sampled = [asked for _, asked in sorted(pairs.items())[:SAMPLE]]
    pings = [_ping(node, pids) for asked in sampled for node, pids in asked.items()]
    pongs = [Pong(ping.number, [], [(pid, pid, 0) for pid, _, _ in ping.leads]) for ping in pings]
    encoded, encode_s = best(lambda: [encode_frame(frame_of(body)) for body in (*pings, *pongs)])
    _, decode_s = best(lambda: [decode_frame(one) for one in encoded])
    exchanges = max(1, len(pings))
    # Of each pair a node sends a ping and a pong, and gets a pong and a ping.
    return Traffic(
        *(nodes, len(assignment), replicas, count),
        messages=4 * count * pings_per_s,
        cluster_messages=2 * count * pings_per_s * nodes,
        bytes_sent=count * pings_per_s * sum(map(len, encoded)) / exchanges,
        codec_cpu=count * pings_per_s * (encode_s + decode_s) / exchanges,
        ping_visits=count * pings_per_s * copies,
        reports_to_each_gateway=nodes / REPORT_S,
        node_connections=node_connections(nodes, gateways),
    )


def node_connections(nodes: int, gateways: int) -> int:
    """Connections of a node: one that it dialled and one that it took for each other node, a worker's and control's of
    each gateway."""
    return 2 * (nodes - 1) + 2 * gateways


def _ping(node: str, pids: Sequence[int]) -> Ping:
    return Ping(1 << 32, [(pid, Rid(node, b"." * STORE_BYTES), 1) for pid in pids])
