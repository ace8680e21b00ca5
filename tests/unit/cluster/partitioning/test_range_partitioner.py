"""Bounds, and how few partitions a range touches."""

from __future__ import annotations

import pytest

from cluster.partitioning.range import RangePartitioner

PARTITIONER = RangePartitioner((7, 3, 9), (b"g", b"p"))


def test_a_bound_is_the_first_key_of_its_partition() -> None:
    assert [PARTITIONER.locate(key) for key in (b"\x00", b"f\xff", b"g", b"o\xff", b"p", b"\xff")] == [7, 7, 3, 3, 9, 9]


def test_a_range_touches_only_the_partitions_that_it_meets() -> None:
    assert PARTITIONER.pids_within(b"h", b"i") == (3,)
    assert PARTITIONER.pids_within(b"a", b"g") == (7,)
    assert PARTITIONER.pids_within(b"a", b"g\x00") == (7, 3)
    assert PARTITIONER.pids_within(b"p", b"") == (9,)
    assert PARTITIONER.pids_within(b"", b"") == (7, 3, 9)


def test_hash_tags_mean_nothing() -> None:
    assert PARTITIONER.locate(b"a{z}") == 7
    assert PARTITIONER.locate(b"z{a}") == 9


def test_the_steps_of_the_choice_name_the_bounds() -> None:
    steps = PARTITIONER.explain(b"h\xff")
    assert "number 1 of 3, from 'g' up to 'p'" in steps[1]
    assert "from the first key up to 'g'" in PARTITIONER.explain(b"a")[1]
    assert "from 'p' to the last key" in PARTITIONER.explain(b"x")[1]


@pytest.mark.parametrize("bounds", [(b"g",), (b"p", b"g"), (b"g", b"g")])
def test_bounds_that_do_not_fit_are_refused(bounds: tuple[bytes, ...]) -> None:
    with pytest.raises(ValueError, match="rise"):
        RangePartitioner((7, 3, 9), bounds)
