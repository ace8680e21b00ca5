"""Durable before acknowledged: the order of writes, syncs and answers, as a recording of real nodes shows it.

kill -9 cannot show a missing fsync, for the page cache survives it. Here every write of a node to its store, every sync
and every message is recorded in one order; from that the disk is rebuilt that a loss of power would leave at the very
moment at which an acknowledgement goes out.
"""

from __future__ import annotations

import errno
import random
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
from probe.processes import Cluster, wait_until
from shim import iolog
from shim.iolog import Call, Event, Message

from kvstore.effects import Alarm
from kvstore.messages import Acked, Write, WriteResult, Written
from kvstore.node_state import load_node_state
from kvstore.partitions import Partitions
from kvstore.storage.engine import Table, range_end
from kvstore.storage.journal import Journal
from kvstore.storage.lmdb_engine import LmdbEngine
from kvstore.storage.records import decode_log_row

PARTITIONS = 4
NODES = ("n1", "n2", "n3")
WRITERS = 8
WRITES_EACH = 12
MAP_SIZE_BYTES = 32 * 1024 * 1024

Log = tuple[bytes, bytes]


@dataclass(frozen=True, slots=True)
class Answered:
    """A write that a leader answered; `message` carries the answer."""

    node: str
    pid: int
    seq: int
    key: bytes
    value: bytes
    message: Message


@dataclass(frozen=True)
class Recording:
    """All that the nodes of one cluster did, and the writes that were acknowledged to HTTP clients."""

    events: Mapping[str, Sequence[Event]]
    acknowledged: Mapping[bytes, bytes]

    def answered(self) -> Iterator[Answered]:
        """Every write that stands in a log and was answered, with its question found by call and connection."""
        for node, events in self.events.items():
            asked = {
                (message.inode, message.envelope.call): message.envelope.body
                for message in iolog.messages(events, Call.RECEIVE)
                if isinstance(message.envelope.body, Write)
            }
            for message in iolog.messages(events, Call.SEND):
                if not isinstance(message.envelope.body, WriteResult):
                    continue
                write = asked[message.inode, -message.envelope.call]
                assert isinstance(write, Write)
                for one, result in zip(write.writes, message.envelope.body.results, strict=True):
                    if isinstance(result, Written) and result.seq:
                        yield Answered(node, one.pid, result.seq, one.key, one.value or b"", message)

    def acks(self, node: str) -> Iterator[tuple[Message, Acked]]:
        """What the node acknowledged as a follower, where there was anything to acknowledge."""
        for message in iolog.messages(self.events[node], Call.SEND):
            body = message.envelope.body
            if isinstance(body, Acked) and body.log_end:
                yield message, body


class Disks:
    """The logs of copies on the disk that a loss of power leaves."""

    def __init__(self, recording: Recording, folder: Path) -> None:
        self._recording = recording
        self._folder = folder
        self._cache: dict[tuple[str, int], dict[int, dict[int, Log]]] = {}

    def logs(self, node: str, at_ns: int, rng: random.Random | None = None) -> dict[int, dict[int, Log]]:
        """By partition and seq, the (key, value) of each record in the log; a damaged copy fails the test."""
        if rng is None and (node, at_ns) in self._cache:
            return self._cache[node, at_ns]
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir()
        image = iolog.power_image(self._recording.events[node], at_ns, rng)
        (self._folder / "data.mdb").write_bytes(image)
        logs = self._cache[node, at_ns] = read_logs(self._folder)
        return logs


def read_logs(folder: Path) -> dict[int, dict[int, Log]]:
    """Open a store as a node does when it starts."""
    engine = LmdbEngine(folder, MAP_SIZE_BYTES)
    view = engine.snapshot()
    try:
        state = load_node_state(view)
        assert state is not None, "a loss of power left an empty store"
        partitions = Partitions(state, lambda: b"", MAP_SIZE_BYTES)
        assert not [effect for effect in partitions.load(view) if isinstance(effect, Alarm)]
        logs: dict[int, dict[int, Log]] = {}
        journaled = Journal().load(view)
        for partition in partitions:
            log = logs[partition.pid] = {}
            copy = partition.copy
            rows = [row for _, row in view.scan(Table.LOG, copy.prefix, range_end(copy.prefix))]
            for row in (*rows, *journaled.get(copy.number, [])):
                head = decode_log_row(row)
                records = enumerate(head.records(), head.first_seq)
                log.update((seq, (record.key, record.value)) for seq, record in records)
        return logs
    finally:
        view.close()
        engine.close()


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    if shutil.which("cc") is None:
        pytest.skip("the recording library needs cc")
    return iolog.build(tmp_path_factory.mktemp("iolog"))


@pytest.fixture(scope="module")
def recording(library: Path, tmp_path_factory: pytest.TempPathFactory) -> Recording:
    """Three nodes, recorded while eight clients write at the same time: small values, large ones, deletes."""
    folder = tmp_path_factory.mktemp("recorded")
    cluster = Cluster(
        folder, len(NODES), KVSTORE_PARTITIONS=str(PARTITIONS), KVSTORE_MAP_SIZE_BYTES=str(MAP_SIZE_BYTES)
    )
    try:
        for name in NODES:
            cluster.start_node(name, **iolog.environment(library, folder / f"{name}.iolog"))
        cluster.wait_ready()
        with ThreadPoolExecutor(WRITERS) as pool:
            written = list(pool.map(lambda writer: write_all(cluster, writer), range(WRITERS)))
        assert [node.end() for node in cluster.nodes.values()] == [0] * len(NODES)
    finally:
        cluster.close()
    events = {name: iolog.read_log(folder / f"{name}.iolog") for name in NODES}
    return Recording(events, {key: value for part in written for key, value in part.items()})


def write_all(cluster: Cluster, writer: int) -> dict[bytes, bytes]:
    """Put distinct keys, a large value among them, and delete some again; returns what was acknowledged as put."""
    put = {}
    for number in range(WRITES_EACH):
        key = f"w{writer}-{number}"
        value = f"<value of {key}>".encode() * (2000 if number == 3 else 1)
        assert cluster.ask("PUT", f"/v1/kv/{key}", value).status == 201
        put[key.encode()] = value
        if number % 4 == 1:
            assert cluster.ask("DELETE", f"/v1/kv/{key}").status == 204
    return put


@pytest.fixture
def disks(recording: Recording, tmp_path: Path) -> Disks:
    return Disks(recording, tmp_path / "image")


def test_the_recording_holds_every_acknowledged_write(recording: Recording) -> None:
    answered = {(one.key, one.value) for one in recording.answered()}
    assert len(recording.acknowledged) == WRITERS * WRITES_EACH
    assert answered >= set(recording.acknowledged.items())


def test_a_write_is_on_the_disks_of_all_copies_before_its_answer_leaves(recording: Recording, disks: Disks) -> None:
    copies = {node: set(disks.logs(node, events[-1].end_ns)) for node, events in recording.events.items()}
    for one in recording.answered():
        holders = [node for node, pids in copies.items() if one.pid in pids]
        assert len(holders) == 2
        assert one.node in holders
        for node in holders:
            log = disks.logs(node, one.message.begin_ns)[one.pid]
            assert log.get(one.seq) == (one.key, one.value), f"{one.key!r} was answered before it was on {node}'s disk"


def test_a_follower_acknowledges_only_what_is_on_its_disk(recording: Recording, disks: Disks) -> None:
    acks = 0
    for node in NODES:
        for message, acked in recording.acks(node):
            acks += 1
            log = disks.logs(node, message.begin_ns)[acked.pid]
            assert max(log, default=0) >= acked.log_end, f"{node} acknowledged {acked.log_end} of {acked.pid} too early"
    assert acks > PARTITIONS


def test_a_leader_answers_after_the_follower_has_acknowledged(recording: Recording) -> None:
    received = {
        node: [
            (message.end_ns, message.envelope.body)
            for message in iolog.messages(events, Call.RECEIVE)
            if isinstance(message.envelope.body, Acked)
        ]
        for node, events in recording.events.items()
    }
    for one in recording.answered():
        assert any(
            end_ns < one.message.begin_ns and acked.pid == one.pid and acked.log_end >= one.seq
            for end_ns, acked in received[one.node]
        ), f"{one.key!r} was answered before its follower acknowledged it"


@pytest.mark.parametrize("seed", range(3))
def test_unsynced_pages_that_reached_the_disk_by_chance_do_no_harm(
    recording: Recording, disks: Disks, seed: int
) -> None:
    rng = random.Random(seed)
    for one in rng.sample(list(recording.answered()), 20):
        log = disks.logs(one.node, one.message.begin_ns, rng)[one.pid]
        assert log.get(one.seq) == (one.key, one.value)


def test_the_store_is_written_by_calls_that_the_recording_sees(recording: Recording) -> None:
    for events in recording.events.values():
        syncs = [event for event in events if event.call is Call.SYNC]
        assert syncs
        assert all(event.inode for event in syncs), "a memory map was synced"


WRITE_ONE_ROW = """
import sys
import lmdb
environment = lmdb.open(sys.argv[1], sync=sys.argv[2] == "synced", metasync=sys.argv[3] == "synced")
with environment.begin(write=True) as transaction:
    transaction.put(b"key", b"value")
"""


@pytest.mark.parametrize(("data", "head", "there"), [("synced", "synced", True), ("not", "not", False)])
def test_a_store_that_does_not_sync_is_found_out(
    library: Path, tmp_path: Path, data: str, head: str, there: bool
) -> None:
    script = [sys.executable, "-c", WRITE_ONE_ROW, str(tmp_path / "store"), data, head]
    subprocess.run(script, env=iolog.environment(library, tmp_path / "log"), check=True)
    events = iolog.read_log(tmp_path / "log")
    assert b"value" in b"".join(event.bytes for event in events if event.call is Call.WRITE)
    assert (b"value" in iolog.power_image(events, events[-1].end_ns + 1)) is there


def put(cluster: Cluster, keys: range) -> None:
    for number in keys:
        answer = cluster.put(f"k{number}", str(number).encode())
        assert (answer.status, answer.headers.get("x-kv-copies")) == (201, "2"), answer.body


@pytest.mark.parametrize(("call", "number"), [("sync", errno.EIO), ("write", errno.EIO), ("write", errno.ENOSPC)])
def test_a_failing_disk_ends_the_process_and_loses_nothing(
    library: Path, start_cluster: Callable[..., Cluster], tmp_path: Path, call: str, number: int
) -> None:
    cluster = start_cluster(2, KVSTORE_PARTITIONS="4", KVSTORE_REQUEST_TIMEOUT_S="1")
    fault = tmp_path / "fault"
    broken = cluster.start_node("n1", **iolog.environment(library, tmp_path / "n1.iolog", fault))
    cluster.start_node("n2")
    cluster.wait_ready()
    put(cluster, range(20))

    (tmp_path / "armed").write_text(f"{call} {number}")
    (tmp_path / "armed").rename(fault)
    unsure = cluster.ask("PUT", "/v1/kv/unsure", b"x")
    refused = {(504, "outcome_unknown"), (503, "no_leader"), (503, "not_enough_copies")}
    assert (unsure.status, unsure.code) in refused | {(201, "")}, "201 where the other copy leads and goes on alone"
    assert broken.wait() == 70
    assert len(broken.complaints) == 1
    assert broken.complaints[0].startswith("kvstore: the store failed, the process ends: ")
    failed = [event for event in iolog.read_log(tmp_path / "n1.iolog") if event.result == -number]
    assert len(failed) == 1, "it was not tried again"

    cluster.start_node("n1")
    cluster.wait_ready()
    for key in range(20):
        assert cluster.ask("GET", f"/v1/kv/k{key}").body == str(key).encode()
    wait_until(lambda: cluster.status()["state"] == "healthy")
    put(cluster, range(20, 40))
