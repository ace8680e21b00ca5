"""What workers ask control, and what it answers.

Guarantees: frozen values of checked types, so that a worker in another process may send the same ones. Refusals are
errors of `kvstore.errors`. The cluster map itself travels as `kvstore.messages.MapUpdate`. Leaves to others: carrying
out a request (`controller`), the HTTP around it. Sans-IO.
"""

from __future__ import annotations

import msgspec


class ControlMessage(msgspec.Struct, frozen=True):
    """Base of requests, answers and the values inside them; field names are those of the HTTP API."""


class AdmitNode(ControlMessage, frozen=True, tag=True):
    """Make a node a member, or take note of a known one's new address, zone or weight. Answer: `Admitted`.

    Refused with BadParameter (names the field), Conflict (the id is taken, the node belongs to another cluster, its
    disk is older than the one that was admitted) or Overloaded (no answer in time: try again).
    """

    id: str
    address: str
    zone: str = "default"
    weight: float = 1.0


class ClusterStatus(ControlMessage, frozen=True, tag=True):
    """Asks how the cluster is. Answer: `ClusterView`."""


class Readiness(ControlMessage, frozen=True, tag=True):
    """Asks whether every partition has a reachable leader that serves. Answer: `Ready`."""


Request = AdmitNode | ClusterStatus | Readiness


class Admitted(ControlMessage, frozen=True):
    """The node is a member and its membership is durable; `created` says that it was none before."""

    created: bool


class Ready(ControlMessage, frozen=True):
    """`reason` is a sentence that says what is missing; empty when ready."""

    ready: bool
    reason: str


class NodeView(ControlMessage, frozen=True):
    """A member as an operator sees it; `state` is `up` or `down`, `keys` and `bytes` count all copies it holds."""

    id: str
    address: str
    zone: str
    weight: float
    state: str
    leads: int
    follows: int
    keys: int
    size_bytes: int = msgspec.field(name="bytes")


class PartitionView(ControlMessage, frozen=True):
    """A placed partition; leader, in_sync and replicas are node ids."""

    id: int
    keyspace: str
    epoch: int
    leader: str | None
    in_sync: tuple[str, ...]
    replicas: tuple[str, ...]


class ClusterView(ControlMessage, frozen=True):
    """The body of `GET /v1/cluster` (`to_builtins` and JSON encoding give the API's field names).

    `state`: `unavailable`, `degraded` or `healthy`, the first that fits. `moves` is empty: partitions do not move yet.
    """

    state: str
    map_version: int
    nodes: tuple[NodeView, ...]
    partitions: tuple[PartitionView, ...]
    moves: tuple[()] = ()


Answer = Admitted | ClusterView | Ready
