"""The same keys in keyspaces of every strategy, at once: what is done in one never shows in another: `isolation.py`.

Each keyspace has one client, which alone writes there, so what each answer has to hold is known exactly
(`checkers.isolation`). Meanwhile ranges are split and merged, and one keyspace is deleted and made anew, again and
again.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from checkers.history import Anomaly
from checkers.isolation import check_count, check_items, check_value, value_in
from probe.keyspace import DEFAULT_KEYSPACE, GEO, KEYSPACES
from probe.rig import Layout, Rig
from probe.workloads.names import TENANTS, key_name, tenant_name

from kvstore.client import Client, Delete, Get, If, Put, Value, Written
from kvstore.errors import KeyNotFound, KvError

LAYOUT = Layout(nodes=4, partitions=8, zones=("east", "east", "west", "west"), keyspaces=tuple(KEYSPACES))
RECREATED = "hash"
KEYS = 160
VALUE_BYTES = 2000
PAGE_SIZE = 50
CALL_S = 20.0
PAUSE_S = 0.01


class Owner:
    """The one client of a keyspace. `counts` says how often it asked for what."""

    def __init__(self, keyspace: str, client: Client, rng: random.Random) -> None:
        self.counts: Counter[str] = Counter()
        self._keyspace = keyspace
        self._client = client
        self._rng = rng
        self._numbers = 0
        self._held: dict[str, str] = {}
        self._steps: list[Callable[[], Awaitable[None]]] = [
            *(self._put, self._put, self._put, self._delete, self._get, self._batch),
            *(self._transact, self._scan, self._count, self._delete_range),
        ]

    async def step(self) -> None:
        """One request of any sort, and its answer judged; raises `Anomaly`."""
        step = self._rng.choice(self._steps)
        self.counts[step.__name__.lstrip("_")] += 1
        await step()

    def forget(self) -> None:
        """The keyspace was deleted and made anew."""
        self._held.clear()

    async def check(self) -> None:
        """All there is, in both ways."""
        await self._scan()
        await self._count()

    def _key(self) -> str:
        return key_name("same", self._rng.randrange(KEYS))

    def _value(self) -> str:
        self._numbers += 1
        return value_in(self._keyspace, self._numbers).ljust(VALUE_BYTES, ".")

    async def _put(self) -> None:
        key, value = self._key(), self._value()
        await self._client.put(key, value.encode())
        self._held[key] = value

    async def _delete(self) -> None:
        key = self._key()
        await self._client.delete(key)
        self._held.pop(key, None)

    async def _get(self) -> None:
        key = self._key()
        try:
            found = (await self._client.get(key)).data.decode()
        except KeyNotFound:
            found = None
        check_value(self._keyspace, key, self._held.get(key), found, "a get")

    async def _batch(self) -> None:
        read, put, gone = self._rng.sample([key_name("same", number) for number in range(KEYS)], 3)
        value = self._value()
        outcomes = await self._client.batch([Get(read), Put(put, value.encode()), Delete(gone)])
        got = outcomes[0]
        if not isinstance(got, Value | KeyNotFound) or any(isinstance(one, KvError) for one in outcomes[1:]):
            raise Anomaly(f"a batch in {self._keyspace!r} was answered with {outcomes}")
        found = got.data.decode() if isinstance(got, Value) else None
        check_value(self._keyspace, read, self._held.get(read), found, "a batch")
        self._held[put] = value
        self._held.pop(gone, None)

    async def _transact(self) -> None:
        """What is there, or is not, is as it was left here: the other branch would be taken for another keyspace's."""
        key, other = self._key(), self._key()
        value = self._value()
        put = Put(other, value.encode())
        told = await self._client.txn(
            conditions=[If(key, value=self._held[key].encode()) if key in self._held else If(key, exists=False)],
            then=[put],
        )
        if told.branch != "then" or not isinstance(told.outcomes[0], Written):
            raise Anomaly(f"a transaction in {self._keyspace!r} on {key} was answered with {told}")
        self._held[other] = value

    async def _scan(self) -> None:
        items = [
            (item.key.decode(), item.value.decode())
            async for item in self._client.scan(prefix="t", page_size=PAGE_SIZE)
        ]
        check_items(self._keyspace, self._held, items, "a scan")

    async def _count(self) -> None:
        tenant = f"{tenant_name(self._rng.randrange(TENANTS))}/"
        held = {key: value for key, value in self._held.items() if key.startswith(tenant)}
        check_count(self._keyspace, held, await self._client.count(prefix=tenant), f"a count of {tenant}")

    async def _delete_range(self) -> None:
        tenant = f"{tenant_name(self._rng.randrange(TENANTS))}/"
        gone = {key: value for key, value in self._held.items() if key.startswith(tenant)}
        deleted = await self._client.delete_range(prefix=tenant)
        check_count(self._keyspace, gone, deleted, f"the deletion of {tenant}")
        self._held = {key: value for key, value in self._held.items() if key not in gone}


async def _own(owner: Owner, is_over: asyncio.Event) -> None:
    while not is_over.is_set():
        await owner.step()
        await asyncio.sleep(PAUSE_S)


async def _recreate(rig: Rig, owner: Owner, is_over: asyncio.Event, rounds: Counter[str]) -> None:
    """Its client's steps, and every now and then the end of the keyspace and a new one of its name."""
    while not is_over.is_set():
        for _ in range(60):
            await owner.step()
            await asyncio.sleep(PAUSE_S)
        await rig.delete_keyspace(RECREATED)
        owner.forget()
        await rig.make_keyspace(KEYSPACES[RECREATED])
        rounds["made anew"] += 1


async def run(data: Path, seconds: float, seed: int) -> str:
    """Returns what was done; raises what is wrong."""
    rng = random.Random(seed)
    async with Rig(data, LAYOUT, None, rng) as rig, AsyncExitStack() as stack:
        await rig.make_keyspace(GEO)
        owners = {}
        for keyspace in (DEFAULT_KEYSPACE, *KEYSPACES.values(), GEO):
            client = await stack.enter_async_context(keyspace.client(rig.urls[0], CALL_S))
            owners[keyspace.name] = Owner(keyspace.name, client, rng)
        is_over, rounds = asyncio.Event(), Counter[str]()
        started = time.monotonic()
        tasks = [
            asyncio.create_task(_recreate(rig, owner, is_over, rounds) if name == RECREATED else _own(owner, is_over))
            for name, owner in owners.items()
        ]
        await asyncio.wait(tasks, timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
        is_over.set()
        await asyncio.gather(*tasks)
        for owner in owners.values():
            await owner.check()
        took_s = time.monotonic() - started
        counts = sum((owner.counts for owner in owners.values()), Counter())
        told = ", ".join(f"{number} {what}" for what, number in counts.most_common())
        return f"{took_s:.0f} s, {len(owners)} keyspaces apart: {told}; {RECREATED} made anew {rounds.total()} times"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60.0)
    parser.add_argument("--seed", type=int, default=random.randrange(1 << 32), help="of what is asked")
    options = parser.parse_args()
    print(f"seed {options.seed}", flush=True)
    data = Path(tempfile.mkdtemp(prefix="kvstore-isolation-"))
    try:
        print(asyncio.run(run(data, options.seconds, options.seed)))
    except (AssertionError, KvError) as error:
        print(f"{type(error).__name__}: {error}")
        return 1
    finally:
        shutil.rmtree(data)
    return 0


if __name__ == "__main__":
    sys.exit(main())
