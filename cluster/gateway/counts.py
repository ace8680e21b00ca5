"""What the processes of one gateway have counted, on its way between them, and all of it together.

Guarantees: adding up loses nothing: requests and their seconds are sums, a gauge is the sum or the greatest as it says
itself, what a process tells of itself stays its own; what a process had told stays in the sums when it has ended.
Leaves to others: counting (`metrics`), and the connection (`control.worker_port`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Annotated

import msgspec

from kvstore.codec import CodecError

BOUNDS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
PLACES = len(BOUNDS_S) + 1


class Part(msgspec.Struct, frozen=True, array_like=True):
    """Base of what stands in `Counts`."""


class Latencies(Part, frozen=True):
    """Requests of one operation with one outcome: how many by the bound that they stay within, and their seconds."""

    operation: str
    outcome: str
    counts: Annotated[tuple[int, ...], msgspec.Meta(min_length=PLACES, max_length=PLACES)]
    sum_s: float


class Fold(StrEnum):
    """How the values of several processes become one."""

    SUM = "sum"
    GREATEST = "greatest"


class Gauge(Part, frozen=True):
    """A gauge; `values` by the value of `label`, or one under no name where it has none."""

    name: str
    text: str
    label: str
    fold: Fold
    values: dict[str, float]


class Sample(Part, frozen=True):
    name: str
    labels: dict[str, str]
    value: float


class Family(Part, frozen=True):
    """What Prometheus calls so, of one process."""

    name: str
    text: str
    kind: str
    samples: tuple[Sample, ...]


class Counts(Part, frozen=True):
    """`processes`: what each tells of itself, by its name."""

    latencies: tuple[Latencies, ...] = ()
    gauges: tuple[Gauge, ...] = ()
    processes: dict[str, tuple[Family, ...]] = {}


_ENCODER = msgspec.msgpack.Encoder()
_COUNTS = msgspec.msgpack.Decoder(Counts)


def encode(counts: Counts) -> bytes:
    return _ENCODER.encode(counts)


def decode(data: bytes) -> Counts:
    """Raises CodecError: these are no counts."""
    try:
        return _COUNTS.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(str(error)) from error


def together(told: Iterable[Counts]) -> Counts:
    """The counts of several processes as one."""
    latencies: dict[tuple[str, str], Latencies] = {}
    gauges: dict[str, Gauge] = {}
    processes: dict[str, tuple[Family, ...]] = {}
    for counts in told:
        for one in counts.latencies:
            key = one.operation, one.outcome
            latencies[key] = _added(latencies[key], one) if key in latencies else one
        for gauge in counts.gauges:
            gauges[gauge.name] = _folded(gauges[gauge.name], gauge) if gauge.name in gauges else gauge
        processes |= counts.processes
    return Counts(tuple(latencies.values()), tuple(gauges.values()), processes)


def _added(one: Latencies, other: Latencies) -> Latencies:
    counts = tuple(map(sum, zip(one.counts, other.counts, strict=True)))
    return Latencies(one.operation, one.outcome, counts, one.sum_s + other.sum_s)


def _folded(one: Gauge, other: Gauge) -> Gauge:
    values = dict(one.values)
    for label, value in other.values.items():
        if label not in values:
            values[label] = value
        else:
            values[label] = values[label] + value if one.fold is Fold.SUM else max(values[label], value)
    return Gauge(one.name, one.text, one.label, one.fold, values)


class GatewayTally:
    """What the workers of a gateway have told last, and what is kept of those that ended.

    Args:
        own: what the process that keeps this counts itself.
    """

    def __init__(self, own: Callable[[], Counts]) -> None:
        self._own = own
        self._last: dict[str, Counts] = {}
        self._ended = Counts()

    def take(self, worker: str, counts: bytes) -> None:
        """The newest word of a worker; raises CodecError."""
        self._last[worker] = decode(counts)

    def lose(self, worker: str) -> None:
        """A worker has ended; another one of its name may begin."""
        counts = self._last.pop(worker, Counts())
        self._ended = together((self._ended, Counts(counts.latencies)))

    def total(self) -> bytes:
        """All together."""
        return encode(together((self._own(), *self._last.values(), self._ended)))
