"""The short way of pages: from the parameters of a scan to the bytes of its page, without a task.

Guarantees: a page that is answered here is what `scans` would answer: every leader was asked for the next keys of all
its partitions, and none of them named one that it could not read. One whose share turns out too small is asked once
more, for what is wanting; where that is not enough, or anything is out of the ordinary, the request is handed back, and
goes the long way from its beginning; where anything unforeseen breaks, who asked is told so. Leaves to others: which
requests these are (`fast_requests`), the connection (`fast_protocol`). PROTOCOL "Range scans".
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from functools import partial
from typing import Protocol

from cluster.gateway.answer import Answer
from cluster.gateway.courtesy import PAGE_BYTES
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.fast_requests import PageRequest
from cluster.gateway.page_answers import NDJSON, accepted, limit_of, page_answer, style_of
from cluster.gateway.router import Router
from cluster.gateway.scan_merge import FirstItems, KeyRange, share_of
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

# The partitions that each leader is asked for, with the versions of their map entries.
_Parts = Mapping[str, list[tuple[int, int]]]


class PageCaller(Protocol):
    """The connection that a request came on."""

    def has_room(self, size: int) -> bool:
        """Whether so many bytes may be held for the answer."""

    def answer_fast(self, answer: Answer) -> None:
        """This is the answer."""

    def take_long_way(self) -> None:
        """Nothing was done for the request: have it answered as any other."""

    def fail(self, error: Exception) -> None:
        """Nobody foresaw this error: log it, answer that the gateway failed, and end the connection."""


class _Page:
    """A page that is being answered.

    Attributes:
        caller: who is to be answered, None when that is done or handed back.
        parts: the partitions that each leader is asked for.
        is_late: whether nodes were asked for more.
    """

    __slots__ = ("asked", "caller", "found", "is_late", "limit", "media", "open_calls", "parts", "style")

    def __init__(self, caller: PageCaller, asked: ScanQuery, media: str, parts: _Parts) -> None:
        self.caller: PageCaller | None = caller
        self.asked = asked
        self.media = media
        self.style = style_of(asked, media)
        self.limit = limit_of(asked)
        self.parts = parts
        self.found = FirstItems(self.limit, asked.keys.reverse)
        self.open_calls = 0
        self.is_late = False


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
        self._parts: _Parts = {}
        self._parts_count = 0
        self._look()

    def _look(self) -> None:
        self._map, self._parts = self._router.map, {}
        known = self._map.keyspaces.get(KEYSPACE)
        if known is None or known.strategy not in STRATEGIES:
            return
        try:
            by_leader = self._router.by_leader(KEYSPACE)
        except KvError:
            return
        if "" not in by_leader:
            self._parts = by_leader
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
        self._dispatcher.served += 1
        page = _Page(caller, asked, media, self._parts)
        # One more tells whether this is the last page.
        count = self._parts_count
        shares = [(node, asked.keys, share_of(limit + 1, len(parts), count)) for node, parts in page.parts.items()]
        is_asked = False
        try:
            is_asked = self._ask(page, shares)
        finally:
            if not is_asked:
                page.caller = None
        return is_asked

    def _ask(self, page: _Page, shares: Iterable[tuple[str, KeyRange, int]]) -> bool:
        """Ask leaders for the first keys of a range, so many each; False where one cannot be."""
        form, keys_only = int(page.style.form), page.style.keys_only
        for node, keys, count in shares:
            scan = Scan(page.parts[node], keys.start, keys.end, count, PAGE_BYTES, keys.reverse, form, keys_only)
            try:
                future = self._links.call(node, scan, ATTEMPT_S)
            except NotSent:
                return False
            page.open_calls += 1
            future.add_done_callback(partial(self._take, page, node, count))
        return True

    def _take(self, page: _Page, node: str, count: int, future: asyncio.Future[Body]) -> None:
        page.open_calls -= 1
        try:
            answer = future.result()
        except RpcError:
            self._links.failed(node)
            _hand_back(page)
            return
        try:
            self._links.answered(node)
            if (
                not isinstance(answer, Scanned)
                or answer.faults
                or len(answer.items) != len(answer.keys or answer.items)
            ):
                # What is known of new leaders by now, the long way begins with.
                for entry in [fault.entry for _, fault in answer.faults] if isinstance(answer, Scanned) else ():
                    if entry is not None:
                        self._router.take_entry(entry)
                _hand_back(page)
                return
            if not answer.is_done and len(answer.items) < count:
                self._long_until_s = self._loop.time() + LARGE_S
            if page.caller is None:
                return
            page.found.add(node, answer)
            if not page.open_calls:
                self._finish(page)
        except Exception as error:
            caller, page.caller = page.caller, None
            if caller is not None:
                caller.fail(error)

    def _finish(self, page: _Page) -> None:
        caller, asked = page.caller, page.asked
        if caller is None:
            return
        found = page.found.take()
        if found is None:
            if not self._ask_for_more(page):
                _hand_back(page)
            return
        items, last_key = found
        size = sum(map(len, items))
        if size > self._page_bytes_max or not caller.has_room(size):
            _hand_back(page)
            return
        caller.answer_fast(page_answer(KEYSPACE, asked, page.media, self._cluster_id, items, last_key))

    def _ask_for_more(self, page: _Page) -> bool:
        """Ask those whose keys do not reach far enough; False where nobody can be, or that was done before."""
        wanting = [] if page.is_late else page.found.wanting()
        page.is_late = True
        shares = [(node, page.asked.keys.after(end), count) for node, end, count in wanting]
        return bool(shares) and self._ask(page, shares)


def _hand_back(page: _Page) -> None:
    caller, page.caller = page.caller, None
    if caller is not None:
        caller.take_long_way()
