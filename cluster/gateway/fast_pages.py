"""The short way of pages: from the parameters of a scan to the bytes of its page, without a task.

Guarantees: a page that is answered here is what `scans` would answer: every leader was asked for the next keys of all
its partitions, and none of them named one that it could not read. Each is asked once; where that is not enough, or
anything is out of the ordinary, the request is handed back, and goes the long way from its beginning. Leaves to others:
which requests these are (`fast_requests`), the connection (`fast_protocol`). PROTOCOL "Range scans".
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Protocol

from cluster.gateway.answer import Answer
from cluster.gateway.courtesy import PAGE_BYTES
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.fast_requests import PageRequest
from cluster.gateway.page_answers import NDJSON, accepted, limit_of, page_answer, style_of
from cluster.gateway.router import Router
from cluster.gateway.scan_merge import FirstItems, share_of
from cluster.gateway.scan_query import ScanQuery, parse_scan
from cluster.gateway.scans import ATTEMPT_S
from kvstore.errors import KvError
from kvstore.messages import Body, Scan, Scanned
from kvstore.rpc.connection import NotSent, RpcError

KEYSPACE = "default"
# In others, keys may change their partition, or a page concerns few of them.
STRATEGIES = frozenset(("consistent", "hash"))
# More are mostly more than fit into a node's page.
LIMIT_MAX = 1000
# After a page that a node's page did not hold, for so long none is tried.
LARGE_S = 1.0


class PageCaller(Protocol):
    """The connection that a request came on."""

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be held for the answer."""

    def answer_fast(self, answer: Answer) -> None:
        """This is the answer."""

    def take_long_way(self) -> None:
        """Nothing was done for the request: have it answered as any other."""


class _Page:
    """A page that nodes are asked for; nobody waits for it any more where `caller` is None."""

    __slots__ = ("asked", "caller", "found", "limit", "media", "open_calls")

    def __init__(self, caller: PageCaller, asked: ScanQuery, media: str, limit: int) -> None:
        self.caller: PageCaller | None = caller
        self.asked = asked
        self.media = media
        self.limit = limit
        self.found = FirstItems(limit, asked.keys.reverse)
        self.open_calls = 0


class FastPages:
    """Args:
    dispatcher: whose links are used.
    cluster_id: whose cursors are taken.
    page_bytes_max: the items of one page take so many bytes at most.
    """

    def __init__(self, dispatcher: Dispatcher, router: Router, *, cluster_id: bytes, page_bytes_max: int) -> None:
        self._dispatcher = dispatcher
        self._links = dispatcher.links
        self._router = router
        self._cluster_id = cluster_id
        self._page_bytes_max = page_bytes_max
        self._loop = asyncio.get_running_loop()
        self._long_until_s = 0.0
        # By the map as it was when last a page was asked for: each leader's partitions, nothing where one has none.
        self._map = router.map
        self._parts: list[tuple[str, list[tuple[int, int]]]] = []
        self._parts_count = 0
        self._look()

    def _look(self) -> None:
        self._map, self._parts = self._router.map, []
        known = self._map.keyspaces.get(KEYSPACE)
        if known is None or known.strategy not in STRATEGIES:
            return
        try:
            by_leader = self._router.by_leader(KEYSPACE)
        except KvError:
            return
        if "" not in by_leader:
            self._parts = list(by_leader.items())
            self._parts_count = sum(map(len, by_leader.values()))

    def begin(self, caller: PageCaller, request: PageRequest) -> bool:
        """Begin to answer; False where the request has to go the long way."""
        if self._map is not self._router.map:
            self._look()
        if not self._parts or self._loop.time() < self._long_until_s:
            return False
        try:
            asked = parse_scan(request.query, KEYSPACE, self._cluster_id)
        except KvError:
            return False
        media, limit = accepted(request.accept), limit_of(asked)
        if asked.is_count or asked.keys.is_empty or media == NDJSON or limit > LIMIT_MAX:
            return False
        page = _Page(caller, asked, media, limit)
        if self._ask(page):
            return True
        page.caller = None
        return False

    def _ask(self, page: _Page) -> bool:
        """Ask every leader; False where one cannot be."""
        self._dispatcher.served += 1
        keys, style = page.asked.keys, style_of(page.asked, page.media)
        for node, parts in self._parts:
            # One more tells whether this is the last page.
            share = share_of(page.limit + 1, len(parts), self._parts_count)
            form = int(style.form)
            scan = Scan(parts, keys.start, keys.end, share, PAGE_BYTES, keys.reverse, form, style.keys_only)
            try:
                future = self._links.call(node, scan, ATTEMPT_S)
            except NotSent:
                return False
            page.open_calls += 1
            future.add_done_callback(partial(self._take, page, node, share))
        return True

    def _take(self, page: _Page, node: str, share: int, future: asyncio.Future[Body]) -> None:
        page.open_calls -= 1
        try:
            answer = future.result()
        except RpcError:
            self._links.failed(node)
            _hand_back(page)
            return
        self._links.answered(node)
        if not isinstance(answer, Scanned) or answer.faults or len(answer.items) != len(answer.keys):
            # What is known of new leaders by now, the long way begins with.
            for entry in [fault.entry for _, fault in answer.faults] if isinstance(answer, Scanned) else ():
                if entry is not None:
                    self._router.take_entry(entry)
            _hand_back(page)
            return
        if not answer.is_done and len(answer.keys) < share:
            self._long_until_s = self._loop.time() + LARGE_S
        if page.caller is None:
            return
        page.found.add(answer)
        if not page.open_calls:
            self._finish(page)

    def _finish(self, page: _Page) -> None:
        caller, asked = page.caller, page.asked
        if caller is None:
            return
        found = page.found.take()
        if found is None:
            _hand_back(page)
            return
        items, last_key = found
        size = sum(map(len, items))
        if size > self._page_bytes_max or not caller.has_room(size):
            _hand_back(page)
            return
        caller.answer_fast(page_answer(KEYSPACE, asked, page.media, self._cluster_id, items, last_key))


def _hand_back(page: _Page) -> None:
    caller, page.caller = page.caller, None
    if caller is not None:
        caller.take_long_way()
