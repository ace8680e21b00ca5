"""Copies that every node is to have, looked at one step at a time."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
from unit.cluster.control.repair_story import NOTHING, Story, led, rid

from cluster.cluster_map import ClusterMap, PutEntry
from kvstore.map_values import Entry, Standing


class Everywhere(Story):
    """Partition 1 of a reference keyspace."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry, replicas=0)

    def set_standing(self, node: str, standing: Standing) -> None:
        info = msgspec.structs.replace(self.cluster.nodes[node], standing=standing)
        nodes = {**self.cluster.nodes, node: info}
        self.cluster = ClusterMap(b"cluster1", 9, nodes, self.cluster.keyspaces, self.cluster.entries)

    def entry(self) -> Entry:
        return self.cluster.entries[1]

    def store_all(self, changes: Iterable[PutEntry]) -> Entry:
        self.store(list(changes))
        return self.entry()


def test_a_copy_that_is_to_lead_is_not_given_up_before_another_one_is_to() -> None:
    story = Everywhere(led(1, "abc"))
    story.set_standing("a", Standing.LEAVING)
    assert story.tick() == NOTHING
    entry = story.entry()
    story.put(msgspec.structs.replace(entry, replicas=(rid("b"), rid("a"), rid("c"))))
    _, changes = story.tick()
    assert story.store_all(changes).removing == (rid("a"),)


def test_a_copy_is_taken_out_once_its_leader_has_let_it_go_and_all_others_are_in_sync() -> None:
    story = Everywhere(led(1, "abc"))
    story.set_standing("c", Standing.LEAVING)
    _, changes = story.tick()
    assert story.store_all(changes).removing == (rid("c"),)
    assert story.tick() == NOTHING
    story.put(msgspec.structs.replace(story.entry(), in_sync=(rid("a"),)))
    assert story.tick() == NOTHING
    story.put(msgspec.structs.replace(story.entry(), in_sync=(rid("a"), rid("b"))))
    _, changes = story.tick()
    assert story.store_all(changes).replicas == (rid("a"), rid("b"))


def test_one_that_is_given_up_does_not_count_for_a_node_that_lacks_a_copy() -> None:
    story = Everywhere(led(1, "abc"))
    story.set_standing("c", Standing.LEAVING)
    story.store_all(story.tick()[1])
    story.join("d")
    asks, changes = story.tick()
    assert (asks, changes) == ({"d": (1,)}, [])


def test_one_whose_node_stays_after_all_counts_again() -> None:
    story = Everywhere(led(1, "abc"))
    story.set_standing("c", Standing.LEAVING)
    story.store_all(story.tick()[1])
    story.set_standing("c", Standing.DRAINING)
    _, changes = story.tick()
    assert story.store_all(changes).removing == ()


def test_a_drained_node_is_asked_for_its_copy_and_one_that_leaves_is_not() -> None:
    story = Everywhere(led(1, "ab"))
    story.join("c", "d")
    story.set_standing("c", Standing.DRAINING)
    story.set_standing("d", Standing.LEAVING)
    assert story.tick() == ({"c": (1,)}, [])
