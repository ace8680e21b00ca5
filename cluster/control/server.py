"""The process side of control: carries out what the controller decides.

Guarantees: what a subscriber or a node is told is durable in the map store before. Leaves to others: every decision
(`controller`), HTTP.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import overload

from cluster.control.map_store import MapStore
from cluster.control.messages import (
    AdmitNode,
    Admitted,
    Answer,
    ClusterStatus,
    ClusterView,
    Readiness,
    Ready,
    Request,
)
from kvstore.messages import MapUpdate


@dataclass(frozen=True)
class ControlSettings:
    """How control places the keyspace `default`.

    Args:
        initial_nodes: partitions are placed once that many nodes are connected.
        partitions: their number, fixed when the keyspace is created.
        replicas: copies asked for of each partition.
        min_in_sync: in-sync copies below which a partition refuses writes.
        loopback_nodes: whether a node may be admitted at a loopback address.
    """

    initial_nodes: int = 1
    partitions: int = 64
    replicas: int = 2
    min_in_sync: int = 1
    loopback_nodes: bool = True


class ControlServer:
    """Control inside one event loop.

    Args:
        store: an open map store; the server closes it.
    """

    def __init__(self, store: MapStore, settings: ControlSettings) -> None:
        self._store = store
        self._settings = settings

    @property
    def cluster_id(self) -> bytes:
        """The 8 bytes that name this cluster; known once started."""
        raise NotImplementedError

    async def start(self) -> None:
        """Load the map and begin to dial the nodes in it."""
        raise NotImplementedError

    async def close(self) -> None:
        """Cut every connection, then close the map store."""
        raise NotImplementedError

    async def wait_failed(self) -> None:
        """Return only by raising: what made control unable to go on (the process should end)."""
        raise NotImplementedError

    @overload
    async def ask(self, request: AdmitNode) -> Admitted: ...
    @overload
    async def ask(self, request: ClusterStatus) -> ClusterView: ...
    @overload
    async def ask(self, request: Readiness) -> Ready: ...

    async def ask(self, request: Request) -> Answer:
        """Carry out a request; a refusal is raised as an error of `kvstore.errors`."""
        raise NotImplementedError

    def subscribe(self, callback: Callable[[MapUpdate], None]) -> Callable[[], None]:
        """Call `callback` at once with the whole map, then with every change, in order; returns the way to stop it.

        A keyspace is known before it is placed: until then its partitions have no entries.
        """
        raise NotImplementedError
