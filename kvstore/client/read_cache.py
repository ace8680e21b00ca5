"""A cache of stale reads on aiohttp-client-cache, with that library's own rules replaced where they are unsafe.

Guarantees: nothing is answered from it, or kept, but a `get` that asked for it (`reading`); entries are of one
principal and one exact path, in so many bytes; own writes drop their keys, and no answer that may lack one is kept.
Leaves to others: how long an answer may be given again (`freshness`), HTTP.

What is replaced, and why. `create_key`: the library's normalizes URLs (`a//b` is `a/b`) and leaves out `Authorization`.
`is_cacheable`: its own keeps for ever what has no `Cache-Control`, and `no-cache` too. `get_response`: it knows no lag,
and its clock may be set. `save_response`: its copy has the request's headers, with the token. `is_method_allowed`: all
other requests pass by. The dictionary below has no bound. The lock per key, held for as long as a request takes, would
have reads of a key wait in a row, also where no answer may be kept.
"""

from __future__ import annotations

import asyncio
import hashlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from datetime import datetime
from typing import Any, cast

import aiohttp
from aiohttp_client_cache.backends.base import CacheBackend
from aiohttp_client_cache.cache_control import CacheActions
from aiohttp_client_cache.response import AnyResponse, CachedResponse
from aiohttp_client_cache.session import CachedSession
from yarl import URL

from kvstore.client.freshness import OwnWrites, Promise, Reading, promise_of
from kvstore.client.kept_responses import KeptResponse, KeptResponses


@dataclass(slots=True)
class _Read:
    """The read under way; `sent_s` is when its request left, at the earliest."""

    max_stale_s: float | None
    sent_s: float = 0.0


_reading: ContextVar[_Read | None] = ContextVar("reading", default=None)


def _clock_s() -> float:
    # The monotonic clock of Linux stands still while the machine sleeps, and entries grow old.
    return time.clock_gettime(time.CLOCK_BOOTTIME) if sys.platform == "linux" else time.monotonic()


class ReadCache(CacheBackend):
    """A cache for one client, or for several that share it; each sees what its own token may see.

    Args:
        bytes_max: how many bytes it may take, counted with what each entry takes beside its value.
        clock: seconds that only grow, also while the machine sleeps.
    """

    responses: KeptResponses

    def __init__(self, bytes_max: int, *, clock: Callable[[], float] = _clock_s) -> None:
        super().__init__(allowed_methods=("GET",))
        self.responses = KeptResponses(bytes_max)
        self._clock = clock
        self._writes = OwnWrites()

    @contextmanager
    def reading(self, reading: Reading) -> Iterator[None]:
        """Let the request within be answered from here."""
        token = _reading.set(_Read(reading.max_stale_s, self._clock()))
        try:
            yield
        finally:
            _reading.reset(token)

    @contextmanager
    def writing(self, paths: Sequence[str] | None) -> Iterator[None]:
        """A write of these paths is under way within; None are all paths. Whatever comes of it, nothing that was read
        before its end is kept after it."""
        with self.responses.lock:
            self._writes.begin(paths)
            self.responses.drop_paths(paths)
        try:
            yield
        finally:
            with self.responses.lock:
                self._writes.end(paths, self._clock())

    def is_method_allowed(self, method: str) -> bool:
        return method == "GET" and _reading.get() is not None

    def create_key(self, method: str, url: Any, headers: Any = None, **_others: Any) -> str:
        """Principal, method, and the URL as it is sent but for its query, which only says how fresh the answer must be
        and is checked at each read. The principal is a digest, so that no token is kept."""
        principal = hashlib.sha256((headers or {}).get("Authorization", "").encode()).hexdigest()
        exact = url if isinstance(url, URL) else URL(url, encoded=True)
        return f"{principal} {method} {str(exact).partition('?')[0]}"

    async def get_response(self, key: str) -> CachedResponse | None:
        read = _reading.get()
        if read is None:
            return None
        read.sent_s = self._clock()
        kept = self.responses.find(key)
        if kept is None:
            return None
        age_s = read.sent_s - kept.born_s
        if read.max_stale_s is None:
            return kept.at_age(age_s, is_stale=False)
        return kept.at_age(age_s, is_stale=True) if kept.promise.is_kept(age_s, read.max_stale_s) else None

    async def is_cacheable(self, response: AnyResponse | None, actions: CacheActions | None = None) -> bool:
        if response is None or _reading.get() is None:
            return False
        if response.status == 200 and _promise_of(response) is not None:
            return True
        if response.status in {200, 404} and actions is not None:
            # It is newer than what is kept, which is not to be told after it.
            self.responses.drop(actions.key)
        return False

    async def save_response(
        self, response: aiohttp.ClientResponse, cache_key: str | None = None, expires: datetime | None = None
    ) -> None:
        read, promise = _reading.get(), _promise_of(response)
        if read is None or promise is None or cache_key is None:
            return
        answer = KeptResponse.of(response, await response.read(), promise, read.sent_s)
        with self.responses.lock:
            older = self.responses.find(cache_key)
            if self._writes.tells_all(answer.path, answer.as_of_s) and (
                older is None or older.as_of_s <= answer.as_of_s
            ):
                self.responses.keep(cache_key, answer)


def _promise_of(response: AnyResponse) -> Promise | None:
    return promise_of(",".join(response.headers.getall("Cache-Control", [])), response.headers)


class _NoLocks(dict[str, asyncio.Lock]):
    """A lock of its own for each request."""

    def __missing__(self, _key: str) -> asyncio.Lock:
        return asyncio.Lock()


def cached_session(cache: ReadCache, **options: Any) -> aiohttp.ClientSession:
    """A session that answers from the cache what may be."""
    session = CachedSession(cache=cache, **options)
    session._locks = _NoLocks()
    return cast(aiohttp.ClientSession, session)
