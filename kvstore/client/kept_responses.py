"""What a cache of reads holds: answers with their promises, in so many bytes.

Guarantees: the bytes held, with what an entry takes beside its value, are never more than allowed; the answers that
were not asked for the longest make room; any thread may call. Leaves to others: which answers may be kept, or given
(`read_cache`).
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import AsyncIterable, Sequence
from typing import Any

import aiohttp
from aiohttp_client_cache.backends.base import BaseCache
from aiohttp_client_cache.response import CachedResponse

from kvstore.client.freshness import Promise

# What an entry takes beside its bytes.
ENTRY_BYTES = 4096


class KeptResponse(CachedResponse):
    """An answer with what it promised, and the time from which its age is counted."""

    path: str
    promise: Promise
    born_s: float
    size: int

    @classmethod
    def of(cls, answer: aiohttp.ClientResponse, body: bytes, promise: Promise, born_s: float) -> KeptResponse:
        kept = cls(**_parts(answer, body, answer.raw_headers))
        kept.path, kept.promise, kept.born_s = answer.url.raw_path, promise, born_s
        kept.size = ENTRY_BYTES + len(body) + sum(len(name) + len(value) for name, value in answer.raw_headers)
        return kept

    @property
    def as_of_s(self) -> float:
        return self.born_s - self.promise.lag_s

    def at_age(self, age_s: float, *, is_stale: bool) -> CachedResponse:
        """It as an answer of now: `is_stale` tells whether it may be behind."""
        told = {name.lower().encode(): value.encode() for name, value in self.promise.headers(age_s).items()}
        headers = [(name, told.get(name.lower(), value)) for name, value in self.raw_headers]
        if not is_stale:
            headers = [(name, value) for name, value in headers if name.lower() != b"x-kv-lag-ms"]
        return CachedResponse(**_parts(self, self._body, headers))


def _parts(
    answer: aiohttp.ClientResponse | CachedResponse, body: bytes, headers: Sequence[tuple[bytes, bytes]]
) -> dict[str, Any]:
    parts = {name: getattr(answer, name) for name in ("method", "reason", "status", "url", "version")}
    return {**parts, "body": body, "raw_headers": tuple(headers), "real_url": answer.url}


class KeptResponses(BaseCache):
    """Answers in so many bytes; those that were not asked for the longest make room. For any thread."""

    def __init__(self, bytes_max: int) -> None:
        super().__init__()
        self.lock = threading.RLock()
        self.bytes_held = 0
        self._bytes_max = bytes_max
        self._kept: OrderedDict[str, KeptResponse] = OrderedDict()
        self._keys_of: dict[str, set[str]] = {}

    def find(self, key: str) -> KeptResponse | None:
        with self.lock:
            if key in self._kept:
                self._kept.move_to_end(key)
            return self._kept.get(key)

    def keep(self, key: str, answer: KeptResponse) -> None:
        with self.lock:
            self.drop(key)
            if answer.size > self._bytes_max:
                return
            self._kept[key] = answer
            self._keys_of.setdefault(answer.path, set()).add(key)
            self.bytes_held += answer.size
            while self.bytes_held > self._bytes_max:
                self.drop(next(iter(self._kept)))

    def drop(self, key: str) -> None:
        with self.lock:
            answer = self._kept.pop(key, None)
            if answer is None:
                return
            self.bytes_held -= answer.size
            keys = self._keys_of[answer.path]
            keys.discard(key)
            if not keys:
                del self._keys_of[answer.path]

    def drop_paths(self, paths: Sequence[str] | None) -> None:
        """Drop whatever is kept of these paths, for any principal; None are all."""
        with self.lock:
            keys = list(self._kept) if paths is None else [key for path in paths for key in self._keys_of.get(path, ())]
            for key in keys:
                self.drop(key)

    async def contains(self, key: str) -> bool:
        return key in self._kept

    async def clear(self) -> None:
        self.drop_paths(None)

    async def delete(self, key: str) -> None:
        self.drop(key)

    async def bulk_delete(self, keys: set[str]) -> None:
        for key in keys:
            self.drop(key)

    async def keys(self) -> AsyncIterable[str]:
        for key in list(self._kept):
            yield key

    async def read(self, key: str) -> KeptResponse | None:
        return self.find(key)

    async def size(self) -> int:
        return len(self._kept)

    async def values(self) -> AsyncIterable[KeptResponse]:
        for answer in list(self._kept.values()):
            yield answer

    async def write(self, key: str, item: Any) -> None:
        if isinstance(item, KeptResponse):
            self.keep(key, item)
