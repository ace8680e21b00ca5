"""All nemeses by name: what each needs, and how long it lasts.

A nemesis is an asynchronous context manager: it has done its harm when it is entered, and heals at the end.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass

from probe.nemeses import cut, kill, link, members, rolling, stop, tenants, wipe
from probe.rig import Layout, Rig

LEASE_S = 2.0
SHORT_S = (1.0, 4.0, 8.0)
PAUSES_S = tuple(LEASE_S * times for times in (0.5, 1.0, 1.5, 3.0, 6.0, 15.0))


@dataclass(frozen=True, slots=True)
class Nemesis:
    """`links`, `gateways_min`, `workers_min` and `keyspace` say where it can be; `holds_s` are lengths to choose
    from."""

    harm: Callable[[Rig, random.Random], AbstractAsyncContextManager[str]]
    links: str = ""
    gateways_min: int = 1
    workers_min: int = 1
    keyspace: str = ""
    holds_s: tuple[float, ...] = SHORT_S
    goes_first: bool = False

    def fits(self, layout: Layout) -> bool:
        """Whether it can be where this is the layout."""
        is_enough = layout.gateways >= self.gateways_min and layout.workers >= self.workers_min
        is_there = self.keyspace in ("", *layout.keyspaces)
        return self.links in ("", layout.links) and is_enough and is_there


NEMESES = {
    "kill_leader": Nemesis(kill.kill_leader),
    "kill_follower": Nemesis(kill.kill_follower),
    "kill_gateway": Nemesis(kill.kill_gateway, holds_s=(0.0, 1.0)),
    "kill_worker": Nemesis(kill.kill_worker, workers_min=2, holds_s=(0.0, 1.0)),
    "kill_all": Nemesis(kill.kill_all, holds_s=(0.0,)),
    "stop_leader": Nemesis(stop.stop_leader, holds_s=PAUSES_S),
    "stop_follower": Nemesis(stop.stop_follower, holds_s=PAUSES_S),
    "stop_gateway": Nemesis(stop.stop_gateway, holds_s=(0.5, 2.0)),
    "stop_etcd": Nemesis(stop.stop_etcd, gateways_min=2, holds_s=(2.0, 10.0)),
    "wipe": Nemesis(wipe.wipe, goes_first=True),
    "rolling_restart": Nemesis(rolling.rolling_restart, holds_s=(0.0,), goes_first=True),
    "join_or_leave": Nemesis(members.join_or_leave, holds_s=(0.5, 2.0, 4.0), goes_first=True),
    "move_tenant": Nemesis(tenants.move_tenant, keyspace="directory", holds_s=(2.0, 4.0, 8.0)),
    "isolate_leader": Nemesis(cut.isolate_leader, links="network", holds_s=(2.0, 4.0, 8.0)),
    "cut_one_way": Nemesis(cut.cut_one_way, links="network", holds_s=(2.0, 4.0, 8.0)),
    "cut_leader_from_followers": Nemesis(cut.cut_leader_from_followers, links="network", holds_s=(2.0, 4.0, 8.0)),
    "cut_leader_from_gateway": Nemesis(cut.cut_leader_from_gateway, links="network", holds_s=(1.0, 4.0)),
    "cut_halves": Nemesis(cut.cut_halves, links="network", gateways_min=2, holds_s=(6.0, 8.0)),
    "lose_packets": Nemesis(cut.lose_packets, links="network", holds_s=(4.0, 8.0)),
    "delay": Nemesis(link.delay, links="proxies", holds_s=(4.0, 8.0)),
    "hold": Nemesis(link.hold, links="proxies", holds_s=(1.0, 4.0, 8.0)),
    "hold_leader": Nemesis(link.hold_leader, links="proxies", holds_s=(4.0, 6.0)),
    "cut_leader_from_control": Nemesis(link.cut_leader_from_control, links="proxies", holds_s=(4.0, 8.0)),
}
