"""What a partition remembers of the writes that gateways numbered: a window per incarnation of a gateway.

Guarantees: the same records at the same log times leave the same windows, row for row, however they are cut into
batches; a window holds every outcome from the lowest number on that its gateway may still send again; an incarnation
that wrote nothing for `KEEP_MS` of log time is dropped, and told from one that was never seen by its number. Leaves to
others: which write is carried out (`outcomes_at_end`), the table (`outcomes`). Sans-IO. PROTOCOL "Idempotency".
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import IntEnum

import msgspec

from kvstore.storage.records import DamagedRow, Record, RecordType

KEEP_MS = 600_000
WINDOW_MAX = 8192


class Kind(IntEnum):
    """How a write ended. `FOUND_NOTHING` and `FAILED_CONDITION` left nothing but an outcome record; `TOKEN_REUSED` is
    never stored: what was found is the outcome of another request."""

    CHANGED = 0
    CREATED = 1
    FOUND_NOTHING = 2
    FAILED_CONDITION = 3
    TOKEN_REUSED = 4


# Epoch and seq of the record that tells of the outcome, and its kind.
Outcome = tuple[int, int, int]


def kind_of(record: Record) -> int:
    """How the write that left this record ended."""
    if record.type == RecordType.OUTCOME:
        return record.value[0]
    return Kind.CREATED if record.type == RecordType.PUT and record.replaced_bytes < 0 else Kind.CHANGED


class Window(msgspec.Struct, array_like=True):
    """Outcomes by number. Below `floor` nothing is sent again; `last_ms` is the log time of the newest write."""

    last_ms: int
    floor: int
    outcomes: dict[int, Outcome]

    def raise_floor(self, floor: int) -> None:
        """Forget what is not sent again."""
        outcomes = self.outcomes
        if floor - self.floor > len(outcomes):
            self.outcomes = {number: outcome for number, outcome in outcomes.items() if number >= floor}
        else:
            for number in range(self.floor, floor):
                outcomes.pop(number, None)
        self.floor = floor


_ENCODER = msgspec.msgpack.Encoder()
_WINDOW = msgspec.msgpack.Decoder(Window)


class Windows:
    """The windows of one partition at one point of its log.

    Attributes:
        expired_upto: the highest incarnation that was dropped; an unknown one up to it may have written before.
        changed: the incarnations whose windows changed, or are gone, since this was last cleared.
    """

    def __init__(self) -> None:
        self.expired_upto = 0
        self.changed: set[int] = set()
        self._by_origin: dict[int, Window] = {}
        self._look_ms = 0

    def get(self, origin: int) -> Window | None:
        """The window of that incarnation."""
        return self._by_origin.get(origin)

    def __iter__(self) -> Iterator[int]:
        return iter(self._by_origin)

    def put(self, origin: int, window: Window) -> None:
        """Take over a window as it stands elsewhere."""
        self._by_origin[origin] = window
        self._look_ms = 0

    def take(self, record: Record, epoch: int, seq: int, time_ms: int) -> None:
        """A record that carries a gateway's number."""
        origin, floor = record.origin, record.floor
        window = self._by_origin.get(origin)
        if window is None:
            window = self._by_origin[origin] = Window(time_ms, floor, {})
        elif floor > window.floor:
            window.raise_floor(floor)
        window.last_ms = time_ms
        window.outcomes[record.number] = (epoch, seq, kind_of(record))
        self.changed.add(origin)

    def pass_to(self, time_ms: int) -> None:
        """The log's time, after the records of a row: drop who has been silent for too long."""
        if time_ms < self._look_ms:
            return
        for origin in [one for one, window in self._by_origin.items() if window.last_ms + KEEP_MS <= time_ms]:
            del self._by_origin[origin]
            self.expired_upto = max(self.expired_upto, origin)
            self.changed.add(origin)
        self._look_ms = KEEP_MS + min((window.last_ms for window in self._by_origin.values()), default=time_ms)

    def clone(self) -> Windows:
        """The same windows, to go on by themselves."""
        twin = Windows()
        twin.expired_upto = self.expired_upto
        for origin, window in self._by_origin.items():
            twin._by_origin[origin] = Window(window.last_ms, window.floor, dict(window.outcomes))
        return twin


def encode_window(window: Window) -> bytes:
    return _ENCODER.encode(window)


def decode_window(row: bytes) -> Window:
    """Read a window back; raises DamagedRow."""
    try:
        return _WINDOW.decode(row)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRow(f"window: {error}") from error
