"""How old the locks of prepared transactions get, and whether one is older than the protocol allows.

Guarantees: a lock is too old when it is older than `LOCK_S_MAX` counted from the last moment that excused it: when its
primary had no leader, or another one than now, when a node did not say what it has prepared, or when links were harmed.
One look alone proves nothing: who does not lead any more may not know it yet. Leaves to others: asking.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

LOCK_S_MAX = 10.0


class TooOld(AssertionError):
    """A prepared transaction keeps its locks although its primary has a leader."""


class LockAges:
    """Looks at `GET /v1/cluster/transactions`, one after the other. `oldest_s` is the age of the oldest lock in all,
    `unexcused_s` the most of an age that nothing excused."""

    def __init__(self) -> None:
        self.oldest_s = 0.0
        self.unexcused_s = 0.0
        self.looks = 0
        self._excused_s = 0.0
        self._leaders: dict[int, str | None] = {}
        self._led_since_s: dict[int, float] = {}
        self._suspects: set[tuple[str, int]] = set()

    def excuse(self, now_s: float) -> None:
        """Up to now nobody could be expected to hear of a decision."""
        self._excused_s = now_s

    def see_leaders(self, leaders: Mapping[int, str | None], now_s: float) -> None:
        """Who leads each partition."""
        for pid, leader in leaders.items():
            if leader is None or leader != self._leaders.get(pid):
                self._led_since_s[pid] = now_s
            self._leaders[pid] = leader

    def see(self, listed: Iterable[Mapping[str, Any]], missing: Iterable[str], now_s: float) -> None:
        """What is prepared, and who did not say.

        Raises:
            TooOld: one of them is, and was when it was looked at last.
        """
        if any(missing):
            self.excuse(now_s)
        suspects = set()
        self.looks += 1
        for one in listed:
            age_s = float(one["age_s"])
            self.oldest_s = max(self.oldest_s, age_s)
            excused_s = max(self._excused_s, self._led_since_s.get(primary_of(one["txn"]), now_s))
            unexcused_s = min(age_s, now_s - excused_s)
            self.unexcused_s = max(self.unexcused_s, unexcused_s)
            if unexcused_s > LOCK_S_MAX:
                suspects.add((str(one["txn"]), int(one["partition"])))
                if (one["txn"], one["partition"]) in self._suspects:
                    raise TooOld(f"prepared for {age_s:.1f} s, with a leader of its primary: {dict(one)}")
        self._suspects = suspects


def primary_of(txn: str) -> int:
    """The partition that decides a transaction of this id."""
    return int(txn.partition("-")[0], 16)
