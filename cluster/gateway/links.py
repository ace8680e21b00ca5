"""The links from a gateway to the nodes of the map, each behind a circuit breaker.

Guarantees: one link to every node of the map, at the address it has there; a call that the breaker does not allow ends
as `NotSent`, so nothing of it left. Leaves to others: when a node may be called (`breaker`), dialling (`rpc.client`),
telling how each call that was sent ended (`dispatch`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable

from cluster.gateway.breaker import Breaker, State
from kvstore.map_values import NodeInfo, Standing
from kvstore.messages import Body
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import PRIORITY_DATA, Connection, NotSent


class NodeLinks:
    """Args: identity: who dials; rng: for jitter."""

    def __init__(self, identity: Identity, rng: random.Random) -> None:
        self._identity = identity
        self._rng = rng
        self._nodes: dict[str, tuple[Link, Breaker]] = {}
        self._closing: set[asyncio.Task[None]] = set()
        self._loop = asyncio.get_running_loop()

    def take(self, nodes: Iterable[NodeInfo]) -> None:
        """Dial nodes that are new or have moved, and hang up on those that are members no more."""
        for node in nodes:
            is_member = node.standing is not Standing.REMOVED
            if node.id in self._nodes:
                link, _ = self._nodes[node.id]
                if link.address == node.address and is_member:
                    continue
                del self._nodes[node.id]
                closing = self._loop.create_task(link.close())
                self._closing.add(closing)
                closing.add_done_callback(self._closing.discard)
            if is_member:
                self._nodes[node.id] = self._dial(node)

    def _dial(self, node: NodeInfo) -> tuple[Link, Breaker]:
        breaker = Breaker(self._loop.time, self._rng.random)
        link = Link(
            node.id,
            node.address,
            self._identity,
            _ignore,
            on_up=lambda _: breaker.link_up(),
            on_down=breaker.link_down,
        )
        link.start()
        return link, breaker

    async def close(self) -> None:
        """Cut every link."""
        await asyncio.gather(*self._closing, *(link.close() for link, _ in self._nodes.values()))

    def call(self, node: str, body: Body, timeout_s: float) -> asyncio.Future[Body]:
        """`Connection.call` on the link to `node`; whoever gets the future tells `answered` or `failed`.

        Raises:
            NotSent: there is no connection, or the breaker does not allow the call.
        """
        if node not in self._nodes:
            raise NotSent("its address is not in the map")
        link, breaker = self._nodes[node]
        if not breaker.allows():
            raise NotSent("it did not answer lately")
        try:
            return link.call(body, timeout_s)
        except NotSent:
            breaker.failed()
            raise

    def tell(self, node: str, body: Body) -> None:
        """Say something to `node` that needs no answer, if it can be said now."""
        if node in self._nodes:
            self._nodes[node][0].cast(body, PRIORITY_DATA)

    def answered(self, node: str) -> None:
        """A call to `node` was answered."""
        if node in self._nodes:
            self._nodes[node][1].succeeded()

    def failed(self, node: str) -> None:
        """A call to `node` got no answer."""
        if node in self._nodes:
            self._nodes[node][1].failed()

    def is_away(self, node: str) -> bool:
        """Whether `node` has not answered for longer than others take to lead in its place."""
        return node in self._nodes and self._nodes[node][1].is_lasting

    def breakers(self) -> dict[str, State]:
        """The state of each node's breaker, by node."""
        return {node: breaker.state for node, (_, breaker) in self._nodes.items()}

    @property
    def up_count(self) -> int:
        """How many nodes are connected."""
        return sum(link.is_up for link, _ in self._nodes.values())


def _ignore(_connection: Connection, _envelope: object) -> None:
    """Nodes say nothing to a gateway unasked."""
