"""What `make bench` may be told."""

from __future__ import annotations

import pytest
from compare.__main__ import chosen, command_of, options_of, settings_of

from kvstore.errors import OperatorError


def test_without_options_everything_is_measured() -> None:
    systems, has_figures = chosen("", None)
    assert [system.name for system in systems] == ["kvstore", "etcd", "redis-everysec", "redis-always"]
    assert has_figures


def test_only_what_is_named_is_measured() -> None:
    systems, has_figures = chosen("etcd,own", None)
    assert [system.name for system in systems] == ["etcd"]
    assert has_figures
    assert not chosen("kvstore", None)[1]


def test_a_name_that_nobody_has_is_refused_with_those_there_are() -> None:
    with pytest.raises(OperatorError, match="redis-always, own; not redis"):
        chosen("redis", None)


def test_seconds_and_rounds_that_are_given_go_before_those_of_quick() -> None:
    given = settings_of(options_of(["--quick", "--rounds", "2"]))
    assert (given.seconds, given.rounds, given.quick) == (1, 2, True)
    assert (settings_of(options_of([])).seconds, settings_of(options_of([])).rounds) == (4, 3)


def test_the_report_says_what_to_type() -> None:
    assert command_of([]) == "make bench"
    assert command_of(["--quick", "--only", "etcd"]) == "make bench BENCH='--quick --only etcd'"
