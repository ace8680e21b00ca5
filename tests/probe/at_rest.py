"""What has to hold when nothing is harmed any more: copies in sync, equal, and whole on disk, nothing in doubt."""

from __future__ import annotations

import asyncio
from pathlib import Path

from lmdb.verify import verify
from probe.copies import Different, cluster_id_of_node, compare_copies
from probe.rig import Rig

HEALED_S_MAX = 30.0
SETTLED_S_MAX = 240.0
DECIDED_S_MAX = 15.0
TRANSFERRED_S_MAX = 60.0
# Longer than control waits after a change of members before it plans.
QUIET_S = 6.0
POLL_S = 0.2


async def wait_healed(rig: Rig) -> float:
    """Wait until all copies of all partitions are in sync; returns how long that took.

    Raises:
        Different: it took longer than `HEALED_S_MAX`.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        rig.check_running()
        status = await rig.status()
        if status is not None and status["state"] in ("healthy", "rebalancing"):
            return loop.time() - started
        if loop.time() - started > HEALED_S_MAX:
            short = [one for one in (status or {}).get("partitions", ()) if len(one["in_sync"]) < 2]
            told = f"{status and status['state']} after {HEALED_S_MAX:.0f} s: {short[:3]}, {status and status['nodes']}"
            raise Different(f"{told}\n{await rig.account()}")
        await asyncio.sleep(POLL_S)


async def wait_settled(rig: Rig) -> None:
    """Wait until no copy moves any more, and nodes that were removed have ended.

    Raises:
        Different: it took longer than `SETTLED_S_MAX`.
    """
    loop = asyncio.get_running_loop()
    deadline = loop.time() + SETTLED_S_MAX
    quiet_since = loop.time()
    while True:
        rig.check_running()
        status = await rig.status()
        is_quiet = status is not None and status["state"] == "healthy" and not status["moves"]
        if not is_quiet or not rig.forget_removed(node["id"] for node in status["nodes"]):
            quiet_since = loop.time()
        elif loop.time() - quiet_since >= (QUIET_S if rig.has_changed else 0.0):
            rig.has_changed = False
            return
        if loop.time() > deadline:
            raise Different(f"moves go on after {SETTLED_S_MAX:.0f} s: {status and status['moves'][:3]}, {rig.leaving}")
        await asyncio.sleep(POLL_S)


async def wait_transferred(rig: Rig) -> None:
    """Wait until no keys are on their way from one partition to another.

    Raises:
        Different: some are for longer than `TRANSFERRED_S_MAX`.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        rig.check_running()
        found = await rig.rebalance()
        transfers = None if found is None else found.get("transfers", [])
        if transfers == []:
            return
        if loop.time() - started > TRANSFERRED_S_MAX:
            raise Different(f"transfers go on after {TRANSFERRED_S_MAX:.0f} s: {transfers and transfers[:3]}")
        await asyncio.sleep(POLL_S)


async def wait_decided(rig: Rig) -> float:
    """Wait until no transaction is in doubt; returns how long that took.

    Raises:
        Different: one is for longer than `DECIDED_S_MAX`.
    """
    loop = asyncio.get_running_loop()
    started = loop.time()
    while True:
        rig.check_running()
        found = await rig.prepared()
        if found is not None and not found["prepared"] and not found["missing"]:
            return loop.time() - started
        if loop.time() - started > DECIDED_S_MAX:
            raise Different(f"in doubt after {DECIDED_S_MAX:.0f} s: {found}")
        await asyncio.sleep(POLL_S)


async def compare(rig: Rig) -> int:
    """Compare the copies of every partition; returns how many keys are in all of them."""
    status = await rig.status()
    assert status is not None
    return sum((await compare_copies(status, cluster_id_of_node(rig.data / rig.names[0]))).values())


async def stop_and_verify(rig: Rig) -> None:
    """Stop all nodes in order and verify their files."""
    await asyncio.gather(*(rig.stop(name) for name in rig.names))
    for name in rig.names:
        await asyncio.to_thread(verify_file, rig.data / name / "data.mdb")


def verify_file(path: Path) -> None:
    """Raises `Different` where the structure of a store is broken."""
    problems = verify(str(path))
    if problems:
        raise Different(f"{path}: {problems}")
