"""What processes and those below them cost: CPU seconds and anonymous memory, as the kernel counts them.

Guarantees: CPU includes that of children that have ended and were waited for, and counts nothing twice; a process that
ends meanwhile counts for nothing. Leaves to others: which processes matter, and when to look.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable
from pathlib import Path

SAMPLE_S = 0.2
TICKS_PER_S = os.sysconf("SC_CLK_TCK")
UTIME = 11


def descendants(pid: int) -> list[int]:
    """The processes below `pid`."""
    found = []
    for thread in Path(f"/proc/{pid}/task").iterdir():
        for child in map(int, (thread / "children").read_text().split()):
            found += [child, *descendants(child)]
    return found


def tree(roots: Iterable[int]) -> list[int]:
    """`roots` and all processes below them."""
    found = []
    for root in roots:
        try:
            found += [root, *descendants(root)]
        except OSError:
            continue
    return found


def name_of(pid: int) -> str:
    words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
    if "--id" in words:
        return words[words.index("--id") + 1]
    return next((word for word in ("gateway", "up") if word in words), "client")


def cpu_s_of(stat: str) -> float:
    """The CPU seconds in a line of /proc/PID/stat: of the process, and of its children that were waited for."""
    # The name, in parentheses, may hold blanks and parentheses itself.
    fields = stat.rpartition(")")[2].split()
    return sum(map(int, fields[UTIME : UTIME + 4])) / TICKS_PER_S


def cpu_s(pids: Iterable[int]) -> float:
    """The CPU seconds of all these processes so far."""
    total = 0.0
    for pid in pids:
        try:
            total += cpu_s_of(Path(f"/proc/{pid}/stat").read_text())
        except OSError:
            continue
    return total


def rss_anon_mib(status: str) -> float:
    """RssAnon in the text of /proc/PID/status, in MiB; 0 for a process that has ended."""
    for line in status.splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) / 1024
    return 0.0


def anonymous_mib(pid: int) -> float:
    return rss_anon_mib(Path(f"/proc/{pid}/status").read_text())


class Sampling:
    """Calls `sample` several times a second, in a thread of its own, for as long as it is entered."""

    def __init__(self, sample: Callable[[], None]) -> None:
        self._sample = sample
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stop.wait(SAMPLE_S):
            self._sample()


class MemoryWatch:
    """Samples RssAnon of this process and of all below it; `most_mib` by what the processes are."""

    def __init__(self) -> None:
        self.most_mib: dict[str, float] = {}
        self._sampling = Sampling(self._sample)

    def __enter__(self) -> MemoryWatch:
        self._sampling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampling.__exit__()

    def _sample(self) -> None:
        for pid in tree([os.getpid()]):
            try:
                name, mib = name_of(pid), anonymous_mib(pid)
            except OSError:
                continue
            self.most_mib[name] = max(mib, self.most_mib.get(name, 0.0))


class SumWatch:
    """Samples the sum of RssAnon over `roots` and all below them; `most_mib` is the most that it came to."""

    def __init__(self, roots: Iterable[int]) -> None:
        self.most_mib = 0.0
        self._roots = tuple(roots)
        self._sampling = Sampling(self._sample)

    def __enter__(self) -> SumWatch:
        self._sampling.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self._sampling.__exit__()
        # A load may be over before the first sample.
        self._sample()

    def _sample(self) -> None:
        total = 0.0
        for pid in tree(self._roots):
            try:
                total += anonymous_mib(pid)
            except OSError:
                continue
        self.most_mib = max(self.most_mib, total)
