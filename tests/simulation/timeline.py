"""What was committed under each key, and when, in true time: what any read is held against.

What a transaction changes counts from its decision on, in every partition, whenever that hears of it.
"""

from __future__ import annotations

from dataclasses import dataclass

from simulation.world import World

from kvstore.storage.records import Record, RecordType, decode_value


@dataclass(frozen=True)
class Version:
    """What a key was from `since_ms` on, by the record (`epoch`, `seq`) of the partition `pid`."""

    pid: int
    epoch: int
    seq: int
    since_ms: float
    value: bytes | None


NEVER_WRITTEN = Version(0, 0, 0, 0.0, None)


class Timeline:
    """The versions of all keys in the order in which they were committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._versions: dict[bytes, list[Version]] = {}
        self._places: dict[tuple[bytes, int, int], int] = {}

    def committed(self, pid: int, epoch: int, seq: int, record: Record) -> None:
        """This record has just been called committed for the first time."""
        if record.type in (RecordType.PUT, RecordType.DELETE, RecordType.EXPIRE):
            self.changed(record.key, pid, epoch, seq, record.value if record.type == RecordType.PUT else None)

    def changed(self, key: bytes, pid: int, epoch: int, seq: int, value: bytes | None) -> None:
        """From now on the key is that."""
        versions = self._versions.setdefault(key, [NEVER_WRITTEN])
        self._places[key, pid, seq] = len(versions)
        versions.append(Version(pid, epoch, seq, self._world.now_ms, value))

    def newest(self, key: bytes) -> Version:
        return self._versions.get(key, [NEVER_WRITTEN])[-1]

    def was(self, key: bytes, pid: int, row: bytes | None, from_ms: float, to_ms: float) -> bool:
        """Whether that row of the partition, or none, was the committed one at some moment of that span."""
        versions = self._versions.get(key, [NEVER_WRITTEN])
        if row is None:
            places = [place for place, version in enumerate(versions) if version.value is None]
        else:
            stored = decode_value(row)
            place = self._places.get((key, stored.origin or pid, stored.seq))
            places = [place] if place is not None and versions[place].value == stored.value else []
        ends_ms = [*(version.since_ms for version in versions[1:]), float("inf")]
        return any(versions[place].since_ms <= to_ms and ends_ms[place] >= from_ms for place in places)

    def give_up(self, pid: int, end: int) -> None:
        """What was committed in that partition after `end` is there no more: the former versions are the newest."""
        for at in [one for one in self._places if one[1] == pid and one[2] > end]:
            del self._places[at]
        for versions in self._versions.values():
            versions[:] = [one for one in versions if one.pid != pid or one.seq <= end]

    def history(self, key: bytes) -> list[tuple[int, float]]:
        """(seq, since when) of the newest versions, for a person."""
        return [(one.seq, one.since_ms) for one in self._versions.get(key, [])[-5:]]
