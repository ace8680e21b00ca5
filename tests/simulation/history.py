"""What clients of single keys asked and were told, held against what was committed."""

from __future__ import annotations

from collections.abc import Mapping

from simulation.violation import Violation

from kvstore.messages import WriteOne, Written
from kvstore.storage.records import Record, RecordType

Name = tuple[int, bytes] | tuple[int, int, int]
Records = Mapping[tuple[int, int], Record]


class History:
    """What clients asked and were told, with the order in real time."""

    def __init__(self) -> None:
        self.acked: dict[tuple[int, int], bytes] = {}
        self.counts = dict.fromkeys(
            (
                *("done", "failed_condition", "refused", "unknown", "sent_again"),
                *(
                    "stale_token",
                    "strong",
                    "quorum",
                    "scan",
                    "plain_page",
                    "stale",
                    "behind",
                    "given_up",
                    "verified",
                    "unverified",
                ),
                *("txn_asked", "txn_done", "txn_refused", "txn_unknown", "txn_again", "txn_sent"),
            ),
            0,
        )
        self._newest: dict[bytes, tuple[int, int, int]] = {}
        self._told: dict[Name, tuple[bool, int, int, int]] = {}
        self._refused: set[object] = set()
        self._writes = 0

    def count(self, what: str) -> None:
        self.counts[what] += 1

    def new_write(self) -> int:
        """A number for a write that is not another's."""
        self._writes += 1
        return self._writes

    def check_same(self, write: WriteOne, written: Written) -> None:
        """Every answer to attempts of one write tells the same."""
        told = (written.created, written.origin or write.pid, written.epoch, written.seq)
        if not written.seq:
            told = (written.created, 0, 0, 0)
        first = self._told.setdefault(name_in(write.pid, write), told)
        if first != told:
            raise Violation(f"{write.key!r}: one write was told {first}, then {told}")

    def refused(self, write: WriteOne) -> None:
        """The client was told that nothing was applied."""
        if write.value is not None:
            self._refused.add(name_of(write.value))

    def check_once(self, records: Records) -> None:
        """No write is in the log twice, and none that was refused."""
        seen: dict[object, int] = {}
        for (pid, seq), record in sorted(records.items()):
            names: list[object] = [name_in(pid, record)] if record.token or record.origin else []
            names += [name_of(record.value)] if record.type == RecordType.PUT else []
            for name in names:
                if name in self._refused:
                    raise Violation(f"refused write {name!r} of {record.key!r} was applied at {pid}/{seq}")
                if name in seen:
                    raise Violation(
                        f"write {name!r} of {record.key!r} was applied twice: {pid}/{seen[name]}, {pid}/{seq}"
                    )
                seen[name] = seq

    def floor(self, key: bytes) -> tuple[int, int, int]:
        """The newest version of `key` that a client knew of when it asked: partition, epoch and seq."""
        return self._newest.get(key, (0, 0, 0))

    def wrote(self, write: WriteOne, written: Written) -> None:
        """A write was acknowledged."""
        if written.seq:
            pid = written.origin or write.pid
            self.acked[pid, written.seq] = write.key
            self.saw(write.key, (pid, written.epoch, written.seq))

    def saw(self, key: bytes, version: tuple[int, int, int]) -> None:
        known = self._newest.get(key, version)
        self._newest[key] = max(known, version) if known[0] == version[0] else version

    @staticmethod
    def check_acked_now(pid: int, written: Written, records: Records) -> None:
        """An answer leaves only after its record is committed."""
        pid = written.origin or pid
        if written.seq and (pid, written.seq) not in records:
            raise Violation(f"I6: {pid}/{written.seq} was acknowledged before it was committed")

    def give_up(self, pid: int, end: int) -> None:
        """An operator has given up what was written to that partition after `end`, and what it said of writes."""
        lost = [at for at in self.acked if at[0] == pid and at[1] > end]
        for at in lost:
            del self.acked[at]
            self.count("given_up")
        self._told = {name: told for name, told in self._told.items() if name[0] != pid}

    def check_acked(self, records: Records) -> None:
        """Every acknowledged write is committed under the seq that was told."""
        for (pid, seq), key in self.acked.items():
            record = records.get((pid, seq))
            if record is None or record.key != key:
                raise Violation(f"acknowledged write of {key!r} at {pid}/{seq} is not in the log: {record}")


def name_in(pid: int, write: WriteOne | Record) -> Name:
    """What tells a write from all others: a token goes with its key to another partition, a number does not."""
    return (home_of(write.token), write.token) if write.token else (pid, write.origin, write.number)


def token_of(home: int, name: int) -> bytes:
    """The token of the write of that number, of a key that belongs to the partition `home` at first."""
    return b"%d%015d" % (home, name) * 2


def home_of(token: bytes) -> int:
    """The partition to which the key of a token belonged at first."""
    return int(token[:1])


def name_of(value: bytes) -> bytes:
    """The part of a value that no other write has."""
    return value.partition(b".")[0]
