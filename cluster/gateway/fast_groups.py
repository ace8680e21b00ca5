"""What goes to a node in one call of the short way, and who waits for it.

Leaves to others: when a group leaves and what becomes of its answers (`fast_lane`).
"""

from __future__ import annotations

import asyncio
from typing import Protocol

from cluster.gateway.answer import Answer
from cluster.gateway.fast_requests import FastRequest
from cluster.gateway.numbers import Lane
from kvstore.errors import KvError
from kvstore.map_values import Entry
from kvstore.messages import ReadOne, WriteOne


class Caller(Protocol):
    """The connection that a request came on."""

    def answer_fast(self, answer: Answer, error: KvError | None = None) -> None:
        """This is the answer, which tells of `error` if there is one."""

    def answer_plainly(self, data: bytes, now_s: float) -> float | None:
        """These bytes are the answer to a GET or PUT, for a client that goes on; returns how long that took, None where
        they cannot be, and nothing was sent."""

    def take_long_way(self) -> None:
        """Nothing was done for the request: have it answered as any other."""

    def fail(self, error: Exception) -> None:
        """Nobody foresaw this error: log it, answer that the gateway failed, and end the connection."""


# Who asked, where the write goes, what was asked, and the number it goes under.
Writing = tuple[Caller, Entry, FastRequest, Lane, int]


class Reads:
    """Reads that go to one node together."""

    __slots__ = ("callers", "reads")

    def __init__(self) -> None:
        self.reads: list[ReadOne] = []
        self.callers: list[Caller] = []


class Writes:
    """Writes that go to one node together; one that goes alone keeps nobody waiting. `hold`: what ends their wait."""

    __slots__ = ("callers", "deadline_s", "hold", "is_alone", "writes")

    def __init__(self, deadline_s: float, is_alone: bool) -> None:
        self.deadline_s = deadline_s
        self.is_alone = is_alone
        self.hold: asyncio.TimerHandle | None = None
        self.writes: list[WriteOne] = []
        self.callers: list[Writing] = []
