"""The one thread that commits batches.

Guarantees: batches are committed one at a time, in the order given; each is reported back on the event loop after it
is durable. A failed medium ends the process: what was written is then what a restart finds (crash only, after
PostgreSQL's fsync lesson). Leaves to others: what is in a batch, and when to form one.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable

from kvstore.storage.engine import Batch, Engine, EngineError, MapFull

Committed = Callable[[MapFull | None, float], None]


class Writer:
    """Args: on_failure: called in the writer's thread when the engine failed; it ends the process."""

    def __init__(self, engine: Engine, on_failure: Callable[[EngineError], None]) -> None:
        self.is_busy = False
        self._engine = engine
        self._on_failure = on_failure
        self._loop = asyncio.get_running_loop()
        self._queue: queue.SimpleQueue[tuple[Batch, Committed] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name="writer", daemon=True)
        self._thread.start()

    def submit(self, batch: Batch, committed: Committed) -> None:
        """Commit `batch`, then call `committed(error, seconds)` on the loop. Only while not `is_busy`."""
        assert not self.is_busy, "one batch at a time"
        self.is_busy = True
        self._queue.put((batch, committed))

    def close(self) -> None:
        """Let the batch at hand finish and end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        while (item := self._queue.get()) is not None:
            batch, committed = item
            started = time.perf_counter()
            full: MapFull | None = None
            try:
                self._engine.commit(batch)
            except MapFull as error:
                full = error
            except Exception as error:  # a thread that dies unseen would leave its node waiting for ever
                self._on_failure(error if isinstance(error, EngineError) else EngineError(repr(error)))
                return
            seconds = time.perf_counter() - started
            self._loop.call_soon_threadsafe(self._report, committed, full, seconds)

    def _report(self, committed: Committed, full: MapFull | None, seconds: float) -> None:
        self.is_busy = False
        committed(full, seconds)
