"""A few seeds in every test run; `make sim` runs many."""

from __future__ import annotations

import pytest
from simulation.run import run_seed


@pytest.mark.parametrize("seed", range(1, 6))
def test_invariants_hold_under_torn_late_repeated_and_lost_frames_and_crashes(seed: int) -> None:
    _, found, counts = run_seed(seed)
    assert not found
    assert counts["crashes"] > 0
    assert counts["done"] > 10


def test_the_same_seed_gives_the_same_run() -> None:
    assert run_seed(7) == run_seed(7)


@pytest.mark.parametrize("planted", ["ack_before_follower", "fsync_off"])
def test_a_broken_rule_is_found_within_a_few_seeds(planted: str) -> None:
    assert any(run_seed(seed, planted)[1] for seed in range(1, 6))
