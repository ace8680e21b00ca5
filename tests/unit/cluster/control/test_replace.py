"""A node that has been away for too long is replaced, one copy after the other, and gets back nothing of it."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec
import pytest
from unit.cluster.control.repair_story import NOTHING, Story, led, rid

from cluster.cluster_map import PutEntry
from kvstore.map_values import Entry, Rid


class Replacing(Story):
    """A story in which nodes may be gone for good."""

    def gone(self, *nodes: str) -> tuple[object, list[PutEntry]]:
        """The next look, while these have been away for too long."""
        self.now_s += 1.0
        return self.repair.tick(self.cluster, self.hosts, self.now_s, frozenset(nodes))

    def entry(self, pid: int = 1) -> Entry:
        return self.cluster.entries[pid]

    def in_sync(self, *rids: Rid) -> None:
        """The leader has these in sync, and places those that were added."""
        entry = self.entry()
        placed = tuple(one for one in entry.adding if one in rids)
        self.put(
            msgspec.structs.replace(
                entry,
                in_sync=rids,
                replicas=(*entry.replicas, *placed),
                adding=tuple(one for one in entry.adding if one not in rids),
            )
        )


@pytest.fixture
def story() -> Replacing:
    """Of two copies the one on `b` is out of sync, its node away; `c` is free."""
    story = Replacing(led(1, "ab", in_sync="a"))
    story.join("c")
    story.leave("b")
    assert story.tick() == NOTHING
    return story


def replaced(story: Replacing) -> Iterable[PutEntry]:
    asks, changes = story.gone("b")
    assert (asks, changes) == ({"c": (1,)}, [])
    return story.made("c", (1, rid("c")))


def test_its_copy_is_made_anew_and_leaves_the_map_only_when_all_copies_are_in_sync_without_it(story: Replacing) -> None:
    story.store(replaced(story))
    entry = story.entry()
    assert (entry.replicas, entry.adding, entry.removing) == ((rid("a"), rid("b")), (rid("c"),), (rid("b"),))
    assert story.gone("b") == NOTHING

    story.in_sync(rid("a"), rid("c"))
    assert story.entry().replicas == (rid("a"), rid("b"), rid("c"))
    _, changes = story.gone("b")
    story.store(changes)
    entry = story.entry()
    assert (entry.replicas, entry.in_sync) == ((rid("a"), rid("c")), (rid("a"), rid("c")))
    assert (entry.adding, entry.removing) == ((), ())
    assert story.gone("b") == NOTHING


def test_a_node_that_is_back_before_the_new_copy_is_made_keeps_its_own(story: Replacing) -> None:
    assert story.gone("b") == ({"c": (1,)}, [])
    story.join("b")
    assert story.made("c", (1, rid("c"))) == []
    assert story.tick() == NOTHING


def test_a_node_that_is_back_after_the_new_copy_was_added_loses_its_own_all_the_same(story: Replacing) -> None:
    story.store(replaced(story))
    story.join("b")
    assert story.tick() == NOTHING
    assert story.entry().removing == (rid("b"),)
    story.in_sync(rid("a"), rid("c"))
    _, changes = story.tick()
    assert [change.entry.replicas for change in changes] == [(rid("a"), rid("c"))]


def test_a_node_that_is_back_keeps_its_copy_after_all_when_the_new_one_is_lost(story: Replacing) -> None:
    story.store(replaced(story))
    story.join("b")
    story.lose((1, rid("c")))
    asks, changes = story.tick()
    assert asks == {}
    story.store(changes)
    entry = story.entry()
    assert (entry.replicas, entry.adding, entry.removing) == ((rid("a"), rid("b")), (), ())


def test_a_node_that_is_back_keeps_its_copy_after_all_when_the_node_of_the_new_one_is_gone_as_well(
    story: Replacing,
) -> None:
    story.store(replaced(story))
    story.leave("c")
    assert story.gone("b") == NOTHING
    story.join("b")
    _, changes = story.gone("c")
    story.store(changes)
    assert story.entry().removing == (rid("c"),)
    story.in_sync(rid("a"), rid("b"))
    _, changes = story.gone("c")
    assert [(change.entry.replicas, change.entry.adding) for change in changes] == [((rid("a"), rid("b")), ())]


def test_a_copy_that_is_still_called_in_sync_is_not_replaced() -> None:
    story = Replacing(led(1, "ab"))
    story.join("c")
    story.leave("b")
    assert story.gone("b") == NOTHING
    story.put(led(1, "ab", in_sync="a"))
    assert story.gone("b") == ({"c": (1,)}, [])


@pytest.mark.parametrize("leader_is_gone", [True, False])
def test_a_partition_whose_only_copy_in_sync_is_gone_waits_for_it(leader_is_gone: bool) -> None:
    story = Replacing(led(1, "ab", in_sync="a"))
    story.join("c")
    story.leave("a")
    if leader_is_gone:
        assert story.gone("a") == NOTHING
    else:
        assert story.tick() == NOTHING


def test_a_replacement_that_is_gone_in_its_turn_is_replaced(story: Replacing) -> None:
    story.store(replaced(story))
    story.join("d")
    story.leave("c")
    assert story.gone("b", "c") == ({"d": (1,)}, [])
    story.store(story.made("d", (1, rid("d"))))
    assert story.entry().removing == (rid("b"), rid("c"))
    story.in_sync(rid("a"), rid("d"))
    _, changes = story.gone("b", "c")
    assert [(change.entry.replicas, change.entry.adding) for change in changes] == [((rid("a"), rid("d")), ())]


def test_of_two_that_are_gone_each_is_given_up_only_when_there_are_enough_without_it() -> None:
    story = Replacing(led(1, "abc", in_sync="a"), replicas=3)
    story.join("d", "e")
    story.leave("b")
    story.leave("c")
    for node in "de":
        asks, _ = story.gone("b", "c")
        (asked,) = asks  # type: ignore[misc]
        story.store(story.made(asked, (1, rid(asked))))
        assert story.entry().removing == ((rid("b"),) if node == "d" else (rid("b"), rid("c")))
    story.in_sync(rid("a"), rid("d"))
    assert story.gone("b", "c") == NOTHING
    story.in_sync(rid("a"), rid("d"), rid("e"))
    _, changes = story.gone("b", "c")
    assert [change.entry.replicas for change in changes] == [(rid("a"), rid("d"), rid("e"))]


def test_where_nobody_can_take_a_copy_nothing_is_given_up() -> None:
    story = Replacing(led(1, "ab", in_sync="a"))
    story.leave("b")
    assert story.gone("b") == NOTHING


def test_a_node_that_was_replaced_counts_again_for_what_is_missing(story: Replacing) -> None:
    story.store(replaced(story))
    story.in_sync(rid("a"), rid("c"))
    story.store(story.gone("b")[1])
    story.join("b")
    story.lose((1, rid("c")))
    story.put(msgspec.structs.replace(story.entry(), in_sync=(rid("a"),)))
    asks, changes = story.tick()
    assert [change.entry.replicas for change in changes] == [(rid("a"),)]
    assert list(asks.values()) == [(1,)]  # type: ignore[attr-defined]
