"""Which copies are missing, where new ones go, and what becomes of those that were lost."""

from __future__ import annotations

from collections import Counter

import msgspec
import pytest
from unit.cluster.control.repair_story import NOTHING, Story, led, rid

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.control import repair as repair_module
from cluster.control.repair import SCAN_S
from cluster.placement import Member
from cluster.placement.ring import Ring
from kvstore.map_values import Entry, KeyspaceInfo

# ---- what is missing ------------------------------------------------------------------------------------------------


def test_nothing_is_done_where_nothing_is_missing() -> None:
    story = Story(led(1, "ab"), led(2, "ba"))
    story.join("c")
    assert story.tick() == NOTHING


def test_a_node_that_joins_gets_the_copies_that_are_missing_and_nothing_moves() -> None:
    story = Story(led(1, "a"), led(2, "a"))
    assert story.tick() == NOTHING
    story.join("b")
    asks, changes = story.tick()
    assert (asks, changes) == ({"b": (1, 2)}, [])
    before = dict(story.cluster.entries)
    changes = story.made("b", (1, rid("b", 1)), (2, rid("b", 2)))
    assert changes == [PutEntry(msgspec.structs.replace(before[pid], ver=6, adding=(rid("b", pid),))) for pid in (1, 2)]
    story.store(changes)
    assert story.tick() == NOTHING


def test_copies_are_added_one_after_the_other_until_there_are_enough() -> None:
    story = Story(led(1, "a"), replicas=3)
    story.join("b", "c", "d")
    for added in (1, 2):
        asks, _ = story.tick()
        assert list(asks.values()) == [(1,)]
        story.answer_all(asks)
        assert len(story.cluster.entries[1].adding) == added
    assert story.tick() == NOTHING


def test_a_copy_whose_node_is_down_is_not_missing() -> None:
    story = Story(led(1, "ab"))
    story.join("c")
    story.leave("b")
    assert story.tick() == NOTHING


def test_a_partition_that_was_never_led_is_left_alone_until_it_is() -> None:
    entry = led(1, "a")
    story = Story(msgspec.structs.replace(entry, leader=None))
    story.join("b")
    assert story.tick() == NOTHING
    story.put(entry)
    assert story.tick() == ({"b": (1,)}, [])


def test_a_partition_without_an_entry_is_the_placements() -> None:
    story = Story(led(1, "a"))
    keyspace = msgspec.structs.replace(story.cluster.keyspaces["default"], pids=(1, 2))
    story.cluster = ClusterMap(b"cluster1", 9, story.cluster.nodes, {"default": keyspace}, story.cluster.entries)
    story.join("b")
    assert story.tick() == ({"b": (1,)}, [])


def test_each_keyspace_has_as_many_copies_as_it_asks_for() -> None:
    other = msgspec.structs.replace(led(2, "a"), keyspace="other")
    story = Story(led(1, "a"), other)
    keyspaces = {
        "default": KeyspaceInfo("default", "consistent", (1,), 1, 1),
        "other": KeyspaceInfo("other", "consistent", (2,), 2, 1),
    }
    story.cluster = ClusterMap(b"cluster1", 9, story.cluster.nodes, keyspaces, story.cluster.entries)
    story.join("b")
    assert story.tick() == ({"b": (2,)}, [])


# ---- what is lost ---------------------------------------------------------------------------------------------------


def test_a_lost_copy_stays_while_it_is_in_sync_and_then_gives_way_to_a_new_one() -> None:
    story = Story(led(1, "ab"))
    story.lose((1, rid("b")))
    assert story.tick() == NOTHING
    story.put(led(1, "ab", in_sync="a"))
    asks, changes = story.tick()
    assert asks == {"b": (1,)}
    assert [change.entry for change in changes] == [
        msgspec.structs.replace(led(1, "a"), ver=story.cluster.entries[1].ver + 1)
    ]
    story.store(changes)
    story.store(story.made("b", (1, rid("b", made=2))))
    entry = story.cluster.entries[1]
    assert (entry.in_sync, entry.replicas, entry.adding) == ((rid("a"),), (rid("a"),), (rid("b", made=2),))
    assert story.tick() == NOTHING


def test_a_copy_that_is_lost_while_it_learns_is_dropped() -> None:
    story = Story(led(1, "a", adding="b"))
    story.lose((1, rid("b")))
    _, changes = story.tick()
    assert [(change.entry.replicas, change.entry.adding) for change in changes] == [((rid("a"),), ())]


def test_a_new_copy_that_is_made_before_the_lost_one_is_out_of_the_map_waits_for_that() -> None:
    story = Story(led(1, "ab", in_sync="a"))
    story.lose((1, rid("b")))
    _, changes = story.tick()
    assert story.made("b", (1, rid("b", made=2))) == []
    story.store(changes)
    asks, changes = story.tick()
    assert asks == {}
    assert [change.entry.adding for change in changes] == [(rid("b", made=2),)]


@pytest.mark.parametrize("lost", ["a", "ab"])
def test_a_partition_whose_leader_or_whose_every_copy_is_lost_is_an_operators_matter(lost: str) -> None:
    story = Story(led(1, "ab"))
    story.join("c")
    story.lose(*((1, rid(node)) for node in lost))
    assert story.tick() == NOTHING


def test_what_one_node_lost_of_one_partition_says_nothing_of_another() -> None:
    same = msgspec.structs.replace(led(1, "ab", in_sync="a"), pid=2, adding=())
    story = Story(led(1, "ab", in_sync="a"), same)
    story.lose((1, rid("b")))
    _, changes = story.tick()
    assert [change.entry.pid for change in changes] == [1]


# ---- where new copies go --------------------------------------------------------------------------------------------


def test_another_zone_comes_before_a_lighter_load() -> None:
    entries = [led(1, "a"), *(led(pid, "cb") for pid in (2, 3, 4))]
    story = Story(*entries, zones={"a": "east", "b": "east", "c": "west", "d": "east"})
    story.join("d")
    assert story.tick() == ({"c": (1,)}, [])


def test_within_a_zone_nobody_gets_more_than_five_percent_above_what_is_even_for_the_weights() -> None:
    story = Story(*(led(pid, "a") for pid in range(1, 61)))
    story.join("b")
    story.join("c", weight=2.0)
    asks, _ = story.tick()
    sizes = {node: len(pids) for node, pids in asks.items()}
    assert sum(sizes.values()) == 60
    assert sizes["b"] <= 21
    assert sizes["c"] <= 42


def test_where_there_is_room_a_copy_goes_to_the_next_node_on_the_ring() -> None:
    story = Story(*(led(pid, pair) for pid, pair in enumerate(("bc", "cd", "de", "eb") * 5, 2)), led(1, "a"))
    walk = Ring([Member(node) for node in "abcde"]).walk(1)
    following = next(node for node in walk if node != "a")
    assert story.tick() == ({following: (1,)}, [])


@pytest.mark.parametrize("is_made", [False, True])
def test_what_is_asked_for_or_made_counts_as_held(is_made: bool) -> None:
    story = Story(*(led(pid, "a") for pid in range(1, 11)))
    story.join("b")
    asked, _ = story.tick()
    assert asked == {"b": tuple(range(1, 11))}
    if is_made:
        assert len(story.made("b", *((pid, rid("b", pid)) for pid in range(1, 11)))) == 10
    story.join("c")
    keyspace = msgspec.structs.replace(story.cluster.keyspaces["default"], pids=tuple(range(1, 13)))
    entries = {**story.cluster.entries, 11: led(11, "a"), 12: led(12, "a")}
    story.cluster = ClusterMap(b"cluster1", 9, story.cluster.nodes, {"default": keyspace}, entries)
    assert story.tick() == ({"c": (11, 12)}, [])


# ---- what is under way ----------------------------------------------------------------------------------------------


def test_nothing_is_asked_for_or_proposed_twice() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    assert story.tick() != NOTHING
    assert story.tick() == NOTHING
    assert len(story.made("b", (1, rid("b")))) == 1
    assert story.tick() == NOTHING
    assert story.made("b", (1, rid("b"))) == []


def test_only_so_many_copies_are_asked_for_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_module, "ASKED_MAX", 10)
    story = Story(*(led(pid, "a") for pid in range(1, 26)))
    story.join("b")
    sizes = []
    for _ in range(3):
        asks, _ = story.tick()
        sizes.append(sum(map(len, asks.values())))
        assert story.tick() == NOTHING
        story.answer_all(asks)
    assert sizes == [10, 10, 5]
    assert all(entry.adding for entry in story.cluster.entries.values())


def test_partitions_that_nobody_can_hold_do_not_keep_others_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repair_module, "ASKED_MAX", 2)
    story = Story(*(led(pid, "ab") for pid in range(1, 6)), led(6, "a"), replicas=3)
    assert story.tick() == ({"b": (6,)}, [])


def test_a_node_that_is_lost_between_question_and_answer_is_forgotten_and_another_one_asked() -> None:
    story = Story(led(1, "a"))
    story.join("b", "c")
    assert story.tick() == ({"b": (1,)}, [])
    story.leave("b")
    assert story.tick() == ({"c": (1,)}, [])
    assert story.made("b", (1, rid("b"))) == []


def test_a_node_that_comes_back_is_asked_anew_for_what_it_was_asked_before() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    story.tick()
    story.join("b")
    assert story.tick() == ({"b": (1,)}, [])
    assert story.made("b", (1, rid("b")), connection=1) == []
    assert len(story.made("b", (1, rid("b")), connection=2)) == 1


def test_a_copy_that_was_made_is_forgotten_when_its_process_is_gone() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    story.tick()
    (change,) = story.made("b", (1, rid("b")))
    story.put(led(1, "a"))
    story.store([change])
    story.join("b")
    assert story.tick() == ({"b": (1,)}, [])


def test_copies_that_could_not_be_made_are_asked_for_again() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    story.tick()
    assert story.tick() == NOTHING
    story.repair.failed("b", 1, (1,))
    assert story.tick() == ({"b": (1,)}, [])


def test_a_conflict_is_proposed_again_from_the_entry_as_it_then_stands() -> None:
    story = Story(led(1, "ab", in_sync="a"), replicas=3)
    story.join("c")
    story.tick()
    changes = story.made("c", (1, rid("c")))
    story.put(led(1, "ab"))
    assert story.tick() == NOTHING
    story.store(changes)
    assert story.cluster.entries[1].adding == ()
    asks, changes = story.tick()
    assert asks == {}
    expected = msgspec.structs.replace(led(1, "ab"), ver=7, adding=(rid("c"),))
    assert [change.entry for change in changes] == [expected]


def test_a_copy_that_the_map_already_names_is_not_proposed() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    story.tick()
    story.put(led(1, "a", adding="b"))
    assert story.made("b", (1, rid("b"))) == []
    assert story.tick() == NOTHING


def test_a_copy_that_is_no_longer_needed_is_not_proposed() -> None:
    story = Story(led(1, "a"))
    story.join("b", "c")
    story.tick()
    story.put(led(1, "a", adding="c"))
    assert story.made("b", (1, rid("b"))) == []
    assert story.tick() == NOTHING


def test_a_copy_that_is_named_in_another_nodes_name_is_asked_for_again() -> None:
    story = Story(led(1, "a"))
    story.join("b")
    story.tick()
    assert story.tick() == NOTHING
    assert story.made("b", (1, rid("c"))) == []
    assert story.tick() == ({"b": (1,)}, [])


def test_a_copy_that_its_node_reports_as_lost_is_not_added_again() -> None:
    story = Story(led(1, "a", adding="b"))
    story.lose((1, rid("b")))
    _, changes = story.tick()
    story.store(changes)
    assert story.made("b", (1, rid("b"))) == []
    assert story.tick() == ({"b": (1,)}, [])


# ---- when it looks --------------------------------------------------------------------------------------------------


class Watched(dict[int, Entry]):
    """Entries that count how often somebody goes through them."""

    looks = 0

    def __iter__(self):  # type: ignore[no-untyped-def]
        self.looks += 1
        return super().__iter__()


def test_it_looks_once_a_second_at_most_and_not_at_all_while_nothing_changed() -> None:
    story = Story(led(1, "a"), led(2, "a"), replicas=1)
    entries = Watched(story.cluster.entries)
    story.cluster = ClusterMap(b"cluster1", 9, story.cluster.nodes, story.cluster.keyspaces, entries)
    story.tick()
    story.join("b")
    story.repair.tick(story.cluster, story.hosts, story.now_s + SCAN_S / 2)
    assert entries.looks == 1
    for _ in range(3):
        story.tick()
    assert entries.looks == 2
    assert story.cluster.entries is entries
    story.join("c")
    story.tick()
    assert entries.looks == 3


def test_what_a_whole_cluster_misses_is_found_and_spread_evenly() -> None:
    story = Story(*(led(pid, "a") for pid in range(1, 65)), replicas=3)
    story.join("b", "c", "d")
    for _ in range(3):
        asks, _ = story.tick()
        story.answer_all(asks)
    held = Counter(copy.node for entry in story.cluster.entries.values() for copy in entry.adding)
    assert sum(held.values()) == 128
    assert max(held.values()) <= 45
