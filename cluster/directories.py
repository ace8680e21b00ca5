"""Which partition has the keys of each tenant, for all keyspaces of strategy `directory`.

Guarantees: an immutable value. Of n tenants, one that is new or moved makes a new value in O(log n), which shares all
else with the one before; in what two values differ is found by what changed since the last one that both came from,
where that is not long ago. Leaves to others: which partitions a keyspace has, and so which tenants are left of a former
one of its name (whoever asks names the partitions). Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from immutables import Map

from kvstore.map_values import Tenant

# How many of the values before it one knows, and how many tenants may have changed since the first of those: control
# and its map store are a few apart, each by changes of its own.
STEPS_MAX = 128
NEWS_MAX = 8192

_Name = tuple[str, bytes]


@dataclass(frozen=True, slots=True)
class Directory:
    """The tenants of the keyspaces that have or had one name.

    Attributes:
        homes: the partition of each tenant.
        counts: how many tenants each partition has.
    """

    homes: Map[bytes, int] = field(default_factory=Map)
    counts: Map[int, int] = field(default_factory=Map, compare=False)

    def with_homes(self, homes: Mapping[bytes, int]) -> Directory:
        """The same with these tenants in these partitions."""
        known = self.homes
        news = {name: pid for name, pid in homes.items() if known.get(name) != pid} if known else homes
        if not news:
            return self
        gained = Counter(news.values())
        gained.subtract(known[name] for name in news if name in known)
        counts = {pid: self.counts.get(pid, 0) + gain for pid, gain in gained.items()}
        return Directory(known.update(news), self.counts.update(counts))

    def count_within(self, pids: Iterable[int]) -> int:
        """How many tenants these partitions have."""
        return sum(self.counts.get(pid, 0) for pid in pids)


@dataclass(frozen=True, slots=True, eq=False)
class _Step:
    """That a value came from another in which at most what has these `names` was otherwise. Each is equal to itself
    alone. `total` is how many names its value's steps have had, from the first one to this."""

    names: tuple[_Name, ...]
    total: int


_NONE = Directory()


class Directories(Mapping[_Name, Tenant]):
    """All tenants by keyspace and name; begins with none."""

    __slots__ = ("_by_keyspace", "_steps")

    def __init__(self) -> None:
        self._by_keyspace: dict[str, Directory] = {}
        # The last of those that led here.
        self._steps: tuple[_Step, ...] = ()

    def __getitem__(self, name: _Name) -> Tenant:
        return Tenant(*name, self.of(name[0]).homes[name[1]])

    def __iter__(self) -> Iterator[_Name]:
        return ((keyspace, name) for keyspace, one in self._by_keyspace.items() for name in one.homes)

    def __len__(self) -> int:
        return sum(len(one.homes) for one in self._by_keyspace.values())

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Directories):
            return super().__eq__(other)
        return self is other or (len(self) == len(other) and next(self._otherwise(other), None) is None)

    def of(self, keyspace: str) -> Directory:
        """The tenants of the keyspaces of that name."""
        return self._by_keyspace.get(keyspace, _NONE)

    def with_tenants(self, tenants: Iterable[Tenant]) -> Directories:
        """The same with these tenants as they are given, the last one where one is given twice."""
        homes: dict[str, dict[bytes, int]] = {}
        for one in tenants:
            homes.setdefault(one.keyspace, {})[one.name] = one.pid
        changed: dict[str, Directory] = {}
        for keyspace, news in homes.items():
            before = self.of(keyspace)
            after = before.with_homes(news)
            if after is not before:
                changed[keyspace] = after
        if not changed:
            return self
        made = Directories()
        made._by_keyspace = {**self._by_keyspace, **changed}
        made._steps = self._steps_with([(keyspace, name) for keyspace in changed for name in homes[keyspace]])
        return made

    def since(self, before: Directories) -> list[Tenant]:
        """The tenants that stand here otherwise than in `before`, or not at all there."""
        return list(self._otherwise(before))

    def _otherwise(self, before: Directories) -> Iterator[Tenant]:
        names = self._names_since(before)
        if names is None:
            for keyspace, one in self._by_keyspace.items():
                known = before.of(keyspace).homes
                if not known:
                    yield from (Tenant(keyspace, name, pid) for name, pid in one.homes.items())
                elif one.homes is not known:
                    yield from (Tenant(keyspace, *home) for home in one.homes.items() if known.get(home[0]) != home[1])
            return
        for keyspace, name in names:
            pid = self.of(keyspace).homes.get(name)
            if pid is not None and pid != before.of(keyspace).homes.get(name):
                yield Tenant(keyspace, name, pid)

    def _names_since(self, before: Directories) -> Iterable[_Name] | None:
        """All that may stand otherwise in the two; None where that is not known."""
        theirs = set(before._steps)
        shared = next((step for step in reversed(self._steps) if step in theirs), None)
        if shared is None:
            return None
        later = (step for steps in (self._steps, before._steps) for step in steps if step.total > shared.total)
        return dict.fromkeys(name for step in later for name in step.names)

    def _steps_with(self, names: Sequence[_Name]) -> tuple[_Step, ...]:
        total = len(names) + (self._steps[-1].total if self._steps else 0)
        kept = self._steps[1 - STEPS_MAX :]
        if kept and total - kept[0].total > NEWS_MAX:
            kept = tuple(step for step in kept if total - step.total <= NEWS_MAX)
        return (*kept, _Step(tuple(names) if kept else (), total))
