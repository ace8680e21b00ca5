"""A data directory put back from a copy lacks acknowledged writes: its node may not come back with it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.processes import Cluster, wait_until

Start = Callable[..., Cluster]


class Restored:
    """A cluster in which `n1` was started, stopped, copied, started again and written to."""

    def __init__(self, cluster: Cluster, nodes: int) -> None:
        self.cluster = cluster
        for number in range(1, nodes + 1):
            cluster.start_node(f"n{number}")
        cluster.wait_ready()
        assert cluster.put("k", b"old").status == 201
        cluster.nodes["n1"].end()
        shutil.copytree(self.directory, self.older)
        cluster.start_node("n1")
        cluster.wait_ready()
        wait_until(lambda: cluster.put("k", b"new").headers["x-kv-copies"] == str(nodes))

    @property
    def directory(self) -> Path:
        return self.cluster.data / "n1"

    @property
    def older(self) -> Path:
        return self.cluster.data / "older"

    def restore(self) -> None:
        """kill -9 of `n1`, and the copy in the place of its data."""
        self.cluster.nodes["n1"].end(signal.SIGKILL)
        self.directory.rename(self.cluster.data / "right")
        self.older.rename(self.directory)

    def assert_refused(self) -> None:
        """The node ends by itself, in one line that says why."""
        node = self.cluster.start_node("n1")
        assert node.wait() == 1
        assert len(node.complaints) == 1
        assert "is older than the one that was admitted" in node.complaints[0]


@pytest.fixture
def restored(start_cluster: Start) -> Iterator[Callable[[int], Restored]]:
    def start(nodes: int) -> Restored:
        cluster = start_cluster(nodes, KVSTORE_PARTITIONS="4", KVSTORE_REPLICAS=str(nodes))
        return Restored(cluster, nodes)

    return start


def test_the_only_copy_does_not_lead_from_an_older_disk_but_does_from_the_right_one(
    restored: Callable[[int], Restored],
) -> None:
    story = restored(1)
    story.restore()
    story.assert_refused()
    assert story.cluster.ask("GET", "/v1/kv/k").code == "no_leader"
    assert story.cluster.ask("GET", "/readyz").status == 503

    shutil.rmtree(story.directory)
    (story.cluster.data / "right").rename(story.directory)
    story.cluster.start_node("n1")
    story.cluster.wait_ready()
    assert story.cluster.ask("GET", "/v1/kv/k").body == b"new"


def test_the_other_copy_leads_while_an_older_disk_is_refused(restored: Callable[[int], Restored]) -> None:
    story = restored(2)
    story.restore()
    story.assert_refused()
    story.cluster.nodes.pop("n1")
    story.cluster.wait_ready()
    assert story.cluster.ask("GET", "/v1/kv/k").body == b"new"
