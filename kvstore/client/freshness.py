"""How long an answer to a stale read may be given again, and which answers tell nothing older than an own write.

Guarantees: what is given again keeps the promise that was asked for: the lag at the answer and its age together, the
server's own bound, and the value's time to live. Leaves to others: the clock, and keeping answers (`read_cache`).
Sans-IO.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WRITES_KEPT_MAX = 8_192


@dataclass(frozen=True, slots=True)
class Reading:
    """A read that may be answered from a cache: within `max_stale_s`, or with None only where the server says that the
    cached version is the newest."""

    max_stale_s: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What an answer said of its freshness, all in seconds: how far behind it was, how long it may be kept, and how
    long its value lives, None for ever."""

    lag_s: float
    max_age_s: float
    ttl_s: float | None = None

    def is_kept(self, age_s: float, max_stale_s: float) -> bool:
        """Whether the answer, this old, is fresh enough for a read that asks for at most `max_stale_s`."""
        is_alive = self.ttl_s is None or age_s < self.ttl_s
        return is_alive and age_s <= self.max_age_s and self.lag_s + age_s <= max_stale_s

    def headers(self, age_s: float) -> dict[str, str]:
        """What the headers of the answer are to say when it is this old."""
        headers = {"X-KV-Lag-Ms": str(math.ceil((self.lag_s + age_s) * 1000))}
        return headers if self.ttl_s is None else {**headers, "X-KV-TTL": f"{max(0.0, self.ttl_s - age_s):.3f}"}


def promise_of(cache_control: str, headers: Mapping[str, str]) -> Promise | None:
    """The promise of an answer, None where it must not be kept: only `max-age` allows it, and only an answer that says
    how far behind it is, and of which version, is of use."""
    directives = {name.strip().lower(): value.strip() for name, _, value in _parts(cache_control)}
    max_age, lag = directives.get("max-age", ""), headers.get("X-KV-Lag-Ms", "")
    if {"no-store", "no-cache"} & set(directives) or not headers.get("ETag"):
        return None
    if not (_is_number(max_age) and _is_number(lag)) or int(max_age) == 0:
        return None
    ttl = headers.get("X-KV-TTL")
    return Promise(int(lag) / 1000, float(max_age), float(ttl) if ttl is not None else None)


def _parts(cache_control: str) -> list[tuple[str, str, str]]:
    return [part.partition("=") for part in cache_control.split(",")]


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


class OwnWrites:
    """When each path was last written by the clients of a cache. Memory is bounded: what is forgotten counts as written
    when the last of the forgotten was, and paths of one hash as one."""

    def __init__(self) -> None:
        self._ended_s: OrderedDict[int, float] = OrderedDict()
        self._under_way: Counter[str] = Counter()
        self._of_all_under_way = 0
        self._forgotten_s = -math.inf

    def begin(self, paths: Sequence[str] | None) -> None:
        """A write of these paths begins; None are all that there are."""
        if paths is None:
            self._of_all_under_way += 1
        else:
            self._under_way.update(set(paths))

    def end(self, paths: Sequence[str] | None, now: float) -> None:
        """It is over, done or not, or nobody knows."""
        if paths is None:
            self._of_all_under_way -= 1
            self._forgotten_s = now
            self._ended_s.clear()
            return
        for path in set(paths):
            self._under_way[path] -= 1
            if not self._under_way[path]:
                del self._under_way[path]
            self._ended_s[hash(path)] = now
            self._ended_s.move_to_end(hash(path))
        while len(self._ended_s) > WRITES_KEPT_MAX:
            self._forgotten_s = self._ended_s.popitem(last=False)[1]

    def tells_all(self, path: str, as_of_s: float) -> bool:
        """Whether an answer of that time has every own write of `path` in it."""
        if self._of_all_under_way or self._under_way.get(path):
            return False
        return as_of_s > self._ended_s.get(hash(path), self._forgotten_s)
