"""What was committed under each key, and when, in true time: what any read is held against."""

from __future__ import annotations

from bisect import bisect_left

from simulation.world import World

from kvstore.storage.records import Record, RecordType, decode_value


class Timeline:
    """The versions of all keys in the order in which they were committed."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._seqs: dict[bytes, list[int]] = {}
        self._since_ms: dict[bytes, list[float]] = {}
        self._values: dict[bytes, list[bytes | None]] = {}

    def committed(self, seq: int, record: Record) -> None:
        """This record has just been called committed for the first time."""
        if record.type in (RecordType.PUT, RecordType.DELETE, RecordType.EXPIRE):
            key = record.key
            self._seqs.setdefault(key, [0]).append(seq)
            self._since_ms.setdefault(key, [0.0]).append(self._world.now_ms)
            self._values.setdefault(key, [None]).append(record.value if record.type == RecordType.PUT else None)

    def was(self, key: bytes, row: bytes | None, from_ms: float, to_ms: float) -> bool:
        """Whether that row, or none, was the committed one at some moment of that span."""
        seqs = self._seqs.get(key, [0])
        if row is None:
            places = [place for place, value in enumerate(self._values.get(key, [None])) if value is None]
        else:
            stored = decode_value(row)
            place = bisect_left(seqs, stored.seq)
            is_known = place < len(seqs) and seqs[place] == stored.seq
            places = [place] if is_known and self._values[key][place] == stored.value else []
        since_ms = [*self._since_ms.get(key, [0.0]), float("inf")]
        return any(since_ms[place] <= to_ms and since_ms[place + 1] >= from_ms for place in places)

    def give_up(self, pid: int, end: int) -> None:
        """What was committed in that partition after `end` is there no more: the former versions are the newest."""
        for key in [one for one in self._seqs if one.startswith(b"p%d-" % pid)]:
            kept = bisect_left(self._seqs[key], end + 1)
            for of_key in (self._seqs, self._since_ms, self._values):
                del of_key[key][kept:]

    def history(self, key: bytes) -> list[tuple[int, float]]:
        """(seq, since when) of the newest versions, for a person."""
        return list(zip(self._seqs.get(key, []), self._since_ms.get(key, []), strict=True))[-5:]
