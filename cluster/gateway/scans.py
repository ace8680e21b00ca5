"""Scans and counts of a range over all partitions of a keyspace.

Guarantees: a scan gives every key that exists, unchanged, for the whole scan exactly once and in order, through
failovers, moves, splits and merges, or raises; a partition without leader is waited for as long as a request may wait,
and then named, or given up where the caller allows it; what is held is about two pages of each node. Leaves to others:
which partitions are asked together (`scan_legs`), the merging (`scan_merge`), parameters and text forms
(`scan_routes`). PROTOCOL "Range scans".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import aclosing
from itertools import accumulate

import msgspec

from cluster.gateway.courtesy import Courtesy
from cluster.gateway.dispatch import Dispatcher, Pauses
from cluster.gateway.router import Router
from cluster.gateway.scan_legs import Walk
from cluster.gateway.scan_merge import NO_LIMIT, ItemStyle, KeyRange, Piece, ScanMerge
from kvstore.errors import KvError, Locked, NoLeader, from_code
from kvstore.map_values import Entry, KeyspaceInfo
from kvstore.messages import Body, Counted, CountKeys, Failed, Fault, Scanned
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 2.0
# What a node says of a partition that another one may answer for, or itself a little later.
TRIED_AGAIN = frozenset(("wrong_leader", "no_leader", "overloaded", "locked"))

# Strategies under which keys may change their partition.
RESHAPED = frozenset(("range", "directory"))


class Page(msgspec.Struct, frozen=True):
    """The beginning of a range: `last_key` is None where it reaches its end; `missing` partitions were given up."""

    items: list[bytes]
    last_key: bytes | None
    missing: list[int]


class Patience:
    """How long a scan waits for partitions that nobody leads, or that hold locked keys; begins anew with progress."""

    def __init__(self, dispatcher: Dispatcher) -> None:
        self._dispatcher = dispatcher
        self._pauses: Pauses | None = None
        self.reasons: dict[int, str] = {}
        self.locked: set[int] = set()
        self.hopeless: set[int] = set()

    def progressed(self) -> None:
        self._pauses = None
        self.reasons.clear()
        self.locked.clear()
        self.hopeless.clear()

    async def wait(self, pids: Iterable[int]) -> set[int]:
        """Wait before the next attempt at these partitions; returns those that are not worth one: of which nothing can
        come, or all where the time is over."""
        hopeless = self.hopeless.intersection(pids)
        if hopeless:
            return hopeless
        if self._pauses is None:
            self._pauses = self._dispatcher.pauses(self._dispatcher.patience_end_s())
        return set() if await self._pauses.next() else set(pids)

    def error(self, pids: Iterable[int]) -> NoLeader | Locked:
        """What became of the first of these partitions."""
        pid = min(pids)
        kind = Locked if pid in self.locked else NoLeader
        return kind(f"partition {pid}: {self.reasons.get(pid, 'has no leader')}")


class Scans:
    """Args: page_bytes_max: the items of one page take about so many bytes at most."""

    def __init__(self, dispatcher: Dispatcher, router: Router, *, page_bytes_max: int) -> None:
        self._dispatcher = dispatcher
        self._router = router
        self._page_bytes_max = page_bytes_max
        self._loop = asyncio.get_running_loop()

    async def page(
        self,
        keyspace: str,
        keys: KeyRange,
        style: ItemStyle,
        limit: int,
        allow_partial: bool,
        hold: Callable[[int], None],
    ) -> Page:
        """The first `limit` items of the range, or fewer where they are large.

        Args:
            hold: told how many bytes the page has so far; what it raises ends the scan.

        Raises:
            NotFound: there is no such keyspace.
            NoLeader: a partition has no leader; never with `allow_partial`.
            Locked: transactions hold keys of a partition; never with `allow_partial`.
        """
        self._dispatcher.served += 1
        # One more tells whether this is the last page.
        walk = Walk(keyspace, keys, style, limit + 1)
        found: list[bytes] = []
        items: list[bytes] = []
        left_bytes = self._page_bytes_max
        async with aclosing(self._pieces(walk, allow_partial)) as pieces:
            async for piece in pieces:
                count = _count_within(piece.items, left_bytes)
                found += piece.keys[:count]
                items += piece.items[:count]
                if count < len(piece.items):
                    return Page(items, found[-1], sorted(walk.missing))
                left_bytes -= sum(map(len, piece.items))
                hold(self._page_bytes_max - left_bytes)
        last_key = found[limit - 1] if len(items) > limit else None
        return Page(items[:limit], last_key, sorted(walk.missing))

    async def stream(
        self,
        keyspace: str,
        keys: KeyRange,
        style: ItemStyle,
        *,
        limit: int | None = None,
        allow_partial: bool = False,
        is_courteous: bool = True,
    ) -> AsyncGenerator[Piece, None]:
        """All of the range, piece by piece; raises as `page`.

        Args:
            is_courteous: whether it leaves room to other requests.
        """
        walk = Walk(keyspace, keys, style, NO_LIMIT if limit is None else limit, reads_ahead=True)
        courtesy = Courtesy(self._dispatcher.served, self._loop.time())
        async with aclosing(self._pieces(walk, allow_partial)) as pieces:
            async for piece in pieces:
                yield piece
                if not is_courteous:
                    continue
                rest_s = courtesy.rest_s(self._dispatcher.served, self._loop.time())
                walk.page_bytes, walk.reads_ahead = courtesy.page_bytes, not courtesy.is_shared
                if rest_s:
                    await asyncio.sleep(rest_s)
                    courtesy.rested(self._loop.time())
        if walk.missing:
            yield Piece([], [], tuple(sorted(walk.missing)))

    async def count(self, keyspace: str, keys: KeyRange, allow_partial: bool) -> tuple[int, list[int]]:
        """How many keys there are in the range, and the partitions that were given up; raises as `page`. Where keys
        change their partition it begins anew."""
        patience = Patience(self._dispatcher)
        missing: set[int] = set()
        while True:
            info, pids = self._known(keyspace, keys)
            total = await self._count(info, pids, keys, allow_partial, patience, missing)
            if total is not None:
                return total, sorted(missing)

    # ---- scanning -----------------------------------------------------------------------------------------------

    async def _pieces(self, walk: Walk, allow_partial: bool) -> AsyncGenerator[Piece, None]:
        """The scan, leg after leg; where keys change their partition it goes on behind the last key that left, by the
        new map."""
        patience = Patience(self._dispatcher)
        while walk.rest is not None and walk.left > 0:
            info, pids = self._known(walk.keyspace, walk.rest)
            if walk.rest.is_empty:
                return
            leg = walk.leg(info, pids)
            merge = walk.merge(leg, self._parts_by_leader(info, leg.pids, walk.missing, patience))
            async with aclosing(self._merged(merge, info, walk, patience, allow_partial)) as pieces:
                async for piece in pieces:
                    yield piece
            walk.went(leg, merge)

    async def _merged(
        self, merge: ScanMerge, info: KeyspaceInfo, walk: Walk, patience: Patience, allow_partial: bool
    ) -> AsyncGenerator[Piece, None]:
        """One leg; it is not over where keys have changed their partition since `info`."""
        calls: list[tuple[str, asyncio.Future[Body]]] = []
        try:
            while not merge.is_over:
                walk.steer(merge)
                if merge.unassigned:
                    # What a node was asked ahead for is not all that it will have to be asked for.
                    await self._settle(merge, calls, patience)
                    if self._is_redrawn(info):
                        return
                    self._assign(merge, info, patience)
                self._ask(merge, calls, patience)
                await self._settle(merge, calls, patience)
                piece = merge.take()
                if piece.keys:
                    patience.progressed()
                    if merge.reads_ahead:
                        # The next pages are made while this one leaves.
                        self._ask(merge, calls, patience)
                    yield piece
                elif not merge.unassigned or self._is_redrawn(info):
                    continue
                elif lost := await patience.wait(merge.unassigned):
                    if not allow_partial:
                        raise patience.error(lost)
                    merge.give_up(lost)
                    walk.missing |= lost
        finally:
            for _, future in calls:
                future.cancel()

    def _known(self, keyspace: str, keys: KeyRange) -> tuple[KeyspaceInfo, Sequence[int]]:
        """The keyspace, and its partitions that may have keys of the range; raises NotFound and NoLeader."""
        pids = self._router.pids_within(keyspace, keys.start, keys.end)
        return self._router.map.keyspaces[keyspace], pids

    def _is_redrawn(self, info: KeyspaceInfo) -> bool:
        """Whether keys have changed their partition since."""
        return self._router.map.keyspaces.get(info.name) != info

    def _parts_by_leader(
        self, info: KeyspaceInfo, pids: Sequence[int], missing: Collection[int], patience: Patience
    ) -> Mapping[str, Sequence[tuple[int, int]]]:
        """These partitions but those given up, as `ScanMerge` takes them."""
        if not missing and info.strategy not in RESHAPED and len(pids) == len(info.pids):
            return self._router.by_leader(info.name)
        asked = [pid for pid in pids if pid not in missing]
        by_leader = {
            node: [(entry.pid, entry.ver) for entry in entries]
            for node, entries in self._by_leader(asked, info, patience).items()
        }
        led = {pid for parts in by_leader.values() for pid, _ in parts}
        by_leader[""] = [(pid, 0) for pid in asked if pid not in led]
        return by_leader

    def _assign(self, merge: ScanMerge, info: KeyspaceInfo, patience: Patience) -> None:
        for node, entries in self._by_leader(merge.unassigned, info, patience).items():
            merge.assign(node, [(entry.pid, entry.ver) for entry in entries])

    def _by_leader(self, pids: Iterable[int], info: KeyspaceInfo, patience: Patience) -> dict[str, list[Entry]]:
        """The entries of these partitions by the node that leads them, as far as one does and their keys are those
        that the keyspace as it is known gives them."""
        by_leader: dict[str, list[Entry]] = {}
        for pid in pids:
            entry = self._router.map.entries[pid]
            if entry.layout > info.layout:
                patience.reasons[pid] = "has other keys than before, and control has not told yet which"
            elif entry.leader is None:
                patience.reasons[pid] = "has no leader"
            else:
                by_leader.setdefault(entry.leader.node, []).append(entry)
        return by_leader

    def _ask(self, merge: ScanMerge, calls: list[tuple[str, asyncio.Future[Body]]], patience: Patience) -> None:
        for node, ask in merge.asks():
            future = self._call(node, ask, [pid for pid, _ in ask.parts], patience)
            if future is None:
                merge.lose(node)
            else:
                calls.append((node, future))

    async def _settle(
        self, merge: ScanMerge, calls: list[tuple[str, asyncio.Future[Body]]], patience: Patience
    ) -> None:
        """Wait for every page that is under way."""
        while calls:
            node, future = calls[0]
            answer = await self._answer(node, future)
            calls.pop(0)
            if isinstance(answer, Scanned):
                self._heed(merge.take_page(node, answer), patience)
            else:
                patience.reasons.update(dict.fromkeys(merge.lose(node), str(answer)))

    # ---- counting -----------------------------------------------------------------------------------------------

    async def _count(
        self,
        info: KeyspaceInfo,
        pids: Sequence[int],
        keys: KeyRange,
        allow_partial: bool,
        patience: Patience,
        missing: set[int],
    ) -> int | None:
        """How many keys there are, None where they have changed their partition meanwhile."""
        if keys.is_empty:
            return 0
        left = {pid: keys.start for pid in pids if pid not in missing}
        total = 0
        while left:
            counted = await self._count_once(left, keys.end, info, patience)
            total += sum(count for _, count, _ in counted)
            for pid, _, next_start in counted:
                if next_start is None:
                    del left[pid]
                else:
                    left[pid] = next_start
            if counted:
                patience.progressed()
            if left and self._is_redrawn(info):
                return None
            if not counted and (lost := await patience.wait(left)):
                if not allow_partial:
                    raise patience.error(lost)
                missing |= lost
                left = {pid: start for pid, start in left.items() if pid not in lost}
        return total

    async def _count_once(
        self, left: dict[int, bytes], end: bytes, info: KeyspaceInfo, patience: Patience
    ) -> list[tuple[int, int, bytes | None]]:
        """Ask each leader once for what is left to count."""
        calls = []
        for node, entries in self._by_leader(left, info, patience).items():
            asked = CountKeys([(entry.pid, entry.ver, left[entry.pid]) for entry in entries], end)
            future = self._call(node, asked, [entry.pid for entry in entries], patience)
            if future is not None:
                calls.append((node, future, entries))
        counted: list[tuple[int, int, bytes | None]] = []
        for node, future, entries in calls:
            answer = await self._answer(node, future)
            if isinstance(answer, Counted):
                self._heed(answer.faults, patience)
                counted += answer.counts
            else:
                patience.reasons.update((entry.pid, str(answer)) for entry in entries)
        return counted

    # ---- calls --------------------------------------------------------------------------------------------------

    def _call(self, node: str, body: Body, pids: Sequence[int], patience: Patience) -> asyncio.Future[Body] | None:
        """Call a node, or note why that cannot be."""
        links = self._dispatcher.links
        patience.hopeless.difference_update(pids)
        patience.locked.difference_update(pids)
        try:
            return links.call(node, body, ATTEMPT_S)
        except NotSent as error:
            if links.is_away(node):
                patience.hopeless.update(pids)
            patience.reasons.update(dict.fromkeys(pids, f"its leader {node} cannot be reached: {error}"))
            return None

    async def _answer(self, node: str, future: asyncio.Future[Body]) -> Body | str:
        """What a node answered, or why it did not; raises what it says of the whole range."""
        links = self._dispatcher.links
        try:
            answer = await future
        except RpcError as error:
            links.failed(node)
            return f"no answer from its leader {node}: {error}"
        links.answered(node)
        if isinstance(answer, Failed):
            if answer.fault.code not in TRIED_AGAIN:
                raise from_code(answer.fault.code, answer.fault.detail)
            return f"{node}: {answer.fault.detail}"
        if isinstance(answer, Scanned | Counted):
            return answer
        raise KvError("the node's answer does not fit the request")

    def _heed(self, faults: Iterable[tuple[int, Fault]], patience: Patience) -> None:
        for pid, fault in faults:
            patience.reasons[pid] = fault.detail
            if fault.code == Locked.code:
                patience.locked.add(pid)
            if fault.entry is not None:
                self._router.take_entry(fault.entry)


def _count_within(items: list[bytes], bytes_max: int) -> int:
    """How many of these items begin within so many bytes."""
    if sum(map(len, items)) <= bytes_max:
        return len(items)
    return sum(end - len(item) < bytes_max for item, end in zip(items, accumulate(map(len, items)), strict=True))
