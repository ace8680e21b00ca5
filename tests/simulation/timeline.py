"""What was committed under each key, and when, in true time: what any read is held against.

What a transaction changes counts from its decision on, in every partition, whenever that hears of it.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

from simulation.world import World

from kvstore.storage.records import Record, RecordType, decode_value


@dataclass(frozen=True)
class Version:
    """What a key was from `since_ms` on, by the record (`epoch`, `seq`)."""

    epoch: int
    seq: int
    since_ms: float
    value: bytes | None


NEVER_WRITTEN = Version(0, 0, 0.0, None)


class Timeline:
    """The versions of all keys in the order in which they were committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._versions: dict[bytes, list[Version]] = {}

    def committed(self, epoch: int, seq: int, record: Record) -> None:
        """This record has just been called committed for the first time."""
        if record.type in (RecordType.PUT, RecordType.DELETE, RecordType.EXPIRE):
            self.changed(record.key, epoch, seq, record.value if record.type == RecordType.PUT else None)

    def changed(self, key: bytes, epoch: int, seq: int, value: bytes | None) -> None:
        """From now on the key is that."""
        self._versions.setdefault(key, [NEVER_WRITTEN]).append(Version(epoch, seq, self._world.now_ms, value))

    def newest(self, key: bytes) -> Version:
        return self._versions.get(key, [NEVER_WRITTEN])[-1]

    def was(self, key: bytes, row: bytes | None, from_ms: float, to_ms: float) -> bool:
        """Whether that row, or none, was the committed one at some moment of that span."""
        versions = self._versions.get(key, [NEVER_WRITTEN])
        if row is None:
            places = [place for place, version in enumerate(versions) if version.value is None]
        else:
            stored = decode_value(row)
            place = bisect_left(versions, stored.seq, key=_seq_of)
            is_known = place < len(versions) and versions[place].seq == stored.seq
            places = [place] if is_known and versions[place].value == stored.value else []
        ends_ms = [*(version.since_ms for version in versions[1:]), float("inf")]
        return any(versions[place].since_ms <= to_ms and ends_ms[place] >= from_ms for place in places)

    def give_up(self, pid: int, end: int) -> None:
        """What was committed in that partition after `end` is there no more: the former versions are the newest."""
        for key in [one for one in self._versions if one.startswith(b"p%d-" % pid)]:
            versions = self._versions[key]
            del versions[bisect_left(versions, end + 1, key=_seq_of) :]

    def history(self, key: bytes) -> list[tuple[int, float]]:
        """(seq, since when) of the newest versions, for a person."""
        return [(one.seq, one.since_ms) for one in self._versions.get(key, [])[-5:]]


def _seq_of(version: Version) -> int:
    return version.seq
