"""In which order transactions appended to each list, and what in the reads of one list alone can never be.

Guarantees: the order of a key is the longest list that anybody read of it, of which all other reads are the beginning;
each element was to be appended, by somebody who was not told that it failed, and stands there once; nobody saw a
transaction's work half done on one key, and its own reads show its own appends; what was acknowledged, or known to have
happened, is in the list by the next read. Leaves to others: what several keys tell together (`transactions`). Pure.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from typing import NamedTuple

from checkers.history import FOR_EVER, Anomaly, Outcome
from checkers.transaction_history import Append, Items, Read, Transaction


class Sight(NamedTuple):
    """What a transaction (by its number) found in a list that others had made: its own appends are not in it."""

    reader: int
    key: str
    items: Items


class Versions:
    """Args: history: of whom no two append the same to the same list.

    Raises:
        Anomaly: a list, or a read of it, is none that any order of transactions gives.
    """

    def __init__(self, history: Sequence[Transaction]) -> None:
        self._history = history
        self._writers: dict[str, dict[object, int]] = defaultdict(dict)
        for number, transaction in enumerate(history):
            for append in transaction.appends:
                first = self._writers[append.key].setdefault(append.item, number)
                if first != number or transaction.appends.count(append) > 1:
                    raise ValueError(f"two appends are {append}: nobody could tell them apart")
        self.longest: dict[str, Items] = defaultdict(tuple)
        self.sights: list[Sight] = []
        # Those that took effect: acknowledged, or seen.
        self.certain: set[int] = set()
        self._take([number for number, one in enumerate(history) if one.outcome is Outcome.DONE])
        self._check_reads()
        for key in self.longest:
            self._check_elements(key)
        for sight in self.sights:
            self._check_whole(sight)
        self._check_nothing_lost()

    def writer(self, key: str, item: object) -> int:
        """Whose append it is."""
        return self._writers[key][item]

    def unseen(self, key: str) -> list[int]:
        """Who appended to the list after all that anybody read."""
        seen = set(self.longest[key])
        return sorted(
            {number for item, number in self._writers[key].items() if item not in seen and number in self.certain}
        )

    # ---- who took effect ----------------------------------------------------------------------------------------

    def _take(self, numbers: Sequence[int]) -> None:
        """These took effect; so did all whose appends they saw."""
        while numbers:
            self.certain.update(numbers)
            keys = set()
            for number in numbers:
                for step in self._history[number].steps:
                    if isinstance(step, Read) and len(step.items) > len(self.longest[step.key]):
                        self.longest[step.key] = step.items
                        keys.add(step.key)
            seen = {self._writers[key].get(item, -1) for key in keys for item in self.longest[key]}
            numbers = [
                number
                for number in seen - self.certain
                if number >= 0 and self._history[number].outcome is Outcome.UNKNOWN
            ]

    # ---- reads --------------------------------------------------------------------------------------------------

    def _check_reads(self) -> None:
        """All reads of a key agree, and each with what its own transaction did before."""
        for number in sorted(self.certain):
            found: dict[str, Items] = {}
            own: dict[str, Items] = defaultdict(tuple)
            for step in self._history[number].steps:
                if isinstance(step, Append):
                    own[step.key] += (step.item,)
                else:
                    self._check_read(number, step, found, own[step.key])

    def _check_read(self, number: int, read: Read, found: dict[str, Items], own: Items) -> None:
        transaction = self._history[number]
        longest = self.longest[read.key]
        if read.items != longest[: len(read.items)]:
            raise Anomaly(f"incompatible orders of {read.key}: {read.items!r}, and {longest!r}: {transaction}")
        others = read.items[: len(read.items) - len(own)]
        if read.items != others + own or found.setdefault(read.key, others) != others:
            raise Anomaly(
                f"internal: what was read of {read.key} is not what the transaction itself left: {transaction}"
            )
        if not {append.item for append in transaction.appends if append.key == read.key}.isdisjoint(others):
            raise Anomaly(f"internal: {read.key} showed an append that was still to come: {transaction}")
        self.sights.append(Sight(number, read.key, others))

    def _check_elements(self, key: str) -> None:
        """Each was to be there, and is there once, in the order of its transaction."""
        longest = self.longest[key]
        if len(set(longest)) < len(longest):
            doubled = next(item for item in longest if longest.count(item) > 1)
            raise Anomaly(f"duplicated append: {doubled!r} is twice in {key}: {longest!r}")
        last: dict[int, int] = {}
        for place, item in enumerate(longest):
            number = self._writers[key].get(item)
            if number is None:
                raise Anomaly(f"{key} holds {item!r}, which nobody was to append")
            if number not in self.certain:
                # Whoever appended after that built on what is not there.
                name = "dirty update" if len(longest) > place + 1 else "G1a (aborted read)"
                raise Anomaly(f"{name}: {key} holds {item!r} of what was refused: {self._history[number]}")
            own = [append.item for append in self._history[number].appends if append.key == key]
            if own.index(item) < last.get(number, 0):
                raise Anomaly(f"{key} holds appends of one transaction in another order: {self._history[number]}")
            last[number] = own.index(item)

    def _check_whole(self, sight: Sight) -> None:
        """Nobody saw a list between two appends of one transaction."""
        if not sight.items:
            return
        writer = self._history[self.writer(sight.key, sight.items[-1])]
        last = [append.item for append in writer.appends if append.key == sight.key][-1]
        if last != sight.items[-1]:
            raise Anomaly(
                f"G1b (intermediate read): {sight.key} ended with {sight.items[-1]!r}, before {last!r} of the same "
                f"transaction: {writer}; {self._history[sight.reader]}"
            )

    # ---- what is to be there ------------------------------------------------------------------------------------

    def _check_nothing_lost(self) -> None:
        last_read: dict[str, Sight] = {}
        for sight in self.sights:
            other = last_read.setdefault(sight.key, sight)
            if self._history[sight.reader].begin > self._history[other.reader].begin:
                last_read[sight.key] = sight
        known_s = self._known_s()
        for key, writers in self._writers.items():
            if key not in last_read:
                continue
            seen, reader = set(self.longest[key]), self._history[last_read[key].reader]
            for item, number in writers.items():
                if item not in seen and known_s.get(number, FOR_EVER) < reader.begin:
                    raise Anomaly(f"lost append: {item!r} is not in {key}: {self._history[number]}; {reader}")

    def _known_s(self) -> dict[int, float]:
        """Since when each transaction that took effect is known to have: acknowledged, or seen in a read that ended."""
        known = {number: self._history[number].end for number in self.certain}
        for number in self.certain:
            if self._history[number].outcome is Outcome.UNKNOWN:
                known[number] = FOR_EVER
        ends: dict[str, list[float]] = {key: [FOR_EVER] * len(items) for key, items in self.longest.items()}
        for sight in self.sights:
            if sight.items and self._history[sight.reader].outcome is Outcome.DONE:
                place = len(sight.items) - 1
                ends[sight.key][place] = min(ends[sight.key][place], self._history[sight.reader].end)
        for key, items in self.longest.items():
            earliest = FOR_EVER
            for item, end in zip(reversed(items), reversed(ends[key]), strict=True):
                earliest = min(earliest, end)
                number = self.writer(key, item)
                known[number] = min(known[number], earliest)
        return known
