"""The dict that a client's keys are, judged answer by answer: what each key may hold now, and whether an answer fits.

Guarantees: a write that was acknowledged is there, one that was refused is not, one without an answer may happen at any
time until `OPEN_S` later, once, and is settled when somebody sees it; a version is that of one value for ever; a key
with a time to live is there before its time and gone after it, up to `CLOCK_S`. Leaves to others: asking; it holds for
one client alone that asks one thing at a time. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import NamedTuple

from checkers.history import FOR_EVER, Anomaly

# No request may take longer (PROTOCOL "Idempotency").
OPEN_S = 60.0
CLOCK_S = 0.3
# A follower shows a key whose time is over until the leader's sweep, each 0.5 s, has come to it.
SWEEP_S = 5.0
STALE_S_MAX = 100.0
PAST_S = STALE_S_MAX + 30.0
ABSENT, ANY = "absent", "*"


class Span(NamedTuple):
    """Before a request left, and after its answer came."""

    begin: float
    end: float


@dataclass(frozen=True, slots=True)
class Held:
    """A value that a key may hold: `etag` is empty until somebody was told; of `expires` it is surely there before the
    first, and surely gone after the second."""

    value: bytes
    content_type: str
    etag: str = ""
    expires: tuple[float, float] | None = None

    def __str__(self) -> str:
        expires = "" if self.expires is None else f", until {self.expires[0]:.2f}..{self.expires[1]:.2f}"
        return f"{brief(self.value)} {self.content_type} [{self.etag or '?'}]{expires}"


State = Held | None


@dataclass(frozen=True, slots=True)
class Found:
    """What an answer tells of a key that is there; None where the answer does not tell."""

    value: bytes | None = None
    content_type: str | None = None
    etag: str | None = None
    size: int | None = None
    ttl_s: float | None = None
    is_whole: bool = True

    def __str__(self) -> str:
        value = f"{self.size} bytes" if self.value is None else brief(self.value)
        return f"{value} {self.content_type} [{self.etag}]{'' if self.ttl_s is None else f', {self.ttl_s} s left'}"


KEY_ALONE = Found(is_whole=False)


class Outcome(NamedTuple):
    """How a write ended. `status` 0: nobody knows; 200: it is done, and it is not told what was there before."""

    status: int
    etag: str = ""

    @property
    def is_definite(self) -> bool:
        return self.status in (200, 201, 204, 412)


UNKNOWN = Outcome(0)


@dataclass(eq=False, slots=True)
class Write:
    """A put, or a delete (no `result`), that was asked, perhaps more than once under one token. `condition` is empty,
    `ABSENT`, `ANY`, or an etag. Open: it may still happen until `until`; landed: it was seen to have happened."""

    result: State
    ttl_s: float | None = None
    condition: str = ""
    outcome: Outcome | None = None
    is_open: bool = False
    has_landed: bool = False
    begin: float = 0.0
    until: float = 0.0
    settled_before: int = 0

    def __str__(self) -> str:
        ttl = "" if self.ttl_s is None else f", for {self.ttl_s} s"
        return f"{self.result}{ttl}{f', if {self.condition!r}' if self.condition else ''}"

    def lasting(self, span: Span) -> State:
        """What it leaves, if it happens within the span."""
        if self.result is None or self.ttl_s is None:
            return self.result
        return replace(self.result, expires=(span.begin + self.ttl_s, span.end + self.ttl_s))

    @property
    def at_any_time(self) -> State:
        """What it leaves, whenever it happens."""
        return self.lasting(Span(self.begin, FOR_EVER))


class Past(NamedTuple):
    """A state that a key may have had until `end`."""

    state: State
    end: float


class Key:
    """All that one key may hold now, and may have held of late."""

    def __init__(self) -> None:
        self.maybe: list[State] = [None]
        self.open: list[Write] = []
        self.etags: dict[str, bytes] = {}
        self._past: deque[Past] = deque()
        # How often something was written, as far as is known: of what was open longer nobody knows if it was before.
        self._settled = 0

    def __str__(self) -> str:
        text = " or ".join(str(state) for state in self.maybe)
        return f"{text}{''.join(f'; open: {write}' for write in self.open)}"

    @property
    def etag(self) -> str:
        """That of what it surely holds; empty where nobody can tell."""
        state = self.maybe[0] if len(self.maybe) == 1 and not self.open else None
        return "" if state is None else state.etag

    def may_be(self, is_there: bool, span: Span) -> bool:
        """Whether it may be there, or may be absent."""
        states = [now for state in self.maybe for now in _as_of(state, span)]
        states += [now for write in self.open for now in _open_as_of(write, span)]
        return any((state is not None) == is_there for state in states)

    # ---- reads --------------------------------------------------------------------------------------------------

    def see(self, found: Found | None, span: Span) -> None:
        """A linearizable read, or none where nothing was found; raises `Anomaly`."""
        etag = None if found is None else found.etag
        self._check_version(found)

        def fits(state: State) -> bool:
            # What was told no version yet cannot have one that another was told.
            is_fresh = state is None or state.etag or etag not in self.etags
            return bool(is_fresh) and _fits(state, found, span)

        landed = self._narrow(fits, span, f"read as {found}")
        if found is not None and etag is not None:
            self.maybe = [_learned(state, found, span) for state in self.maybe]
            values = {state.value for state in self.maybe if state is not None}
            if len(values) == 1:
                self.etags.setdefault(etag, values.pop())
        if landed is not None and self.maybe[0] is not None:
            landed.result = self.maybe[0]
        if found is None or found.is_whole:
            self._retire(span)

    def see_stale(self, found: Found | None, lag_s: float, span: Span) -> None:
        """A read that may be that much behind; raises `Anomaly`."""
        if lag_s > STALE_S_MAX:
            return
        since = span.begin - lag_s - CLOCK_S
        states = [*self.maybe, *(write.at_any_time for write in self.open)]
        states += [one.state for one in takewhile(lambda one: one.end >= since, reversed(self._past))]
        if not any(_was(state, found, since, span) for state in states):
            raise Anomaly(f"read as {found}, at most {lag_s:.3f} s behind; it may hold {self}")

    # ---- writes -------------------------------------------------------------------------------------------------

    def answer(self, write: Write, told: Outcome, span: Span) -> None:
        """What a write, or a further attempt at it, was told; raises `Anomaly`. A refusal is nothing to be told."""
        if not told.is_definite:
            self._leave_open(write, span)
        elif write.outcome is not None:
            if told != write.outcome:
                raise Anomaly(f"answered with {told}, and with {write.outcome} at first")
        else:
            self._check_new(told, write)
            if write.is_open:
                self._settle(write, told, span)
            else:
                self._judge(write, told, span)
            write.outcome = told

    def gone(self, span: Span) -> None:
        """It was deleted with others."""
        self._change(None, span)

    def _judge(self, write: Write, told: Outcome, span: Span) -> None:
        if told.status == 412:
            self._narrow(lambda state: not holds(write.condition, state), span, f"refused if {write.condition!r}")
            return
        tells_created = write.result is not None and told.status != 200

        def fits(state: State) -> bool:
            return holds(write.condition, state) and not (tells_created and (state is None) != (told.status == 201))

        self._narrow(fits, span, f"written if {write.condition!r}: {told}")
        self._change(_versioned(write.lasting(span), told.etag), span)

    def _settle(self, write: Write, told: Outcome, span: Span) -> None:
        """An earlier attempt was open, and a later one is told how it ended."""
        write.is_open = False
        self.open = [other for other in self.open if other is not write]
        if told.status == 412:
            if write.has_landed:
                raise Anomaly(f"{write.result} was seen, and is told to have failed: {told}")
            return
        if write.has_landed:
            seen = "" if write.result is None else write.result.etag
            if seen and seen != told.etag:
                raise Anomaly(f"{write.result} was seen, and is told to be version {told.etag}: it was applied twice")
            return
        result = _versioned(write.lasting(Span(write.begin, span.end)), told.etag)
        if told.etag and result is not None:
            self.etags[told.etag] = result.value
        others = [] if write.settled_before == self._settled else self.maybe
        self._settled += 1
        self._become([result, *(state for state in others if state != result)], span.end)

    def _leave_open(self, write: Write, span: Span) -> None:
        if write.outcome is not None or write.has_landed:
            return
        write.until = span.end + OPEN_S
        if not write.is_open:
            write.is_open, write.begin, write.settled_before = True, span.begin, self._settled
        if write not in self.open:
            self.open.append(write)

    def _change(self, state: State, span: Span) -> None:
        self._settled += 1
        self._become([state], span.end)
        if state is not None and state.etag:
            self.etags[state.etag] = state.value
        self._retire(span)

    # ---- what it may hold ---------------------------------------------------------------------------------------

    def _narrow(self, fits: Callable[[State], bool], span: Span, told: str) -> Write | None:
        """Leave what fits; where nothing does, what was open must have happened: returned if it can be but one."""
        fitting = [now for state in self.maybe for now in _as_of(state, span) if fits(now)]
        if fitting:
            self._become(list(dict.fromkeys(fitting)), span.end)
            return None
        landed = {write: [now for now in _open_as_of(write, span) if fits(now)] for write in self.open}
        landed = {write: states for write, states in landed.items() if states}
        if not landed:
            raise Anomaly(f"{told}; it may hold {self}")
        self._settled += 1
        states = list(dict.fromkeys(state for found in landed.values() for state in found))
        self._become(states, span.end)
        if len(landed) > 1:
            return None
        (write,) = landed
        write.has_landed = True
        self.open.remove(write)
        return write

    def _become(self, states: Sequence[State], end: float) -> None:
        self._pass([state for state in self.maybe if state not in states], end)
        self.maybe = list(states)

    def _pass(self, states: Sequence[State], end: float) -> None:
        """These states are over."""
        self._past += [Past(state, end) for state in states]
        while self._past and self._past[0].end < end - PAST_S:
            self._past.popleft()

    def _retire(self, span: Span) -> None:
        """Nothing that was open for too long happens any more, nor what rests on a version that is gone for good."""
        etags = {state.etag for state in self.maybe if state is not None}
        over = [
            write
            for write in self.open
            if span.begin > write.until or (write.condition not in ("", ABSENT, ANY) and write.condition not in etags)
        ]
        self._pass([write.at_any_time for write in over], span.end)
        self.open = [write for write in self.open if write not in over]

    def _check_version(self, found: Found | None) -> None:
        if found is None or found.etag is None or found.value is None:
            return
        known = self.etags.get(found.etag, found.value)
        if known != found.value:
            raise Anomaly(f"version {found.etag} is that of {brief(known)} and of {brief(found.value)}")

    def _check_new(self, told: Outcome, write: Write) -> None:
        """A version is told once, unless what was open had been seen with it."""
        known = self.etags.get(told.etag)
        if known is not None and not (write.is_open and write.result is not None and write.result.value == known):
            raise Anomaly(f"{write.result} has the version {told.etag}, which {brief(known)} had")


def holds(condition: str, state: State) -> bool:
    """Whether a write with this condition may change this state."""
    if condition in ("", ABSENT):
        return not condition or state is None
    return state is not None and condition in (ANY, state.etag)


def brief(value: bytes) -> str:
    """A value, in few words."""
    return repr(value) if len(value) <= 40 else f"{value[:30]!r}... ({len(value)} bytes)"


def _as_of(state: State, span: Span) -> Iterator[State]:
    """What a state may be within the span: as it is, expired, or either."""
    if state is None or state.expires is None:
        yield state
        return
    earliest, latest = state.expires
    if span.begin <= latest + CLOCK_S:
        yield state
    if span.end >= earliest - CLOCK_S:
        yield None


def _open_as_of(write: Write, span: Span) -> Iterator[State]:
    """What a write that is open may have left within the span."""
    return _as_of(write.at_any_time, span)


def _versioned(state: State, etag: str) -> State:
    return None if state is None else replace(state, etag=etag)


def _fits(state: State, found: Found | None, span: Span) -> bool:
    if state is None or found is None:
        return state is None and found is None
    is_like = (
        found.value in (None, state.value)
        and found.size in (None, len(state.value))
        and found.content_type in (None, state.content_type)
        and (found.etag is None or not state.etag or found.etag == state.etag)
    )
    if not is_like or not found.is_whole:
        return is_like
    if state.expires is None or found.ttl_s is None:
        return state.expires is None and found.ttl_s is None
    return state.expires[0] - span.end - CLOCK_S <= found.ttl_s <= state.expires[1] - span.begin + CLOCK_S


def _was(state: State, found: Found | None, since: float, span: Span) -> bool:
    """Whether a copy that was behind, though not longer than `since`, may have shown this state so."""
    expires = None if state is None else state.expires
    if found is None:
        return state is None or (expires is not None and span.end >= expires[0] - CLOCK_S)
    if state is None or (expires is not None and since > expires[1] + SWEEP_S):
        return False
    return _fits(replace(state, expires=None), replace(found, ttl_s=None), span)


def _learned(state: State, found: Found, span: Span) -> State:
    """A state of which an answer told the version, and perhaps how long it lives."""
    if state is None or found.etag is None:
        return state
    expires = state.expires
    if expires is not None and found.ttl_s is not None:
        first, last = (moment + found.ttl_s for moment in span)
        expires = max(expires[0], first - CLOCK_S), min(expires[1], last + CLOCK_S)
    return replace(state, etag=found.etag, expires=expires)
