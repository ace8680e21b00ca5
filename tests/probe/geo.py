"""Two zones of two nodes, and a `geo` keyspace: one zone is cut off, and the other serves its keys as before: `geo.py`.

The nodes of one zone are cut from the gateway and from the other zone, for longer than it takes until nodes that are
away are replaced. What is judged: no request on keys of the other zone fails at any time; no copy is ever outside its
zone, or on its way out of it; in the end everything is in sync, equal, and as it was acknowledged.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import shutil
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.at_rest import compare, stop_and_verify, wait_healed, wait_settled
from probe.geo_judge import astray, homes_of, zones_of
from probe.keyspace import GEO
from probe.network import Network, why_no_network
from probe.regional import Regional
from probe.rig import Layout, Rig
from probe.up import kvstore

ZONES = ("east", "east", "west", "west")
LAYOUT = Layout(nodes=4, partitions=8, links="network", zones=ZONES)
REPLACE_AFTER_S = 4.0
SETTINGS = {"KVSTORE_REPLACE_AFTER_S": str(REPLACE_AFTER_S)}
# Regions of each zone; `elsewhere` has none of its own, and so the default one.
REGIONS = {"east": ("t0", "elsewhere"), "west": ("t1", "t2")}
CUT, STAYS = "west", "east"
CALM_S = 3.0
LOOK_S = 0.2


class Wrong(AssertionError):
    """Something that was promised does not hold."""


class Trial:
    """One run on a cluster. `looks` says how often it was seen where the copies are."""

    def __init__(self, rig: Rig, network: Network) -> None:
        self.looks = 0
        self._rig = rig
        self._network = network
        self._homes: Mapping[int, str] = {}

    async def begin(self) -> None:
        """Make the keyspace, and note the zones of its partitions."""
        await self._rig.make_keyspace(GEO)
        await self._rig.wait_ready()
        await wait_healed(self._rig)
        status = await self._status()
        described = await self._rig.keyspace(GEO.name)
        self._homes = homes_of(described or {"placement": []})
        if set(self._homes.values()) != set(REGIONS) or zones_of(status, GEO.name) != self._homes:
            raise Wrong(f"the partitions belong to {self._homes} and are in {zones_of(status, GEO.name)}")
        for zone, regions in REGIONS.items():
            for region in regions:
                partition = await self._rig.partition_of(GEO.name, f"{region}/1")
                if partition is None or self._homes.get(partition) != zone:
                    raise Wrong(f"{region}/1 is in partition {partition}, of zone {self._homes.get(partition or 0)}")
        self.look(status)

    def look(self, status: Mapping[str, Any]) -> None:
        """Raises `Wrong` where a copy is outside its zone."""
        self.looks += 1
        if found := astray(status, self._homes):
            raise Wrong("; ".join(found))

    async def watch(self, seconds: float) -> None:
        """Look for so long."""
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look(await self._status())
            await asyncio.sleep(LOOK_S)

    async def _status(self) -> dict[str, Any]:
        status = await self._rig.status()
        if status is None:
            raise Wrong("the gateway does not answer")
        return status

    def cut(self) -> None:
        """Part one zone from all others."""
        inside = [name for name, zone in zip(self._rig.names, ZONES, strict=True) if zone == CUT]
        for one in inside:
            for other in {*self._rig.names, *self._rig.gateway_names} - set(inside):
                self._network.cut(one, other)
                self._network.cut(other, one)

    async def heal(self) -> float:
        """Take the cut away; returns after how many seconds all is in sync, and nothing moves any more."""
        self._network.heal()
        healed_s = await wait_healed(self._rig)
        await wait_settled(self._rig)
        self.look(await self._status())
        return healed_s

    async def check_status(self) -> None:
        """`kvstore status --json` shows the same."""
        told = await asyncio.to_thread(kvstore, "status", "--json", "--gateway", self._rig.urls[0])
        if told.returncode:
            raise Wrong(f"kvstore status: {told.stderr.decode()}")
        status = json.loads(told.stdout)
        self.look(status)
        if zones_of(status, GEO.name) != self._homes:
            raise Wrong(f"the zones of partitions changed: {self._homes} to {zones_of(status, GEO.name)}")


async def run(data: Path, network: Network, cut_s: float, seed: int) -> str:
    """Returns what was measured; raises what is wrong."""
    rng = random.Random(seed)
    async with Rig(data, LAYOUT, network, rng, **SETTINGS) as rig:
        trial, url = Trial(rig, network), rig.urls[0]
        await trial.begin()
        async with Regional(url, GEO, REGIONS[STAYS], rng) as near, Regional(url, GEO, REGIONS[CUT], rng) as far:
            await trial.watch(CALM_S)
            failed_before = far.failed.total()
            trial.cut()
            done = near.done
            await trial.watch(cut_s)
            served, refused = near.done - done, far.failed.total() - failed_before
            healed_s = await trial.heal()
            await trial.watch(CALM_S)
            near.check()
            far.check()
        if near.failed or failed_before:
            raise Wrong(f"requests failed: {dict(near.failed)} of the zone that stays, {failed_before} before the cut")
        if not served or not refused:
            raise Wrong(f"{served} requests served beside {refused} of the zone that was cut off: nothing is shown")
        keys = await near.read_back() + await far.read_back()
        await trial.check_status()
        copied = await compare(rig)
        await stop_and_verify(rig)
        return (
            f"{CUT} cut off for {cut_s:.0f} s (replaced after {REPLACE_AFTER_S:.0f} s): {served} requests on keys of "
            f"{STAYS} meanwhile, 0 failed, the slowest of all {near.slowest_s * 1000:.0f} ms; {refused} on keys of "
            f"{CUT} failed; in sync again after {healed_s:.1f} s; no copy outside its zone in {trial.looks} looks; "
            f"{keys} keys as told, {copied} keys in equal copies"
        )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=30.0, help="how long the zone is cut off")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of the load")
    options = parser.parse_args()
    if reason := why_no_network():
        print(reason, file=sys.stderr)
        return 2
    print(f"seed {options.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-geo-"))
    try:
        with Network() as network:
            print(asyncio.run(run(data, network, options.seconds, options.seed)))
    except AssertionError as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    finally:
        shutil.rmtree(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
