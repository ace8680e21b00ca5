"""A disk with fsync semantics: a batch that was not yet durable when the power went is there wholly or not at all."""

from __future__ import annotations

from collections.abc import Callable

from simulation.world import World

from kvstore.storage.engine import Batch
from kvstore.storage.memory import MemoryEngine, MemorySnapshot

STALL_CHANCE = 0.002


class SimDisk:
    """`is_honest` is False for disks that say "durable" before it is so (a planted fault)."""

    is_honest = True

    def __init__(self, world: World) -> None:
        self.is_busy = False
        self.stall_chance = STALL_CHANCE
        self._slowness = world.rng.choice((1, 1, 3, 15))
        self._world = world
        self._engine = MemoryEngine()
        self._in_flight: Batch | None = None
        self._unsynced: list[Batch] = []
        self._generation = 0
        self._cache = self._engine

    def snapshot(self) -> MemorySnapshot:
        return self._cache.snapshot()

    def commit(self, batch: Batch) -> None:
        """Durable at once: what a process does before it serves."""
        self._cache.commit(batch)

    def submit(self, batch: Batch, done: Callable[[], None]) -> None:
        """Commit in the background, as the writer thread does."""
        assert not self.is_busy
        self.is_busy = True
        rng = self._world.rng
        delay_ms = rng.uniform(0.3, 4.0) * self._slowness
        if rng.random() < self.stall_chance:
            delay_ms += rng.uniform(100, 1500)
        generation = self._generation
        self._in_flight = batch

        def finish() -> None:
            if generation != self._generation:
                return
            self.is_busy = False
            self._in_flight = None
            if self.is_honest:
                self._engine.commit(batch)
            else:
                self._defer(batch)
            done()

        self._world.at(delay_ms, finish)

    def crash(self) -> None:
        """The process is gone, and with it what the disk had not made durable."""
        self._generation += 1
        self.is_busy = False
        if self._in_flight is not None and self._world.rng.random() < 0.5:
            self._engine.commit(self._in_flight)
        self._in_flight = None
        self._unsynced = []
        self._cache = self._engine

    def _defer(self, batch: Batch) -> None:
        """A lying disk: visible to the process now, durable a few batches later."""
        if self._cache is self._engine:
            self._cache = self._engine.clone()
        self._cache.commit(batch)
        self._unsynced.append(batch)
        if len(self._unsynced) > 8:
            self._engine.commit(self._unsynced.pop(0))
