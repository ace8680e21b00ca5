"""A run of retried writes that proves nothing says so."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from probe.retried import FAILOVERS, Retried
from probe.trial import Void

ENOUGH = Retried(writes=100, stored=1, failovers=FAILOVERS, seconds=1.0)


def test_enough_writes_failovers_and_stored_results_count() -> None:
    ENOUGH.check(100)


@pytest.mark.parametrize(
    "short", [{"writes": 99}, {"failovers": FAILOVERS - 1}, {"unknown": 1}, {"stored": 0}], ids=str
)
def test_a_run_with_too_little_is_void(short: dict[str, Any]) -> None:
    with pytest.raises(Void):
        replace(ENOUGH, **short).check(100)
