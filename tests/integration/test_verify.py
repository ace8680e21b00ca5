"""`kvstore verify` on a cluster of processes: under load, and where a row of one copy was changed behind its back."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable
from pathlib import Path

import lmdb
import msgspec
from probe.processes import KVSTORE, Cluster, wait_until

from kvstore.replication.copy_rows import NAME, CopyName
from kvstore.storage.engine import Table

Start = Callable[..., Cluster]
MORE_KEYS = 20


def verify(cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """The command, as an operator types it."""
    return subprocess.run(
        [*KVSTORE, "verify"],
        env={**os.environ, "KVSTORE_GATEWAY": cluster.url},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )


def start(start_cluster: Start) -> Cluster:
    cluster = start_cluster(2, KVSTORE_PARTITIONS="4")
    for name in ("n1", "n2"):
        cluster.start_node(name)
    cluster.wait_ready()
    return cluster


def change_a_byte(node_data: Path, key: bytes) -> int:
    """The last byte of the key's value is another one, in the copy of a node that does not run; returns the
    partition."""
    with lmdb.open(str(node_data), map_size=1 << 30, max_dbs=len(Table)) as environment:
        data, meta = (environment.open_db(table.name.lower().encode()) for table in (Table.DATA, Table.META))
        with environment.begin(write=True) as transaction:
            (row_key, row) = next(pair for pair in transaction.cursor(data) if pair[0][4:] == key)
            assert transaction.replace(row_key, row[:-1] + bytes([row[-1] ^ 1]), db=data)
            name: bytes = transaction.get(row_key[:4] + NAME, db=meta)
            return msgspec.msgpack.decode(name, type=CopyName).pid


def in_two_copies(cluster: Cluster) -> int:
    """How many of some further keys, which are in all partitions, are written to two copies now."""
    answers = [cluster.put(f"more-{number}", b"value") for number in range(MORE_KEYS)]
    return sum(answer.headers.get("x-kv-copies") == "2" for answer in answers)


def test_copies_are_equal_at_one_moment_while_they_are_written_to(start_cluster: Start) -> None:
    cluster = start(start_cluster)
    is_over = threading.Event()

    def write() -> None:
        number = 0
        while not is_over.is_set():
            number += 1
            cluster.put(f"k{number % 50}", b"v%d" % number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        for _ in range(2):
            found = verify(cluster)
            assert (found.returncode, found.stderr) == (0, "")
            assert found.stdout == "4 partitions compared, all copies equal\n"
    finally:
        is_over.set()
        writer.join()
    assert not [line for node in cluster.nodes.values() for line in node.err if '"alarm"' in line]


def test_a_byte_that_was_changed_behind_a_copy_is_found_and_its_key_named(start_cluster: Start) -> None:
    cluster = start(start_cluster)
    for number in range(40):
        assert cluster.put(f"key-{number}", b"value").status == 201
    # What is compared has been applied, which an acknowledged write need not be yet.
    assert verify(cluster).returncode == 0
    node = cluster.nodes["n2"]
    node.end(signal.SIGTERM)
    pid = change_a_byte(cluster.data / "n2", b"key-7")
    cluster.start_node("n2").wait_ready()
    wait_until(lambda: in_two_copies(cluster) == MORE_KEYS)

    found = verify(cluster)
    assert found.returncode == 1
    first, named, last = found.stdout.splitlines()
    assert first in (
        f"partition {pid}: the copies on n1, n2 differ in keys",
        f"partition {pid}: the copies on n2, n1 differ in keys",
    )
    assert named.startswith("  'key-7': ")
    assert last == "4 partitions compared, 1 with a difference"
    assert [line for node in cluster.nodes.values() for line in node.err if '"alarm"' in line and "differ" in line]
    assert cluster.put("key-7", b"written again").status == 204
    assert verify(cluster).returncode == 0
