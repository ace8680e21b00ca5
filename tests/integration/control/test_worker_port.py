"""Control, asked from other processes over a Unix socket."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest
from integration.control.fake_node import FakeNode

from cluster.cluster_map import ClusterMap
from cluster.control import remote
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, KeyspaceRequest, MoveTenant
from cluster.control.map_store.memory import MemoryMapStore
from cluster.control.messages import (
    AdmitNode,
    Admitted,
    ClusterStatus,
    DrawIncarnation,
    Incarnation,
    Readiness,
    RemoveNode,
)
from cluster.control.remote import ControlLost, RemoteControl
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.control.worker_port import NO_CLUSTER, WorkerPort
from kvstore.codec import CodecError
from kvstore.errors import BadParameter, KvError, NoLeader, NotFound, OperatorError, OutcomeUnknown, ShuttingDown
from kvstore.map_values import NodeInfo
from kvstore.messages import AskControl, Body, Done, MapUpdate, WorkerCounts
from kvstore.rpc import connection as rpc
from kvstore.rpc.connection import Connection, Lost

WAIT_S_MAX = 20.0


class MemoryTally:
    """Remembers what it is told."""

    def __init__(self) -> None:
        self.counts: dict[str, bytes] = {}
        self.lost: list[str] = []

    def take(self, worker: str, counts: bytes) -> None:
        if counts == b"damaged":
            raise CodecError("damaged")
        self.counts[worker] = counts

    def lose(self, worker: str) -> None:
        self.lost.append(worker)

    def total(self) -> bytes:
        return b"+".join(self.counts[worker] for worker in sorted(self.counts))


class CountedIds:
    """1, 2, 3 and so on; where there are none, that is said."""

    def __init__(self) -> None:
        self.last = 0
        self.is_dry = False

    async def draw(self, count: int) -> list[int]:
        if self.is_dry:
            raise NoLeader("no ids")
        self.last += count
        return list(range(self.last - count + 1, self.last + 1))


class Place:
    """A control with two nodes to come, and the socket at which its workers reach it."""

    def __init__(self, stack: AsyncExitStack, directory: Path) -> None:
        self.path = directory / "control"
        self.control = ControlServer(MemoryMapStore(b"cluster1"), ControlSettings(initial_nodes=2, partitions=8))
        self.tally = MemoryTally()
        self.ids = CountedIds()
        self.port = WorkerPort(self.control, self.tally, self.ids)
        self._stack = stack

    async def worker(self, name: str, timeout_s: float = WAIT_S_MAX) -> RemoteControl:
        """A worker that is connected."""
        worker = RemoteControl(self.path, name, timeout_s)
        self._stack.push_async_callback(worker.close)
        await worker.start()
        return worker

    async def raw(self) -> Connection:
        """A connection that has said nothing."""
        loop = asyncio.get_running_loop()
        _, connection = await loop.create_unix_connection(
            lambda: Connection(lambda *_: None, cluster_id=NO_CLUSTER, dialled=True), str(self.path)
        )
        self._stack.callback(connection.close)
        return connection

    async def node(self, name: str) -> FakeNode:
        """A node that listens and is no member."""
        node = await FakeNode(name).listen()
        self._stack.push_async_callback(node.close)
        return node


@pytest.fixture
async def place() -> AsyncIterator[Place]:
    # Not pytest's own directory, whose name may be too long for a socket.
    with tempfile.TemporaryDirectory() as directory:
        async with AsyncExitStack() as stack:
            place = Place(stack, Path(directory))
            stack.push_async_callback(place.control.close)
            await place.control.start()
            await place.port.listen(place.path)
            stack.push_async_callback(place.port.close)
            yield place


async def until_closed(connection: Connection) -> None:
    async with asyncio.timeout(WAIT_S_MAX):
        while connection.is_open:  # noqa: ASYNC110
            await asyncio.sleep(0.005)


async def test_a_worker_asks_as_if_control_were_its_own(place: Place) -> None:
    worker = await place.worker("1")
    assert worker.cluster_id == place.control.cluster_id
    node = await place.node("n1")
    assert await worker.ask(AdmitNode("n1", node.address)) == Admitted(True)
    assert await worker.ask(AdmitNode("n1", node.address)) == Admitted(False)
    assert await worker.ask(ClusterStatus()) == await place.control.ask(ClusterStatus())
    assert await worker.ask(Readiness()) == await place.control.ask(Readiness())


async def test_workers_draw_incarnations_that_nobody_else_has(place: Place) -> None:
    workers = [await place.worker(name) for name in ("1", "2")]
    drawn = await asyncio.gather(*(worker.ask(DrawIncarnation()) for worker in workers * 5))
    assert all(isinstance(one, Incarnation) for one in drawn)
    assert len({one.number for one in drawn}) == 10


async def test_a_refusal_of_control_reaches_the_worker_as_it_is(place: Place) -> None:
    worker = await place.worker("1")
    for request, kind in ((AdmitNode("n 1", "nonsense"), BadParameter), (RemoveNode("n9"), NotFound)):
        with pytest.raises(kind) as here:
            await place.control.carry_out(request)
        with pytest.raises(kind) as there:
            await worker.carry_out(request)
        assert there.value.detail == here.value.detail


async def test_what_breaks_unforeseen_is_answered_all_the_same(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    async def carry_out(_request: object) -> Body:
        raise RuntimeError("a bug")

    worker = await place.worker("1")
    monkeypatch.setattr(place.control, "carry_out", carry_out)
    async with asyncio.timeout(5):
        with pytest.raises(KvError) as caught:
            await worker.ask(DrawIncarnation())
    assert caught.value.code == "internal"
    assert await worker.draw(2) == [1, 2]


async def test_a_worker_gets_the_whole_map_and_then_every_change_in_order(place: Place) -> None:
    early = await place.node("n1")
    await place.control.ask(AdmitNode("n1", early.address))
    worker, own, updates = await place.worker("1"), list[MapUpdate](), list[MapUpdate]()
    place.control.subscribe(own.append)
    stop = worker.subscribe(updates.append)
    assert [node.id for node in updates[0].nodes] == ["n1"]
    late = await place.node("n2")
    await worker.ask(AdmitNode("n2", late.address))
    async with asyncio.timeout(WAIT_S_MAX):
        while not (await worker.ask(Readiness())).ready:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    assert updates == own
    known = ClusterMap.empty(worker.cluster_id)
    for update in updates:
        known = known.updated(update)
    assert len(known.entries) == 8
    afterwards: list[MapUpdate] = []
    worker.subscribe(afterwards.append)
    assert ClusterMap.empty(worker.cluster_id).updated(afterwards[0]) == known
    stop()


async def test_when_control_is_gone_a_worker_is_told_and_nothing_is_promised_of_what_it_asked(place: Place) -> None:
    worker = await place.worker("1")
    silent = await place.node("n1")
    silent.answers_hello = False
    asked = [asyncio.create_task(worker.carry_out(one)) for one in (AdmitNode("n1", silent.address), ClusterStatus())]
    await asyncio.sleep(0.05)
    await place.port.close()
    with pytest.raises(ControlLost):
        await asyncio.wait_for(worker.wait_failed(), WAIT_S_MAX)
    with pytest.raises(OutcomeUnknown):
        await asked[0]
    await asked[1]
    with pytest.raises(ShuttingDown):
        await worker.ask(ClusterStatus())
    with pytest.raises(ShuttingDown):
        await worker.all_counts(b"")


@pytest.mark.parametrize(
    "request_",
    [CreateKeyspace("k", "hash", 4, 1, 1), DeleteKeyspace("k"), MoveTenant("k", b"t")],
    ids=lambda one: type(one).__name__,
)
async def test_so_it_is_with_changes_of_keyspaces(
    place: Place, monkeypatch: pytest.MonkeyPatch, request_: KeyspaceRequest
) -> None:
    async def lose(*_: object) -> None:
        raise Lost("the connection was cut")

    worker = await place.worker("1")
    monkeypatch.setattr(worker, "_call", lose)
    with pytest.raises(OutcomeUnknown):
        await worker.carry_out(request_)


async def test_a_question_that_changes_nothing_may_be_asked_again_when_control_is_gone(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await place.worker("1")
    never: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def wait(_request: object) -> None:
        await never

    monkeypatch.setattr(place.control, "carry_out", wait)
    asked = asyncio.create_task(worker.ask(ClusterStatus()))
    await asyncio.sleep(0.05)
    await place.port.close()
    with pytest.raises(ShuttingDown):
        await asked


async def test_a_worker_that_nobody_answers_says_so_in_one_line(tmp_path: Path) -> None:
    worker = RemoteControl(tmp_path / "nothing", "1", WAIT_S_MAX)
    with pytest.raises(OperatorError, match="control does not answer"):
        await worker.start()
    await worker.close()


async def test_a_worker_that_takes_nothing_is_cut_off_and_the_others_go_on(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rpc, "OUTBOX_MESSAGES_MAX", 4)
    monkeypatch.setattr(rpc, "WRITE_BUFFER_BYTES_HIGH", 64 * 1024)
    slow, brisk = await place.worker("slow"), await place.worker("brisk")
    received: list[MapUpdate] = []
    brisk.subscribe(received.append)
    assert slow._connection is not None
    assert slow._connection._transport is not None
    slow._connection._transport.pause_reading()
    subscribers = place.control._subscribers
    assert len(subscribers) == 2
    sent = 0
    async with asyncio.timeout(WAIT_S_MAX):
        while len(subscribers) == 2:
            sent += 1
            update = MapUpdate(sent, [NodeInfo(f"n{sent}", "h:1", "z" * 100_000, 1.0, 1)], [])
            for tell in list(subscribers):
                tell(update)
            while brisk._map.map_ver < sent:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
    assert place.tally.lost == ["slow"]
    slow._connection._transport.resume_reading()
    with pytest.raises(ControlLost):
        await asyncio.wait_for(slow.wait_failed(), WAIT_S_MAX)
    assert [update.map_ver for update in received[1:]] == list(range(1, sent + 1))
    again = await place.worker("slow")
    assert again.cluster_id == place.control.cluster_id


async def test_what_workers_count_reaches_the_tally_and_comes_back_as_a_whole(place: Place) -> None:
    one, two = await place.worker("1"), await place.worker("2")
    one.tell_counts(b"1")
    assert await one.all_counts(b"2") == b"2"
    assert await two.all_counts(b"3") == b"2+3"
    await one.close()
    async with asyncio.timeout(WAIT_S_MAX):
        while not place.tally.lost:  # noqa: ASYNC110
            await asyncio.sleep(0.005)
    assert place.tally.lost == ["1"]


async def test_ids_rise_for_all_workers_together(place: Place) -> None:
    one, two = await place.worker("1"), await place.worker("2")
    drawn = [await worker.draw(3) for worker in (one, two, one)]
    assert drawn == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    place.ids.is_dry = True
    with pytest.raises(NoLeader, match="no ids"):
        await two.draw(1)
    await place.port.close()
    with pytest.raises(ShuttingDown):
        await one.draw(1)


async def test_control_that_stands_still_is_not_waited_for(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "LATE_S", 0.05)
    worker = await place.worker("1", timeout_s=0.05)
    monkeypatch.setattr(remote, "IDS_S_MAX", 0.05)
    monkeypatch.setattr(remote, "COUNTS_S_MAX", 0.05)
    monkeypatch.setattr(place.port, "_take", lambda *_: None)
    for asked in (worker.draw(1), worker.all_counts(b"")):
        with pytest.raises(NoLeader, match="does not answer"):
            await asked
    with pytest.raises(NoLeader, match="did not answer"):
        await worker.ask(ClusterStatus())
    with pytest.raises(OutcomeUnknown):
        await worker.ask(DeleteKeyspace("k"))


@pytest.mark.parametrize("body", [Done(), AskControl(b"\xc1"), WorkerCounts(b"damaged"), MapUpdate(1, [], [])])
async def test_who_says_what_no_worker_says_is_cut_off(place: Place, body: Body) -> None:
    worker = await place.worker("1")
    assert worker._connection is not None
    with pytest.raises(rpc.RpcError):
        await worker._connection.call(body, WAIT_S_MAX)


async def test_who_does_not_begin_with_hello_is_cut_off(place: Place) -> None:
    connection = await place.raw()
    connection.cast(WorkerCounts(b"1"))
    await until_closed(connection)
    assert place.tally.counts == {}


async def test_two_workers_of_one_name_are_not_connected_at_a_time(place: Place) -> None:
    await place.worker("1")
    with pytest.raises(OperatorError):
        await place.worker("1")
