"""Registers, sets and scans on ranges that are split and merged, while copies of them move and nodes are lost."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe.crowd import TIDE
from probe.rig import Layout
from probe.trial import Void, run_trial

CLIENTS = {"register": 5, "set": 3, "scan": 3, **TIDE}
FAULTS = [["join_or_leave", "kill_leader"], ["kill_follower"], ["kill_gateway"], ["join_or_leave", "stop_leader"]]
HOLD_S_MAX = 4.0


@pytest.mark.slow
@pytest.mark.timeout(300)
async def test_nothing_is_lost_stale_or_doubled_on_ranges_that_change(tmp_path: Path) -> None:
    layout = Layout(partitions=4, keyspaces=("range",))
    measured = await run_trial(
        tmp_path, layout, None, seed=6, faults=FAULTS, hold_s_max=HOLD_S_MAX, clients={"range": CLIENTS}
    )
    assert measured.faults == len(FAULTS)
    if not measured.splits:
        raise Void("nothing was split")
