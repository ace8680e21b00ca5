"""Scans and counts of a range over all partitions of a keyspace.

Guarantees: a scan gives every key that exists, unchanged, for the whole scan exactly once and in order, through
failovers and moves, or raises; a partition without leader is waited for as long as a request may wait, and then named,
or given up where the caller allows it; what is held is about two pages of each node. Leaves to others: the merging
(`scan_merge`), parameters and text forms (`scan_routes`). PROTOCOL "Range scans".
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from itertools import accumulate

import msgspec

from cluster.gateway.courtesy import PAGE_BYTES, Courtesy
from cluster.gateway.dispatch import Dispatcher, Pauses
from cluster.gateway.router import Router
from cluster.gateway.scan_merge import NO_LIMIT, ItemStyle, KeyRange, Piece, ScanMerge
from kvstore.errors import KvError, Locked, NoLeader, from_code
from kvstore.map_values import Entry
from kvstore.messages import Body, Counted, CountKeys, Failed, Fault, Scanned
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 2.0
# What a node says of a partition that another one may answer for, or itself a little later.
TRIED_AGAIN = frozenset(("wrong_leader", "no_leader", "overloaded", "locked"))


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
        # One more tells whether this is the last page.
        merge = self._merge(keyspace, keys, style, limit=limit + 1)
        found: list[bytes] = []
        items: list[bytes] = []
        left_bytes = self._page_bytes_max
        async with aclosing(self._pieces(merge, allow_partial)) as pieces:
            async for piece in pieces:
                count = _count_within(piece.items, left_bytes)
                found += piece.keys[:count]
                items += piece.items[:count]
                if count < len(piece.items):
                    return Page(items, found[-1], sorted(merge.missing))
                left_bytes -= sum(map(len, piece.items))
                hold(self._page_bytes_max - left_bytes)
        last_key = found[limit - 1] if len(items) > limit else None
        return Page(items[:limit], last_key, sorted(merge.missing))

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
        merge = self._merge(keyspace, keys, style, limit=NO_LIMIT if limit is None else limit, reads_ahead=True)
        courtesy = Courtesy(self._dispatcher.carried, self._loop.time())
        async with aclosing(self._pieces(merge, allow_partial)) as pieces:
            async for piece in pieces:
                yield piece
                if not is_courteous:
                    continue
                rest_s = courtesy.rest_s(self._dispatcher.carried, self._loop.time())
                merge.page_bytes, merge.reads_ahead = courtesy.page_bytes, not courtesy.is_shared
                if rest_s:
                    await asyncio.sleep(rest_s)
                    courtesy.rested(self._loop.time())
        if merge.missing:
            yield Piece([], [], tuple(sorted(merge.missing)))

    async def count(self, keyspace: str, keys: KeyRange, allow_partial: bool) -> tuple[int, list[int]]:
        """How many keys there are in the range, and the partitions that were given up; raises as `page`."""
        pids = {entry.pid for entry in self._router.entries(keyspace)}
        if keys.is_empty:
            return 0, []
        left = dict.fromkeys(pids, keys.start)
        total, patience = 0, Patience(self._dispatcher)
        missing: list[int] = []
        while left:
            counted = await self._count_once(left, keys.end, patience)
            total += sum(count for _, count, _ in counted)
            for pid, _, next_start in counted:
                if next_start is None:
                    del left[pid]
                else:
                    left[pid] = next_start
            if counted:
                patience.progressed()
            elif lost := await patience.wait(left):
                if not allow_partial:
                    raise patience.error(lost)
                missing += lost
                left = {pid: start for pid, start in left.items() if pid not in lost}
        return total, sorted(missing)

    # ---- scanning -----------------------------------------------------------------------------------------------

    def _merge(
        self, keyspace: str, keys: KeyRange, style: ItemStyle, *, limit: int, reads_ahead: bool = False
    ) -> ScanMerge:
        by_leader = self._router.by_leader(keyspace)
        return ScanMerge(by_leader, keys, style, limit=limit, page_bytes=PAGE_BYTES, reads_ahead=reads_ahead)

    async def _pieces(self, merge: ScanMerge, allow_partial: bool) -> AsyncGenerator[Piece, None]:
        patience = Patience(self._dispatcher)
        calls: list[tuple[str, asyncio.Future[Body]]] = []
        try:
            while not merge.is_over:
                if merge.unassigned:
                    # What a node was asked ahead for is not all that it will have to be asked for.
                    await self._settle(merge, calls, patience)
                    self._assign(merge, patience)
                self._ask(merge, calls, patience)
                await self._settle(merge, calls, patience)
                piece = merge.take()
                if piece.keys:
                    patience.progressed()
                    if merge.reads_ahead:
                        # The next pages are made while this one leaves.
                        self._ask(merge, calls, patience)
                    yield piece
                elif merge.unassigned and (lost := await patience.wait(merge.unassigned)):
                    if not allow_partial:
                        raise patience.error(lost)
                    merge.give_up(lost)
        finally:
            for _, future in calls:
                future.cancel()

    def _assign(self, merge: ScanMerge, patience: Patience) -> None:
        for node, entries in self._by_leader(merge.unassigned, patience).items():
            merge.assign(node, [(entry.pid, entry.ver) for entry in entries])

    def _by_leader(self, pids: Iterable[int], patience: Patience) -> dict[str, list[Entry]]:
        """The entries of these partitions by the node that leads them, as far as one does."""
        by_leader: dict[str, list[Entry]] = {}
        for pid in pids:
            entry = self._router.map.entries[pid]
            if entry.leader is None:
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

    async def _count_once(
        self, left: dict[int, bytes], end: bytes, patience: Patience
    ) -> list[tuple[int, int, bytes | None]]:
        """Ask each leader once for what is left to count."""
        calls = []
        for node, entries in self._by_leader(left, patience).items():
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
