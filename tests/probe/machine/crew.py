"""Several machines at once, each in a thread of its own, with keys that no other has.

Guarantees: which steps a machine takes follows from the seed and its number; a wrong answer is kept with what led to
it, and its machine goes on with fresh keys. Leaves to others: harm, and when to end.
"""

from __future__ import annotations

import threading
import time
from collections import Counter, deque
from collections.abc import Sequence
from pathlib import Path
from random import Random

from checkers.history import Anomaly
from probe.machine.exchange import Exchange
from probe.machine.machine import Machine
from probe.machine.own import Own
from probe.machine.steps import ENDINGS, Get, Range, Step, Stream, any_of

WEIGHTS = {
    "put": 18,
    "get": 24,
    "delete": 8,
    "batch": 12,
    "import": 4,
    "resend": 6,
    "reuse": 2,
    "page": 8,
    "next": 12,
    "stream": 6,
    "count": 3,
    "remove": 1,
}
REFUSED_PAUSE_S = 0.3
FAULTS_SHOWN_S = 15.0
READ_BACK_S = 60.0


class Faults:
    """What was done to the cluster, and when."""

    def __init__(self) -> None:
        self._done: deque[tuple[float, str]] = deque(maxlen=100)

    def note(self, text: str) -> None:
        """It happens now."""
        self._done.append((time.monotonic(), text))

    def lately(self) -> str:
        """A line for each that was of late."""
        now = time.monotonic()
        lately = [(at, text) for at, text in self._done if now - at < FAULTS_SHOWN_S]
        return "".join(f"\n  [{at:.3f}] {text}" for at, text in lately)


class Crew:
    """Args: seed: with the number of a machine, of its steps; logs: where it is told what led to a wrong answer."""

    def __init__(self, urls: Sequence[str], machines: int, seed: int, faults: Faults, logs: Path) -> None:
        self.wrong: list[str] = []
        self._urls = urls
        self._seed = seed
        self._faults = faults
        self._logs = logs
        self._counts = [Counter[str]() for _ in range(machines)]
        self._is_over = False
        self._failed: list[BaseException] = []
        self._threads = [threading.Thread(target=self._work, args=(number,)) for number in range(machines)]

    def start(self) -> None:
        """Let all begin."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Let each end its step and read back what it has; nothing is to be harmed any more."""
        self._is_over = True
        for thread in self._threads:
            thread.join()
        self.check()

    def check(self) -> None:
        """Raises what a machine came to grief with, other than a wrong answer."""
        for error in self._failed:
            raise error

    def counts(self) -> Counter[str]:
        """Of all machines."""
        return sum((Counter(counts) for counts in self._counts), Counter())

    def _work(self, number: int) -> None:
        try:
            rng = Random(f"{self._seed} {number}")
            generation = 0
            while not self._is_over:
                generation += 1
                self._live(number, generation, rng)
        except BaseException as error:
            self._failed.append(error)

    def _live(self, number: int, generation: int, rng: Random) -> None:
        """Take steps until the end, or a wrong answer."""
        name = f"machine {number}.{generation}"
        exchange = Exchange(self._urls)
        own = Own(exchange, f"m{number}.{generation}/".encode(), f"{name} of {self._seed}", self._counts[number])
        machine = Machine(own)
        try:
            while not self._is_over:
                machine.take(any_of(rng, WEIGHTS))
                if own.is_refused:
                    time.sleep(REFUSED_PAUSE_S)
            self._read_back(machine)
        except Anomaly as anomaly:
            self.wrong.append(f"{anomaly}{self._faults.lately()}")
            held = "".join(f"{key!r}: {held}\n" for key, held in own.model.items())
            (self._logs / f"{name}.log").write_text(f"{own.log()}\n{self.wrong[-1]}\n\nmay hold:\n{held}")
        finally:
            exchange.close()

    def _read_back(self, machine: Machine) -> None:
        """Read every key, and all of them in either direction, each until there is an answer."""
        deadline = time.monotonic() + READ_BACK_S
        steps: list[Step] = [Get(key) for key in range(len(ENDINGS))]
        steps += [Stream(Range(), is_reverse=is_reverse) for is_reverse in (False, True)]
        for step in steps:
            machine.take(step)
            while machine.own.is_refused:
                if time.monotonic() > deadline:
                    raise Anomaly(f"{step} gets no answer, {READ_BACK_S} s after the last fault")
                time.sleep(REFUSED_PAUSE_S)
                machine.take(step)
