"""Loss of power of a whole cluster at one instant, again and again, from one recording: `power_loss.py --images 200`.

The nodes of a cluster under load are recorded: every write to their stores and every sync. For each image one instant
is chosen, and the files of all nodes are rebuilt as that instant may have left them: what a finished sync covers is
there, of anything later each page is there or not by chance. Every image is opened as a node opens its store, and what
any in-sync copy would serve is judged against what clients had been told by then; every `--start-each`-th is started as
a whole cluster and judged by what it answers, transactions too, when nothing is in doubt any more. The last line is `N
images passed, N failed`.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from checkers.append_list import check_lists
from checkers.element_set import check_set
from checkers.history import FOR_EVER, Anomaly, Kind, Op, Outcome
from checkers.register import check_registers
from checkers.transaction_history import Read, Transaction
from checkers.transactions import check_transactions
from probe.at_rest import compare, stop_and_verify, wait_decided, wait_healed
from probe.crowd import Crowd
from probe.reading import read_all
from probe.rig import Layout, Rig
from probe.watch import Watch
from probe.workloads.append_list import decode_list
from probe.workloads.append_txn import AppendTxns
from shim import iolog
from shim.images import Held, copies_of

from kvstore.client import Client

LAYOUT = Layout(partitions=8)
MAP_SIZE_BYTES = 64 * 1024 * 1024
SETTINGS = {"KVSTORE_MAP_SIZE_BYTES": str(MAP_SIZE_BYTES)}
COPIES = 2
JUDGES = {"set": check_set, "append": check_lists, "register": check_registers}
NS = 1_000_000_000


@dataclass(frozen=True)
class Recording:
    """What the nodes did to their stores, and what clients were told, on one clock; `data` has the map of control."""

    data: Path
    events: Mapping[str, Sequence[iolog.Event]]
    histories: Mapping[str, Sequence[Op]]
    transactions: Sequence[Transaction]
    begin_s: float
    end_s: float

    def told_until(self, at_s: float, name: str) -> list[Op]:
        """The history of a workload as it stood then: what was under way is unknown."""
        asked = [op for op in self.histories[name] if op.begin < at_s]
        known = [op for op in asked if op.end < at_s]
        open_ = [op for op in asked if op.end >= at_s and op.kind is not Kind.READ]
        return [*known, *(replace(op, outcome=Outcome.UNKNOWN, end=FOR_EVER) for op in open_)]

    def transactions_until(self, at_s: float) -> list[Transaction]:
        """As `told_until`."""
        asked = [one for one in self.transactions if one.begin < at_s]
        return [one if one.end < at_s else replace(one, outcome=Outcome.UNKNOWN, end=FOR_EVER) for one in asked]


async def record(data: Path, seconds: float, rng: random.Random) -> Recording:
    """Run a cluster under load for so long, without any harm."""
    library = iolog.build(data)
    rig = Rig(data, LAYOUT, None, rng, **SETTINGS)
    logs = {name: data / f"{name}.iolog" for name in rig.names}
    try:
        await rig.begin()
        for name in rig.names:
            await rig.start_node(name, **iolog.environment(library, logs[name]))
        await rig.wait_ready()
        await wait_healed(rig)
        async with Crowd(rig.urls, rng) as crowd, Watch(rig) as watch:
            begin_s = time.monotonic()
            crowd.start()
            await asyncio.sleep(seconds)
            end_s = time.monotonic()
            await crowd.stop()
            histories = {name: crowd.workloads[name].recorder.ops for name in JUDGES}
            lists = crowd.workloads["append_txn"]
            assert isinstance(lists, AppendTxns)
        assert watch.in_sync == 0, "a copy fell out of sync: what it holds proves nothing"
    finally:
        await rig.close()
    changes = (iolog.Call.WRITE, iolog.Call.SYNC)
    events = {name: [event for event in iolog.read_log(log) if event.call in changes] for name, log in logs.items()}
    return Recording(data, events, histories, lists.history, begin_s, end_s)


def rebuild(recording: Recording, at_s: float, folder: Path, rng: random.Random) -> None:
    """The files of all nodes as a loss of power at that instant may leave them."""
    for name, events in recording.events.items():
        (folder / name).mkdir(parents=True)
        image = iolog.power_image(events, int(at_s * NS), rng)
        (folder / name / "data.mdb").write_bytes(image)


def judge_files(recording: Recording, at_s: float, folder: Path, rng: random.Random) -> int:
    """Open every store, and judge what any choice of copies would serve; returns how many operations were judged."""
    found: dict[int, list[Held]] = {}
    for name in recording.events:
        for pid, held in copies_of(folder / name, MAP_SIZE_BYTES).items():
            found.setdefault(pid, []).append(held)
    if len(found) != LAYOUT.partitions or any(len(copies) != COPIES for copies in found.values()):
        raise Anomaly(f"copies are missing: { {pid: len(copies) for pid, copies in found.items()} }")
    for copies in found.values():
        rng.shuffle(copies)
    return sum(
        judge(recording, at_s, {key: value for copies in found.values() for key, value in copies[choice].items()})
        for choice in range(COPIES)
    )


def judge(recording: Recording, at_s: float, held: Held) -> int:
    """Judge what is there as if it was read after the instant; returns how many operations there were until then."""
    count = 0
    for name, check in JUDGES.items():
        history = recording.told_until(at_s, name)
        count += len(history)
        reads = []
        for key in {op.key for op in history}:
            value = held.get(key.encode())
            text = None if value is None else value.decode()
            found = decode_list(text) if name == "append" and text is not None else text
            reads.append(Op(-1, Kind.READ, key, at_s, at_s, Outcome.DONE, found=found))
        check([*history, *reads])
    return count


async def judge_started(recording: Recording, at_s: float, folder: Path, rng: random.Random) -> float:
    """Start the whole cluster on an image and judge what it answers; returns how long it took to be ready."""
    shutil.copytree(recording.data / "g1", folder / "g1")
    started = time.monotonic()
    async with Rig(folder, LAYOUT, None, rng, **SETTINGS) as rig:
        ready_s = time.monotonic() - started
        await wait_healed(rig)
        async with Client(rig.urls[0], timeout_s=15.0) as client:
            keys = {op.key for name in JUDGES for op in recording.told_until(at_s, name)}
            found = await read_all(client, sorted(keys))
            await wait_decided(rig)
            await judge_transactions(recording.transactions_until(at_s), at_s, client)
        judge(recording, at_s, {key.encode(): value.data for key, value in found.items() if value is not None})
        await compare(rig)
        await stop_and_verify(rig)
    return ready_s


async def judge_transactions(history: Sequence[Transaction], at_s: float, client: Client) -> None:
    """Judge the lists that transactions appended to, as they are read when nothing is under way."""
    found = await read_all(client, sorted({step.key for one in history for step in one.steps}))
    texts = {key: "" if value is None else value.data.decode() for key, value in found.items()}
    reads = tuple(Read(key, tuple(text.split())) for key, text in texts.items())
    check_transactions([*history, Transaction(-1, at_s, at_s, Outcome.DONE, reads)])


async def run(images: int, start_each: int, seconds: float, seed: int, data: Path) -> int:
    """Returns how many images passed; raises what is wrong."""
    rng = random.Random(seed)
    recording = await record(data, seconds, rng)
    syncs = sum(event.call is iolog.Call.SYNC for events in recording.events.values() for event in events)
    print(
        f"recorded {seconds:.0f} s: {sum(map(len, recording.histories.values()))} operations, {syncs} syncs", flush=True
    )
    ready_s = []
    judged = 0
    for number in range(1, images + 1):
        at_s = rng.uniform(recording.begin_s, recording.end_s)
        folder = data / "image"
        rebuild(recording, at_s, folder, rng)
        is_started = number % start_each == 0
        if is_started:
            shutil.copytree(folder, data / "started")
        judged += judge_files(recording, at_s, folder, rng)
        shutil.rmtree(folder)
        if is_started:
            ready_s.append(await judge_started(recording, at_s, data / "started", rng))
            shutil.rmtree(data / "started")
            print(f"image {number}: started, ready after {ready_s[-1]:.1f} s, as told", flush=True)
    print(f"{judged} operations judged in {images} images, {len(ready_s)} of them started as a cluster", flush=True)
    return images


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--start-each", type=int, default=40, help="of so many images, one is started as a cluster")
    parser.add_argument("--seconds", type=float, default=8.0, help="how long the recording is")
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of load, instants and pages")
    arguments = parser.parse_args()
    if shutil.which("cc") is None:
        print("skipped: the recording library needs cc")
        return 0
    print(f"seed {arguments.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-power-"))
    try:
        passed = asyncio.run(run(arguments.images, arguments.start_each, arguments.seconds, arguments.seed, data))
    except Exception as error:
        traceback.print_exc()
        print(f"{type(error).__name__}: {error}; the data stays in {data}", flush=True)
        print("0 images passed, 1 failed")
        return 1
    shutil.rmtree(data)
    print(f"{passed} images passed, 0 failed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
