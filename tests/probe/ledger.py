"""What a client was told about its keys, and what may therefore be read back.

Guarantees: an acknowledged write is expected; one whose outcome is unknown may or may not be there, and may turn up
later, until the processes that carried it are dead; a refused one must not be there. Each key belongs to one client,
which asks one thing at a time. Leaves to others: asking.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

Stored = bytes | None


class Lost(AssertionError):
    """A key reads as something that no client was told."""


class Ledger:
    """The keys of one client."""

    def __init__(self) -> None:
        self.acknowledged = 0
        self.refused = 0
        self.unknown = 0
        self._settled: dict[str, Stored] = {}
        self._open: dict[str, dict[int, Stored]] = {}
        self._asked = 0

    def __iter__(self) -> Iterator[str]:
        return iter(self._settled.keys() | self._open.keys())

    def ask(self, key: str, value: Stored) -> int:
        """A put of `value`, or a delete (None), is about to leave; its outcome is unknown until told otherwise."""
        self._asked += 1
        self.unknown += 1
        self._open.setdefault(key, {})[self._asked] = value
        return self._asked

    def done(self, key: str, number: int) -> None:
        """It was acknowledged."""
        self._settled[key] = self._open[key].pop(number)
        self.acknowledged += 1
        self.unknown -= 1

    def refuse(self, key: str, number: int) -> None:
        """It was refused: nothing was applied."""
        del self._open[key][number]
        self.refused += 1
        self.unknown -= 1

    def has_unknown(self, key: str) -> bool:
        """Whether a write of it may still turn up."""
        return bool(self._open.get(key))

    def check(self, found: Mapping[str, Stored]) -> None:
        """Compare what is read while nothing is under way, which from then on is what is expected.

        Raises:
            Lost: a key is neither as acknowledged nor as one of the unknown outcomes would leave it.
        """
        for key in self:
            allowed = [self._settled.get(key), *self._open.get(key, {}).values()]
            if found[key] not in allowed:
                raise Lost(f"{key}: {_brief(found[key])}, expected one of {[_brief(value) for value in allowed]}")
        self._settled.update({key: found[key] for key in self})
        self._open.clear()

    def live(self) -> dict[str, bytes]:
        """The keys that hold a value, after `check`."""
        return {key: value for key, value in self._settled.items() if value is not None}


def _brief(value: Stored) -> str:
    return "nothing" if value is None else f"{value[:40]!r} ({len(value)} bytes)"
