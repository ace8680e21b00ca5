"""Whether scans gave what they promise, while keys are written and deleted beside them.

Guarantees: each key comes at most once, in order, and only if it belongs to the range; a key that exists, unchanged,
for the whole scan is there; what is there was written, and is not older than what had been acknowledged before the page
that holds it was asked for; a count is between what surely was there and what may have been. Of a scan without its end
nothing is judged, for it is no answer. Leaves to others: recording. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

from checkers.history import Anomaly, Kind, Op, Outcome, by_key, may_have_happened


@dataclass(frozen=True, slots=True)
class Page:
    """Items of one request, as they came: keys and what they hold. `end` is after the last of them."""

    begin: float
    end: float
    items: tuple[tuple[str, object], ...]


@dataclass(frozen=True, slots=True)
class Scan:
    """One scan, in one or several pages. `limit`: with so many items it is whole, though more may be left."""

    client: int
    pages: tuple[Page, ...]
    prefix: str = ""
    is_reverse: bool = False
    is_whole: bool = True
    limit: int | None = None

    def __str__(self) -> str:
        when = f"[{self.begin:.4f}..{self.end:.4f}]"
        how = f"{' reverse' if self.is_reverse else ''}{'' if self.limit is None else f', at most {self.limit}'}"
        return f"{when} client {self.client}: scan of {self.prefix!r}{how} in {len(self.pages)} pages"

    @property
    def begin(self) -> float:
        return self.pages[0].begin

    @property
    def end(self) -> float:
        return self.pages[-1].end

    @property
    def keys(self) -> list[str]:
        """In the order in which they came."""
        return [key for page in self.pages for key, _ in page.items]


@dataclass(frozen=True, slots=True)
class Count:
    """A count of the keys that begin with `prefix`."""

    client: int
    begin: float
    end: float
    count: int
    prefix: str = ""

    def __str__(self) -> str:
        return f"[{self.begin:.4f}..{self.end:.4f}] client {self.client}: count of {self.prefix!r}: {self.count}"


def check_scans(ops: Iterable[Op], scans: Iterable[Scan], counts: Iterable[Count] = ()) -> int:
    """Writes (each value once), deletes, and the scans beside them; returns how many of these were judged.

    Raises:
        Anomaly: one of them is none that a correct store gives.
    """
    histories = {key: [op for op in history if may_have_happened(op)] for key, history in by_key(ops).items()}
    judged = 0
    for scan in scans:
        if scan.is_whole:
            _check_order(scan)
            _check_items(scan, histories)
            _check_missing(scan, histories)
            judged += 1
    for count in counts:
        _check_count(count, histories)
        judged += 1
    return judged


def _check_order(scan: Scan) -> None:
    keys = scan.keys
    for earlier, later in pairwise(keys):
        if earlier == later:
            raise Anomaly(f"{scan}: {later} came twice")
        if (earlier > later) != scan.is_reverse:
            raise Anomaly(f"{scan}: {later} came after {earlier}")
    if scan.limit is not None and len(keys) > scan.limit:
        raise Anomaly(f"{scan}: {len(keys)} items came")


def _check_items(scan: Scan, histories: Mapping[str, Sequence[Op]]) -> None:
    for page in scan.pages:
        for key, found in page.items:
            if not key.startswith(scan.prefix):
                raise Anomaly(f"{scan}: {key} is not of the range")
            _check_found(scan, page, key, found, histories.get(key, ()))


def _check_found(scan: Scan, page: Page, key: str, found: object, history: Sequence[Op]) -> None:
    writers = [op for op in history if op.kind is Kind.WRITE and op.asked == found and op.begin < page.end]
    if not writers:
        raise Anomaly(f"{scan}: {key} holds {found!r}, which nobody was to write by then")
    over = [op for op in history if op.outcome is Outcome.DONE and op.end < page.begin]
    for writer in writers:
        later = next((op for op in over if op.begin > writer.end), None)
        if later is None:
            return
    raise Anomaly(
        f"{scan}: {key} holds {found!r}, which was over before this page was asked for: {writers[-1]}; {later}"
    )


def _check_missing(scan: Scan, histories: Mapping[str, Sequence[Op]]) -> None:
    """Whether a key is left out that was there all the time, as far as the scan came."""
    keys = scan.keys
    found = set(keys)
    is_ended = scan.limit is None or len(keys) < scan.limit
    for key, history in histories.items():
        if key in found or not key.startswith(scan.prefix):
            continue
        is_passed = is_ended or (key > keys[-1] if scan.is_reverse else key < keys[-1])
        if is_passed and (writer := _steady(history, scan.begin, scan.end)) is not None:
            raise Anomaly(f"{scan}: {key} is missing, which was there all the time: {writer}")


def _steady(history: Sequence[Op], begin: float, end: float) -> Op | None:
    """A write by which the key is there, unchanged, from `begin` to `end`; None where there may be none."""
    if any(op.begin < end and op.end > begin for op in history):
        return None
    before = [op for op in history if op.end <= begin]
    for writer in before:
        if writer.kind is Kind.WRITE and all(op.kind is Kind.WRITE or op.end < writer.begin for op in before):
            return writer
    return None


def _check_count(count: Count, histories: Mapping[str, Sequence[Op]]) -> None:
    within = [history for key, history in histories.items() if key.startswith(count.prefix)]
    count_min = sum(_steady(history, count.begin, count.end) is not None for history in within)
    count_max = sum(_may_be_there(history, count.begin, count.end) for history in within)
    if not count_min <= count.count <= count_max:
        raise Anomaly(f"{count}; there are {count_min} to {count_max}")


def _may_be_there(history: Sequence[Op], begin: float, end: float) -> bool:
    """Whether the key may be there at any moment from `begin` to `end`."""
    gone = [op for op in history if op.kind is Kind.DELETE and op.outcome is Outcome.DONE and op.end < begin]
    writers = [op for op in history if op.kind is Kind.WRITE and op.begin < end]
    return any(not any(delete.begin > writer.end for delete in gone) for writer in writers)
