"""One cluster, all workloads, and nemeses for as long as they last: what was measured, or what was wrong.

Guarantees: after each fault the copies are in sync again within `HEALED_S_MAX`; at the end everything is read back and
judged, the copies are compared and the files verified. A run that proves nothing is `Void`. Leaves to others: which
nemeses, in which order.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path

from probe.at_rest import compare, stop_and_verify, wait_decided, wait_healed, wait_settled, wait_transferred
from probe.crowd import Crowds, clients_on
from probe.nemeses.catalogue import NEMESES, Nemesis
from probe.network import Network
from probe.rig import Layout, Rig
from probe.watch import Watch

OPERATIONS_PER_S_MIN = 100
SUCCEEDED_MIN = 0.8
CALM_S = 1.0
FOR_EVER_S = 1e9
ADDED = ("seconds", "faults", "failovers", "leaders", "in_sync", "asked", "succeeded", "unknown")
RESHAPES = ("splits", "merges", "tenant_moves")


class Void(AssertionError):
    """The run proves nothing: too little happened."""


@dataclass
class Measured:
    """What one trial, or several, came to."""

    seconds: float = 0.0
    faults: int = 0
    failovers: int = 0
    leaders: int = 0
    in_sync: int = 0
    asked: int = 0
    succeeded: int = 0
    unknown: int = 0
    healed_s_max: float = 0.0
    locked_s_max: float = 0.0
    unexcused_s_max: float = 0.0
    splits: int = 0
    merges: int = 0
    tenant_moves: int = 0
    keyspaces: tuple[str, ...] = ()
    counted: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        counted = "".join(f", {number} {name}" for name, number in sorted(self.counted.items()))
        reshaped = (
            f"keyspaces default, {', '.join(self.keyspaces)}: {self.splits} splits, {self.merges} merges, "
            f"{self.tenant_moves} tenants moved; "
            if self.keyspaces
            else ""
        )
        return (
            f"{self.seconds:.0f} s, {self.faults} faults, {self.failovers} of them with failovers; "
            f"leaders changed {self.leaders} times, in-sync sets {self.in_sync} times; {reshaped}"
            f"{self.asked} operations ({self.asked / max(self.seconds, 1):.0f}/s), "
            f"{self.succeeded / max(self.asked, 1):.1%} succeeded, {self.unknown} unknown; "
            f"in sync again after {self.healed_s_max:.1f} s at most; oldest lock {self.locked_s_max:.1f} s, "
            f"{self.unexcused_s_max:.1f} s of one while links and the leader of its primary were there{counted}"
        )

    def add(self, other: Measured) -> None:
        """Take another trial in."""
        for name in (*ADDED, *RESHAPES):
            setattr(self, name, getattr(self, name) + getattr(other, name))
        self.keyspaces = tuple(dict.fromkeys((*self.keyspaces, *other.keyspaces)))
        for name in ("healed_s_max", "locked_s_max", "unexcused_s_max"):
            setattr(self, name, max(getattr(self, name), getattr(other, name)))
        for name, number in other.counted.items():
            self.counted[name] = self.counted.get(name, 0) + number

    def check(self) -> None:
        """Raises `Void` where there was too little load, or too little of it was served."""
        if self.asked < OPERATIONS_PER_S_MIN * self.seconds:
            raise Void(f"{self.asked / self.seconds:.0f} operations a second, {OPERATIONS_PER_S_MIN} are needed")
        if self.succeeded < SUCCEEDED_MIN * self.asked:
            raise Void(f"{self.succeeded / self.asked:.0%} of the operations succeeded, {SUCCEEDED_MIN:.0%} are needed")


class Trial:
    """One run of nemeses against a cluster and its clients; `measured` tells what it came to."""

    def __init__(self, rig: Rig, crowd: Crowds, watch: Watch, rng: random.Random, hold_s_max: float) -> None:
        self._hold_s_max = hold_s_max
        self.measured = Measured()
        self._rig = rig
        self._crowd = crowd
        self._watch = watch
        self._rng = rng

    async def run(self, faults: Iterable[Sequence[str]]) -> list[str]:
        """Returns what was judged."""
        started = time.monotonic()
        self._crowd.start()
        await asyncio.sleep(CALM_S)
        for group in faults:
            await self._harm(group)
        await asyncio.sleep(CALM_S)
        await self._crowd.stop()
        measured = self.measured
        measured.seconds = time.monotonic() - started
        counts = self._crowd.tally()
        measured.asked, measured.succeeded, measured.unknown = (counts[x] for x in ("asked", "succeeded", "unknown"))
        measured.leaders, measured.in_sync = self._watch.leaders, self._watch.in_sync
        await wait_healed(self._rig)
        await wait_settled(self._rig)
        decided_s = await wait_decided(self._rig)
        await wait_transferred(self._rig)
        await self._watch.look_at_keyspaces()
        self._watch.check()
        locks = self._watch.locks
        measured.keyspaces, measured.tenant_moves = self._rig.layout.keyspaces, self._rig.tenant_moves
        measured.splits, measured.merges = self._watch.reshaped.splits, self._watch.reshaped.merges
        measured.locked_s_max, measured.unexcused_s_max = locks.oldest_s, locks.unexcused_s
        verdicts = await self._crowd.judge()
        copied = await compare(self._rig)
        measured.counted = self._watch.counted()
        await stop_and_verify(self._rig)
        return [*verdicts, f"nothing in doubt after {decided_s:.1f} s", f"{copied} keys in equal copies"]

    async def _harm(self, group: Sequence[str]) -> None:
        leaders = self._watch.leaders
        names = sorted(group, key=lambda name: not _nemesis(name).goes_first)
        told = []
        self._watch.is_link_harmed = any(_nemesis(name).links for name in names)
        async with AsyncExitStack() as stack:
            for name in names:
                nemesis = _nemesis(name)
                told.append(await stack.enter_async_context(nemesis.harm(self._rig, self._rng)))
                short = [hold_s for hold_s in nemesis.holds_s if hold_s <= self._hold_s_max]
                hold_s = self._rng.choice(short or nemesis.holds_s[:1])
                await asyncio.sleep(hold_s)
                told[-1] += f" ({hold_s:.0f} s)" if hold_s else ""
        self._watch.is_link_harmed = False
        healed_s = await wait_healed(self._rig)
        await wait_settled(self._rig)
        self._watch.check()
        measured = self.measured
        measured.faults += 1
        measured.healed_s_max = max(measured.healed_s_max, healed_s)
        measured.failovers += self._watch.leaders > leaders
        print(f"fault {measured.faults}: {' + '.join(told)}, in sync again after {healed_s:.1f} s", flush=True)


def _nemesis(name: str) -> Nemesis:
    """By its name, or its name and how long it is to last (`stop_leader:3.0`)."""
    name, _, hold_s = name.partition(":")
    return replace(NEMESES[name], holds_s=(float(hold_s),)) if hold_s else NEMESES[name]


async def run_trial(
    data: Path,
    layout: Layout,
    network: Network | None,
    seed: int,
    faults: Iterable[Sequence[str]],
    hold_s_max: float = FOR_EVER_S,
    clients: Mapping[str, Mapping[str, int]] | None = None,
) -> Measured:
    """A whole trial on a cluster of its own; prints its verdicts.

    Args:
        clients: as for `Crowds`; by default all workloads on all keyspaces of the layout.
        faults: names of nemeses that are to be at the same time, one group after the other; `NAME:SECONDS` is one that
            lasts so long.
        hold_s_max: how long a nemesis lasts at most, where it can be as short as that.
    """
    rng = random.Random(seed)
    counts = clients_on(layout.keyspaces) if clients is None else clients
    async with Rig(data, layout, network, rng) as rig, Crowds(rig.urls, rng, counts) as crowd, Watch(rig) as watch:
        trial = Trial(rig, crowd, watch, rng, hold_s_max)
        for verdict in await trial.run(faults):
            print(f"  {verdict}", flush=True)
        print(f"  {trial.measured}", flush=True)
        return trial.measured
