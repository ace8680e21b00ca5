"""Which nemeses a soak lets loose, and in which order."""

from __future__ import annotations

import itertools
import random
import sys
from dataclasses import replace
from typing import Any

import pytest
from probe import soak
from probe.nemeses.catalogue import NEMESES
from probe.rig import Layout
from probe.soak import Choice, Unfit, check, choose, groups, possible_layouts
from probe.trial import Measured, Void

FOLLOWERS = ("kill_follower", "stop_follower", "wipe")


def first(count: int, choice: Choice) -> list[tuple[str, ...]]:
    found = groups(Layout(), choice, random.Random(1), seconds=1.0, clock=lambda: 0.0)
    return list(itertools.islice(found, count))


def test_one_at_a_time_each_has_its_turn_before_any_comes_again() -> None:
    turns = first(6, choose("kill_follower,stop_follower,wipe", is_single=True))
    assert sorted(turns[:3]) == sorted(turns[3:]) == sorted((name,) for name in FOLLOWERS)


def test_pairs_are_of_the_nemeses_that_were_asked_for() -> None:
    pairs = first(3, choose(",".join(FOLLOWERS), is_single=False))
    assert {frozenset(pair) for pair in pairs} == {frozenset(pair) for pair in itertools.combinations(FOLLOWERS, 2)}


def test_without_a_choice_there_are_all() -> None:
    assert choose("", is_single=False) == Choice(tuple(NEMESES), 2)


def test_it_ends_when_the_time_is_over() -> None:
    clock = itertools.count()
    found = groups(Layout(), choose("wipe", is_single=True), random.Random(1), 3.0, lambda: float(next(clock)))
    assert len(list(itertools.islice(found, 10))) == 3


def test_nemeses_that_no_layout_can_have_at_one_time_are_refused() -> None:
    with pytest.raises(Unfit):
        possible_layouts(choose("wipe", is_single=False))


def test_a_bad_name_is_one_line_and_exit_code_2(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["soak.py", "--only", "wipe,kill_everybody", "--single"])
    assert soak.main() == 2
    told = capsys.readouterr()
    assert told.out == ""
    assert told.err.splitlines() == [f"no such nemesis: 'kill_everybody'; there are {', '.join(NEMESES)}"]


def test_tenants_are_moved_only_where_there_is_a_directory() -> None:
    choice = choose("move_tenant", is_single=True, keyspaces="range,directory")
    assert choice.groups(Layout(keyspaces=choice.keyspaces)) == [("move_tenant",)]
    assert choice.groups(Layout(keyspaces=("range",))) == []


def test_a_keyspace_that_no_trial_makes_is_refused() -> None:
    with pytest.raises(Unfit, match="no such keyspace: 'flat'"):
        choose("", is_single=False, keyspaces="range,flat")


@pytest.mark.parametrize("short", [{"splits": 0}, {"merges": 0}, {"tenant_moves": 0}], ids=str)
def test_a_run_on_keyspaces_is_void_where_one_of_its_changes_never_came(short: dict[str, Any]) -> None:
    enough = Measured(seconds=10.0, asked=6000, succeeded=6000, failovers=9, splits=1, merges=1, tenant_moves=1)
    choice = choose("", is_single=False, keyspaces="range,directory")
    check(enough, choice)
    with pytest.raises(Void):
        check(replace(enough, **short), choice)


def test_no_change_is_asked_of_a_keyspace_that_is_not_there() -> None:
    calm = Measured(seconds=10.0, asked=6000, succeeded=6000, failovers=9, splits=1, merges=1)
    check(calm, choose("", is_single=False, keyspaces="range"))
    check(calm, choose("kill_leader", is_single=True, keyspaces="range,directory"))


def test_failovers_are_asked_of_a_run_of_all_nemeses() -> None:
    calm = Measured(seconds=300.0, asked=60_000, succeeded=60_000, failovers=2)
    check(calm, choose("wipe", is_single=True))
    with pytest.raises(Void):
        check(calm, choose("", is_single=True))
