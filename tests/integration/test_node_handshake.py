"""How a node takes control's hello over a real socket: which boot it tells, and that it is durable first."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator

import pytest

from kvstore.clock import SystemClock
from kvstore.messages import Envelope
from kvstore.node.metrics import NodeMetrics
from kvstore.node.process import raise_boot
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState, load_node_state
from kvstore.partitions import Partitions
from kvstore.rpc.client import Identity, dial
from kvstore.rpc.connection import Connection, RpcError
from kvstore.rpc.server import Server
from kvstore.storage.engine import Batch
from kvstore.storage.memory import MemoryEngine

CLUSTER = b"cluster1"
CONTROL = Identity(CLUSTER, "control", "control")


class SlowEngine(MemoryEngine):
    """Commits once `may_commit` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.may_commit = threading.Event()
        self.may_commit.set()

    def commit(self, batch: Batch) -> None:
        self.may_commit.wait()
        super().commit(batch)


class NewNode:
    """A node on an engine of its own."""

    def __init__(self) -> None:
        self.engine = SlowEngine()
        self.address = ""

    async def start(self) -> None:
        partitions = Partitions(raise_boot(self.engine, "n1"), lambda: bytes(16), 1 << 20)
        self._service = Service(lambda: None, lambda: None, b"process1", is_new=False)
        self._shell = Shell(self.engine, partitions, SystemClock(), NodeMetrics(partitions), self._service.handle)
        self._service.bind(self._shell)
        self._server = Server(self._service.handle, cluster_id=lambda: None, on_closed=self._service.closed)
        self.address = f"127.0.0.1:{await self._server.listen('127.0.0.1', 0)}"

    async def stop(self) -> None:
        self.engine.may_commit.set()
        await self._server.close()
        await self._shell.close()

    async def restart(self) -> None:
        await self.stop()
        await self.start()

    @property
    def saved(self) -> NodeState:
        state = load_node_state(self.engine.snapshot())
        assert state is not None
        return state

    async def greet(self, identity: Identity = CONTROL, boot_floor: int = 0) -> int:
        """Say hello; returns the boot that the node tells."""
        connection = await dial(self.address, identity, ignore, lambda: None, boot_floor)
        boot = connection.boot
        connection.close("enough")
        return boot


def ignore(connection: Connection, envelope: Envelope) -> None:
    raise AssertionError("a node that knows no map asks nothing")


@pytest.fixture
async def node() -> AsyncIterator[NewNode]:
    node = NewNode()
    await node.start()
    yield node
    await node.stop()


async def test_a_new_store_tells_a_boot_above_the_one_its_cluster_knows(node: NewNode) -> None:
    assert await node.greet(boot_floor=6) == 7
    assert (node.saved.cluster_id, node.saved.boot) == (CLUSTER, 7)
    await node.restart()
    assert await node.greet(boot_floor=7) == 8


async def test_a_new_node_keeps_its_first_boot(node: NewNode) -> None:
    assert await node.greet() == 1


async def test_a_store_of_the_cluster_tells_its_own_boot_so_that_control_sees_an_older_image(node: NewNode) -> None:
    await node.greet()
    assert await node.greet(boot_floor=50) == 1
    assert node.saved.boot == 1


async def test_a_welcome_leaves_only_when_cluster_and_boot_are_durable(node: NewNode) -> None:
    node.engine.may_commit.clear()
    first, second = (asyncio.create_task(node.greet(boot_floor=6)) for _ in range(2))
    done, _ = await asyncio.wait((first, second), timeout=0.2)
    assert not done
    assert node.saved.cluster_id == b""
    node.engine.may_commit.set()
    assert await asyncio.gather(first, second) == [7, 7]
    assert node.saved.boot == 7


async def test_only_control_makes_a_new_store_belong_to_a_cluster(node: NewNode) -> None:
    for role in ("gateway", "node", "bulk", "admin"):
        with pytest.raises(RpcError, match="not admitted to a cluster yet"):
            await node.greet(Identity(CLUSTER, "n2", role), boot_floor=6)
    assert node.saved.cluster_id == b""
