"""When the clock is read: after the snapshot of a read was opened, and after a ping came."""

from __future__ import annotations

from typing import Any
from unittest.mock import Mock

import pytest

from kvstore.instant import Instant
from kvstore.messages import Body, Envelope, Fault, Ping, Read, ReadOne, ReadStale
from kvstore.node.metrics import NodeMetrics
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NodeState
from kvstore.partitions import Partitions
from kvstore.storage.memory import MemoryEngine

STOPPED_MS = 5000
READ_ONE = ReadOne(1, 1, b"k")
REFUSED = Fault("no_leader", "no")


class StoppedClock:
    """A clock that goes on only while the process is stopped."""

    def __init__(self) -> None:
        self.ms = 1000

    def now(self) -> Instant:
        return Instant(self.ms, self.ms)


class StoppedEngine(MemoryEngine):
    """The process is stopped each time when a snapshot is opened."""

    def __init__(self, clock: StoppedClock) -> None:
        super().__init__()
        self._clock = clock

    def snapshot(self) -> Any:
        self._clock.ms += STOPPED_MS
        return super().snapshot()


class Asked(Partitions):
    """Notes the instant that it is given. Args: is_plain: whether a look answers its reads."""

    def __init__(self, is_plain: bool) -> None:
        super().__init__(NodeState("n1", b"", 1, 1), lambda: bytes(16), 1 << 20)
        self._is_plain = is_plain
        self.now_ms = 0
        self.reads = Mock(plain=self.read, quorum=self.read, stale=self.read, at_once=self.at_once, are_waiting=False)

    def at_once(self, reads: object, view: object, now: Instant, bytes_max: int) -> list[bytes | None] | None:
        self.now_ms = now.mono_ms
        return [None] if self._is_plain else None

    def read(self, ticket: object, read: ReadOne, view: object, now: Instant) -> Any:
        self.now_ms = now.mono_ms
        return REFUSED

    def handle(self, node: str, message: object, now: Instant) -> Any:
        self.now_ms = now.mono_ms
        return []


def ask(body: Body, role: str, peer: str, is_plain: bool = False) -> tuple[Asked, StoppedClock]:
    """Have a service handle the message in a loop turn whose instant was taken before the process stood still."""
    clock, asked = StoppedClock(), Asked(is_plain)
    shell = Shell(StoppedEngine(clock), asked, clock, NodeMetrics(asked), lambda *_: None)
    service = Service(lambda: None, lambda: None, b"process", is_new=False)
    service.bind(shell)
    assert shell.now().mono_ms == 1000
    clock.ms += STOPPED_MS
    service.handle(Mock(role=role, peer=peer), Envelope(0, 0, body))
    shell._writer.close()
    return asked, clock


@pytest.mark.parametrize("body", [Read([READ_ONE]), Read([READ_ONE], is_quorum=True), ReadStale(READ_ONE)])
async def test_a_read_is_judged_by_a_clock_read_after_its_snapshot_was_opened(body: Body) -> None:
    asked, clock = ask(body, "gateway", "gateway")
    assert asked.now_ms == clock.ms
    assert clock.ms >= 1000 + 2 * STOPPED_MS


async def test_so_is_one_that_a_look_answers() -> None:
    asked, clock = ask(Read([READ_ONE]), "gateway", "gateway", is_plain=True)
    assert asked.now_ms == clock.ms == 1000 + 2 * STOPPED_MS


async def test_a_ping_is_judged_by_a_clock_read_after_it_came() -> None:
    asked, _ = ask(Ping(1, []), "node", "n2")
    assert asked.now_ms == 1000 + STOPPED_MS
