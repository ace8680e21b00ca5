"""A keyspace whose keys change their partition while it is scanned: nodes that answer by the entry they have, and a
gateway that hears of each change late."""

from __future__ import annotations

import asyncio
import random
from bisect import bisect_right, insort
from typing import Any, cast

import msgspec

from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.router import Router
from cluster.gateway.scan_merge import ItemStyle, KeyRange
from cluster.gateway.scans import Scans
from kvstore.keys import tenant_of
from kvstore.map_values import Entry, KeyspaceInfo, Rid
from kvstore.messages import Body, Counted, CountKeys, Fault, MapUpdate, Scan, Scanned
from kvstore.scan.items import ItemForm

NODES = ("n1", "n2", "n3")
STYLE = ItemStyle(ItemForm.JSON, False)


class Links:
    """The nodes, as `Scans` calls them; each call may change the world before or after it is answered."""

    def __init__(self, world: World) -> None:
        self._world = world

    def call(self, node: str, body: Body, _timeout_s: float) -> asyncio.Future[Body]:
        world, future = self._world, asyncio.get_running_loop().create_future()
        world.asked.append((node, body))
        world.happen()
        future.set_result(world.answer(node, body))
        world.happen()
        return future

    def is_away(self, _node: str) -> bool:
        return False

    def answered(self, _node: str) -> None: ...

    def failed(self, _node: str) -> None: ...


class World:
    """Args:
    keys: at their partitions by `bounds`, or by the tenant that they belong to.
    trouble: how likely something happens at a call.
    """

    def __init__(self, keys: list[bytes], bounds: list[bytes], rng: random.Random, trouble: float = 0.0) -> None:
        self.rng = rng
        self.trouble = trouble
        self.keys = sorted(keys)
        self.bounds = sorted(set(bounds))
        self.served = 0
        self.links = Links(self)
        self.asked: list[tuple[str, Body]] = []
        self.changes = 0
        self._pids = list(range(1, len(self.bounds) + 2))
        self._next_pid = len(self._pids) + 1
        self._layout = 0
        self._map_ver = 0
        self.entries = {pid: self._entry(pid, 1) for pid in self._pids}
        self.router = Router(b"cluster1")
        self.tell()

    def scans(self) -> Scans:
        return Scans(cast(Dispatcher, self), self.router, page_bytes_max=1 << 20)

    # ---- what `Scans` has of a dispatcher -----------------------------------------------------------------------

    def patience_end_s(self) -> float:
        return 0.0

    def pauses(self, _end_s: float) -> World:
        return self

    async def next(self) -> bool:
        """A pause, in which news may come."""
        await asyncio.sleep(0)
        if self.rng.random() < 0.5:
            self.tell()
        return True

    # ---- what happens -------------------------------------------------------------------------------------------

    def happen(self) -> None:
        if self.rng.random() >= self.trouble:
            return
        self.rng.choice((self.split, self.merge, self.elect))()
        if self.rng.random() < 0.5:
            self.tell()

    def split(self) -> None:
        bound = self.rng.choice(self.keys) if self.keys else b"m"
        if bound in self.bounds or not bound:
            return
        place = bisect_right(self.bounds, bound)
        source, target = self._pids[place], self._next_pid
        self._next_pid += 1
        insort(self.bounds, bound)
        self._pids.insert(place + 1, target)
        self._reshape(source, target)

    def merge(self) -> None:
        if len(self._pids) < 2:
            return
        place = self.rng.randrange(len(self._pids) - 1)
        into, gone = self._pids[place], self._pids[place + 1]
        del self.bounds[place], self._pids[place + 1]
        self._reshape(into, gone)

    def elect(self) -> None:
        entry = self.entries[self.rng.choice(self._pids)]
        self.entries[entry.pid] = self._entry(entry.pid, entry.ver + 1, entry.layout)

    def delete(self) -> None:
        """The keyspace is no more; tombstones stay of its partitions."""
        self._reshape(*self._pids)
        for pid, entry in self.entries.items():
            self.entries[pid] = msgspec.structs.replace(entry, leader=None, in_sync=(), replicas=())
        self._pids, self.bounds = [], []
        self.tell()

    def _reshape(self, *pids: int) -> None:
        self.changes += 1
        self._layout += 1
        for pid in pids:
            known = self.entries.get(pid)
            self.entries[pid] = self._entry(pid, known.ver + 1 if known else 1, self._layout)

    def _entry(self, pid: int, ver: int, layout: int = 0) -> Entry:
        rid = Rid(self.rng.choice(NODES), bytes(16))
        return Entry(pid, "r", ver, ver, rid, (rid,), (rid,), layout=layout)

    def info(self) -> KeyspaceInfo:
        return KeyspaceInfo("r", "range", tuple(self._pids), 1, 1, self._layout, bounds=tuple(self.bounds))

    def tell(self) -> None:
        """Control tells the gateway all of the map."""
        self._map_ver += 1
        self.router.take(MapUpdate(self._map_ver, [], list(self.entries.values()), [self.info()]))

    # ---- nodes --------------------------------------------------------------------------------------------------

    def home(self, key: bytes) -> int:
        """The partition that has the key."""
        return self._pids[bisect_right(self.bounds, key)]

    def answer(self, node: str, body: Body) -> Body:
        assert isinstance(body, Scan | CountKeys)
        faults = [(part[0], fault) for part in body.parts if (fault := self._fault(node, part[0], part[1]))]
        failed = {pid for pid, _ in faults}
        if isinstance(body, CountKeys):
            counts: list[tuple[int, int, bytes | None]] = []
            for pid, _, start in body.parts:
                if pid in failed:
                    continue
                found = self._found({pid}, start, body.end)
                cut = found[: self.rng.randint(1, 4)]
                counts.append((pid, len(cut), found[len(cut)] if len(cut) < len(found) else None))
            return Counted(counts, faults)
        served = {pid for pid, _ in body.parts} - failed
        found = self._found(served, body.start, body.end)
        if body.reverse:
            found.reverse()
        page = found[: min(body.limit, self.rng.randint(1, 9))]
        return Scanned(page, [b"<%b>" % key for key in page], len(page) == len(found), faults)

    def _found(self, pids: set[int], start: bytes, end: bytes) -> list[bytes]:
        return [key for key in self.keys if pids and start <= key and (not end or key < end) and self.home(key) in pids]

    def _fault(self, node: str, pid: int, ver: int) -> Fault | None:
        entry = self.entries[pid]
        if ver > entry.ver:
            raise AssertionError("nobody has a newer entry")
        if ver == entry.ver and entry.leader is not None and entry.leader.node == node:
            return None
        return Fault("wrong_leader", "another one, or other keys", entry)


class TenantWorld(World):
    """A keyspace of strategy `directory`: tenants move between its partitions."""

    def __init__(self, keys: list[bytes], partitions: int, rng: random.Random, trouble: float) -> None:
        self.homes: dict[bytes, int] = {}
        super().__init__(keys, [bytes((number,)) for number in range(1, partitions)], rng, trouble)
        self.homes = {tenant_of(key): rng.choice(self._pids) for key in keys}

    def split(self) -> None:
        if self.homes:
            tenant = self.rng.choice(sorted(self.homes))
            source, target = self.homes[tenant], self.rng.choice(self._pids)
            if source != target:
                self.homes[tenant] = target
                self._reshape(source, target)

    merge = split

    def info(self) -> KeyspaceInfo:
        return msgspec.structs.replace(super().info(), strategy="directory", bounds=())

    def home(self, key: bytes) -> int:
        return self.homes[tenant_of(key)]


async def all_pages(world: World, keys: KeyRange, limit: int) -> list[bytes]:
    """Page after page, each from behind the last key of the one before."""
    scans, found = world.scans(), []
    while True:
        page = await scans.page("r", keys, STYLE, limit, False, lambda _size: None)
        found += [item[1:-1] for item in page.items]
        if page.last_key is None:
            return found
        keys = keys.after(page.last_key)
        world.happen()


async def all_of_stream(world: World, keys: KeyRange, limit: int | None) -> list[bytes]:
    found: list[bytes] = []
    async for piece in world.scans().stream("r", keys, STYLE, limit=limit, is_courteous=False):
        found += piece.keys
    return found


def parts_asked(world: World) -> list[int]:
    """The partitions that were asked, in the order of the first time."""
    asked: dict[int, Any] = {}
    for _, body in world.asked:
        assert isinstance(body, Scan | CountKeys)
        asked |= {part[0]: None for part in body.parts}
    return list(asked)


async def count_of(world: World, keys: KeyRange) -> int:
    total, missing = await world.scans().count("r", keys, False)
    assert not missing
    return total
