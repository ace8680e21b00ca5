"""For tests: a process that ends itself by SIGKILL where it passes a named point for the n-th time.

Guarantees: a point is a durable step of a process, and whether it is met `before` or `after` that step is on disk; what
depends on the step has not left by then. A coordinator has nothing on disk: its steps are what it asks nodes. A name
that does not exist is refused at the start. Leaves to others: to know a step when it comes (`node.crash_steps`,
`cluster.control.map_store.crashing`, `cluster.txn.crashing`), which stand around a process's storage and calls only
where a point is set, so a process without one pays nothing.
"""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Collection, Iterator
from contextlib import contextmanager

NODE_STEPS = (
    *("node", "create", "append", "barrier", "follow", "apply", "move", "truncate", "proof"),
    *("promise", "reconcile", "cut", "lead", "in_sync"),
    *("begin_backfill", "chunk", "end_backfill", "give_up", "sweep"),
    *("prepare", "decide", "finish", "forget"),
)
# Not durable by themselves: before one it has not been asked, after it has been answered and nothing came of it yet.
COORDINATOR_STEPS = ("ask_vote", "ask_decision", "tell_decision")
CONTROL_STEPS = ("admit", "keyspace", "place", "cas", "allocate", "start_moves", "end_move", "rebalance")
STEPS = (*NODE_STEPS, *CONTROL_STEPS, *COORDINATOR_STEPS)
_POINT = re.compile(r"([a-z_]+)\.(before|after):([1-9][0-9]{0,5})", re.ASCII)


class CrashPoint:
    """Args: text: `STEP.before:N` or `STEP.after:N`, the N-th time that it is passed.

    Raises:
        ValueError: there is no such point.
    """

    def __init__(self, text: str) -> None:
        match = _POINT.fullmatch(text)
        if match is None or match[1] not in STEPS:
            raise ValueError(f"no such crash point: {text!r}; it is for tests only")
        self._step = match[1]
        self._when = match[2]
        self._left = int(match[3])

    @contextmanager
    def around(self, steps: Collection[str]) -> Iterator[None]:
        """Stands around what makes these steps durable."""
        is_here = self._step in steps
        self._left -= is_here
        is_due = is_here and self._left == 0
        if is_due and self._when == "before":
            self.crash()
        yield
        if is_due:
            self.crash()

    def crash(self) -> None:
        """End this process at once."""
        os.kill(os.getpid(), signal.SIGKILL)


def check_crash_point(text: str) -> str:
    """The text as it is, where it is empty or names a point; raises ValueError else."""
    if text:
        CrashPoint(text)
    return text
