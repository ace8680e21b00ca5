"""A circuit breaker: whether a node may be called.

Guarantees: after `FAILURES_MAX` calls in a row without an answer, or when the link to the node is down, no call is
allowed until a pause with jitter is over, and then one at a time, whose answer closes the breaker and whose failure
begins a longer pause. Any answer counts, a refusal too; that to the greeting of a link that stands again closes it on
probation: one call without an answer opens it. Leaves to others: the calls (`links`), what happens to an operation
meanwhile (`dispatch`). Sans-IO.

    closed ──failures in a row, or link down──▶ open ──pause over──▶ half open ──answer──▶ closed
       ▲                                        │ ▲──────no answer──────┘
       └──────────────link up───────────────────┘
"""

from __future__ import annotations

from collections.abc import Callable
from enum import Enum

FAILURES_MAX = 5
PAUSE_S_MIN = 0.5
PAUSE_S_MAX = 5.0
PROBE_S_MAX = 5.0
LASTING_S = 5.0


class State(Enum):
    """The value is the word of `GET /v1/cluster`."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"


class Breaker:
    """Args:
    clock: seconds of a clock that never goes back.
    draw: a random number from 0 up to 1, for the jitter.
    """

    def __init__(self, clock: Callable[[], float], draw: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self._clock = clock
        self._draw = draw
        self._failures = 0
        self._pause_s = PAUSE_S_MIN
        self._since_s = 0.0
        self._next_s = 0.0

    def allows(self) -> bool:
        """Whether a call may be sent now; while the breaker is not closed, whoever hears yes must send it."""
        if self.state is State.CLOSED:
            return True
        now_s = self._clock()
        if now_s < self._next_s:
            return False
        self.state = State.HALF_OPEN
        self._next_s = now_s + PROBE_S_MAX
        return True

    @property
    def is_lasting(self) -> bool:
        """Whether it has been open for longer than others take to lead in the node's place."""
        return self.state is not State.CLOSED and self._clock() - self._since_s >= LASTING_S

    def succeeded(self) -> None:
        """A call was answered."""
        if self._failures or self.state is not State.CLOSED:
            self.state = State.CLOSED
            self._failures = 0
            self._pause_s = PAUSE_S_MIN

    def failed(self) -> None:
        """A call got no answer."""
        self._failures += 1
        if self.state is State.HALF_OPEN or (self.state is State.CLOSED and self._failures >= FAILURES_MAX):
            self._open()

    def link_down(self) -> None:
        """The connection to the node is gone."""
        if self.state is not State.OPEN:
            self._open()

    def link_up(self) -> None:
        """A connection to the node stands, which it has greeted. It may be long before there is a call."""
        if self.state is not State.CLOSED:
            self.succeeded()
            self._failures = FAILURES_MAX - 1

    def _open(self) -> None:
        now_s = self._clock()
        if self.state is State.CLOSED:
            self._since_s = now_s
        self.state = State.OPEN
        self._next_s = now_s + self._pause_s * (0.5 + self._draw())
        self._pause_s = min(PAUSE_S_MAX, self._pause_s * 2)
