"""Each class of nemesis once, for some seconds, under all workloads; `soak.py` has them in pairs and for long."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from probe.network import Network, why_no_network
from probe.rig import Layout, why_not
from probe.trial import run_trial

HOLD_S_MAX = 4.0
PROXIES, NETWORK = Layout(links="proxies"), Layout(links="network")

TRIALS: dict[str, tuple[Layout, list[list[str]]]] = {
    "kill": (Layout(), [["kill_leader"], ["kill_follower"], ["kill_gateway"], ["kill_all"]]),
    "stop": (Layout(), [["stop_leader"], ["stop_gateway"], ["stop_follower"]]),
    "wipe": (Layout(), [["wipe"], ["rolling_restart"]]),
    "cut": (NETWORK, [["isolate_leader"], ["cut_one_way"], ["cut_leader_from_followers"]]),
    "lose": (NETWORK, [["lose_packets"], ["cut_leader_from_gateway"]]),
    "links": (PROXIES, [["delay"], ["hold"], ["cut_leader_from_control"], ["hold_leader"]]),
    "halves": (Layout(gateways=2, links="network"), [["cut_halves:8"], ["kill_follower"]]),
    "workers": (Layout(workers=2), [["kill_worker"], ["kill_worker", "kill_leader"], ["kill_gateway"]]),
    "pairs": (Layout(gateways=2), [["kill_gateway", "kill_leader"], ["stop_etcd", "kill_follower"]]),
}


@pytest.fixture
def network(request: pytest.FixtureRequest) -> Iterator[Network | None]:
    """Namespaces where the trial needs them."""
    layout = TRIALS[request.getfixturevalue("name")][0]
    if layout.links != "network":
        yield None
        return
    reason = why_no_network()
    if reason:
        pytest.skip(reason)
    with Network() as made:
        yield made


@pytest.mark.slow
@pytest.mark.parametrize("name", TRIALS)
async def test_nothing_is_lost_stale_or_doubled(name: str, network: Network | None, tmp_path: Path) -> None:
    layout, faults = TRIALS[name]
    if reason := why_not(layout):
        pytest.skip(reason)
    measured = await run_trial(tmp_path, layout, network, seed=4, faults=faults, hold_s_max=HOLD_S_MAX)
    measured.check()
    assert measured.faults == len(faults)
