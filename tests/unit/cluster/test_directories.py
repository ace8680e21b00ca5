"""Which partition has the keys of each tenant, as a value of which the next version shares nearly all."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Callable
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster import directories as module
from cluster.directories import Directories, Directory
from kvstore.map_values import Tenant

TENANTS = st.builds(Tenant, st.sampled_from("kl"), st.sampled_from([b"a", b"b", b"c", b"d"]), st.integers(1, 3))
# Each takes a version, by its place from the end, and makes another one of it.
CHANGES = st.lists(st.tuples(st.integers(0, 3), st.lists(TENANTS, max_size=5)), max_size=12)
ACME, BOLT = Tenant("k", b"acme", 1), Tenant("k", b"bolt", 2)

Version = tuple[Directories, dict[tuple[str, bytes], Tenant]]


def versions(changes: list[tuple[int, list[Tenant]]]) -> list[Version]:
    """What comes of the changes, each version beside a dict that says the same."""
    made: list[Version] = [(Directories(), {})]
    for back, tenants in changes:
        directories, plain = made[-1 - min(back, len(made) - 1)]
        named = {(one.keyspace, one.name): one for one in tenants}
        made.append((directories.with_tenants(tenants), {**plain, **named}))
    return made


def calls(work: Callable[[], object]) -> int:
    """How many functions it calls."""
    count = 0

    def note(_frame: object, event: str, _argument: object) -> None:
        nonlocal count
        count += event in ("call", "c_call")

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        work()
    finally:
        sys.setprofile(before)
    return count


@given(CHANGES)
def test_every_version_says_what_a_dict_would(changes: list[tuple[int, list[Tenant]]]) -> None:
    for directories, plain in versions(changes):
        assert directories == plain
        assert (dict(directories), len(directories), bool(directories)) == (plain, len(plain), bool(plain))
        for keyspace in "klm":
            one = directories.of(keyspace)
            tenants = [tenant for tenant in plain.values() if tenant.keyspace == keyspace]
            assert dict(one.homes) == {tenant.name: tenant.pid for tenant in tenants}
            assert +Counter(dict(one.counts)) == Counter(tenant.pid for tenant in tenants)
            assert one.count_within((1, 3)) == sum(tenant.pid != 2 for tenant in tenants)


@pytest.mark.parametrize(("steps", "news"), [(module.STEPS_MAX, module.NEWS_MAX), (3, 1000), (1, 1000), (1000, 3)])
@given(CHANGES)
def test_any_two_versions_tell_in_what_they_differ(
    steps: int, news: int, changes: list[tuple[int, list[Tenant]]]
) -> None:
    with patch.multiple(module, STEPS_MAX=steps, NEWS_MAX=news):
        made = versions(changes)
        for after, plain in made:
            for before, known in made:
                told = after.since(before)
                assert len(told) == len(set(told))
                assert set(told) == {one for name, one in plain.items() if known.get(name) != one}
                assert (after == before) is (plain == known)


def test_a_tenant_that_stands_as_it_is_told_makes_no_other_version() -> None:
    directories = Directories().with_tenants([ACME, BOLT])
    assert directories.with_tenants([BOLT, ACME]) is directories
    assert directories.with_tenants([]) is directories


def test_what_changes_in_one_keyspace_leaves_another_as_it_is() -> None:
    before = Directories().with_tenants([ACME, Tenant("l", b"acme", 9)])
    after = before.with_tenants([BOLT])
    assert after.of("l") is before.of("l")
    assert after.of("none") == Directory()


def test_only_what_changed_is_looked_at_though_each_of_two_went_its_own_way() -> None:
    many = Directories().with_tenants(Tenant("k", b"%d" % number, 1) for number in range(5000))
    mine, theirs = many.with_tenants([ACME]), many.with_tenants([BOLT]).with_tenants([ACME])
    assert theirs.since(mine) == [BOLT]
    for work in (lambda: theirs.since(mine), lambda: mine.since(theirs), lambda: mine == theirs):
        assert calls(work) < 100


def test_a_version_from_long_ago_or_elsewhere_is_compared_whole() -> None:
    first = Directories().with_tenants([ACME, BOLT])
    last = first
    for number in range(2 * module.STEPS_MAX):
        last = last.with_tenants([Tenant("k", b"%d" % number, 1)])
    assert len(last.since(first)) == 2 * module.STEPS_MAX
    elsewhere = Directories().with_tenants([BOLT]).with_tenants([ACME])
    assert (elsewhere == first, elsewhere.since(first)) == (True, [])


def test_little_is_kept_of_what_changed() -> None:
    directories = Directories()
    for start in range(0, 3 * module.NEWS_MAX, 1000):
        directories = directories.with_tenants(Tenant("k", b"%d" % number, 1) for number in range(start, start + 1000))
    assert sum(len(step.names) for step in directories._steps) <= 2 * module.NEWS_MAX
    directories = directories.with_tenants(Tenant("l", b"%d" % number, 1) for number in range(module.NEWS_MAX + 1))
    assert [len(step.names) for step in directories._steps] == [0]
