"""Ranges of keys that scans wait for until no transaction may change them.

Guarantees: nothing new is prepared of a fenced range, so what a scan waits for comes to its end, however many
transactions there are; a fence is gone when its time is over, whatever became of the scan. Leaves to others: whom a
fence holds up (`locks`), what is prepared (`participant`). Sans-IO. PROTOCOL "Range scans", "Transactions".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable

import msgspec


class Fence(msgspec.Struct, frozen=True):
    """From `start` to `end` (empty: no end), until `until_ms`. `ticket` is told when no key within may change any more;
    None where that was told."""

    owner: object
    ticket: object | None
    start: bytes
    end: bytes
    until_ms: int

    def holds(self, key: bytes) -> bool:
        """Whether the key is within."""
        return is_within(key, self.start, self.end)


class Fences:
    """All fences of one partition."""

    def __init__(self) -> None:
        self._fences: list[Fence] = []

    def __bool__(self) -> bool:
        return bool(self._fences)

    def put(self, fence: Fence) -> None:
        """Put one up."""
        self._fences.append(fence)

    def lift(self, owner: object) -> None:
        """Take all fences of this owner away."""
        self._fences = [fence for fence in self._fences if fence.owner is not owner]

    def hold(self, keys: Iterable[bytes]) -> bool:
        """Whether any of these keys is fenced."""
        fences = self._fences
        return bool(fences) and any(fence.holds(key) for key in keys for fence in fences)

    def settled(self, changing: Collection[bytes], now_ms: int) -> list[tuple[object, bool]]:
        """Whom to tell, and whether it need not wait any more; False where its time is over.

        Args:
            changing: the keys that transactions may change.
        """
        fences, self._fences = self._fences, []
        told: list[tuple[object, bool]] = []
        for fence in fences:
            is_clear = fence.ticket is not None and not any(map(fence.holds, changing))
            if is_clear:
                told.append((fence.ticket, True))
                fence = msgspec.structs.replace(fence, ticket=None)
            if now_ms < fence.until_ms:
                self._fences.append(fence)
            elif fence.ticket is not None:
                told.append((fence.ticket, False))
        return told

    def waiting(self) -> list[Fence]:
        """The fences that are waited at."""
        return [fence for fence in self._fences if fence.ticket is not None]

    def clear(self) -> list[object]:
        """Take all away; returns who waits."""
        tickets: list[object] = [fence.ticket for fence in self.waiting()]
        self._fences = []
        return tickets

    @property
    def ends_ms(self) -> list[int]:
        """When each is over."""
        return [fence.until_ms for fence in self._fences]


def is_within(key: bytes, start: bytes, end: bytes) -> bool:
    """Whether start <= key < end; an empty `end` is none."""
    return start <= key and (not end or key < end)
