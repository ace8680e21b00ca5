"""Which copies should lead after copies have gone elsewhere."""

from __future__ import annotations

from collections import Counter
from math import ceil

import msgspec
import pytest
from unit.cluster.control.repair_story import Story, led, rid

from cluster.control.preference import Preference
from cluster.control.repair import Host


def one_sided() -> Story:
    """`a` is the first of all, `b` and `c` each hold the second copy of half."""
    return Story(*(led(pid, "ab" if pid % 2 else "ac") for pid in range(1, 61)))


def first(story: Story) -> Counter[str]:
    return Counter(entry.replicas[0].node for entry in story.cluster.entries.values())


def test_leaders_are_shared_out_within_five_percent_and_then_nothing_changes_any_more() -> None:
    story, preference = one_sided(), Preference()
    before = dict(story.cluster.entries)
    changes = preference.tick(story.cluster, story.hosts)
    story.cluster, landed = story.cluster.changed(changes)
    preference.settled()
    assert all(landed)
    assert max(first(story).values()) <= ceil(1.05 * 20)
    for pid, entry in story.cluster.entries.items():
        assert set(entry.replicas) == set(before[pid].replicas)
        kept = msgspec.structs.replace(entry, ver=before[pid].ver, replicas=before[pid].replicas)
        assert kept == before[pid]
    assert preference.tick(story.cluster, story.hosts) == []


def test_nothing_is_proposed_twice_and_what_met_a_conflict_is_proposed_again() -> None:
    story, preference = one_sided(), Preference()
    assert preference.tick(story.cluster, story.hosts)
    story.put(story.cluster.entries[1])
    assert preference.tick(story.cluster, story.hosts) == []
    preference.settled()
    assert preference.tick(story.cluster, story.hosts)


@pytest.mark.parametrize("missing", ["down", "lost", "out of sync", "adding", "removing", "too few", "never led"])
def test_nothing_changes_while_a_copy_is_missing(missing: str) -> None:
    story, preference = one_sided(), Preference()
    entry = story.cluster.entries[1]
    if missing == "down":
        story.leave("b")
    elif missing == "lost":
        story.hosts["b"] = Host(1, frozenset({(1, rid("b").store)}))
    elif missing == "out of sync":
        story.put(led(1, "ab", in_sync="a"))
    elif missing == "adding":
        story.put(led(1, "ab", adding="c"))
    elif missing == "removing":
        story.put(msgspec.structs.replace(entry, removing=(rid("b"),)))
    elif missing == "too few":
        story.put(led(1, "a"))
    else:
        story.put(msgspec.structs.replace(entry, leader=None))
    assert preference.tick(story.cluster, story.hosts) == []
