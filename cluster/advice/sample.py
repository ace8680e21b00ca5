"""A sample of keys, and what can be said of it whatever the strategy.

Guarantees: each key counts once, at the place where it came first. Leaves to others: reading it. Sans-IO.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence

from kvstore.heat.split_point import is_rising
from kvstore.keys import shard_key, tenant_of

# Rising is judged by so many keys, evenly over the sample: as many as a node keeps of what it is asked.
LOOKED_AT = 64


class Sample:
    """Args: keys: in the order in which they come.

    Attributes:
        shard_keys, tenants: how many keys each has.
        is_rising: whether they come in rising order, as far as a node would notice.
    """

    def __init__(self, keys: Iterable[bytes]) -> None:
        self.keys: Sequence[bytes] = list(dict.fromkeys(keys))
        self.shard_keys = Counter(map(shard_key, self.keys))
        self.tenants = Counter(map(tenant_of, self.keys))
        step = max(1, len(self.keys) // LOOKED_AT)
        self.is_rising = is_rising(self.keys[::step])

    def __len__(self) -> int:
        return len(self.keys)

    @property
    def share_of_shard_key(self) -> float:
        """How much of the sample has the most frequent shard key."""
        return _largest(self.shard_keys) / len(self)

    @property
    def share_of_tenant(self) -> float:
        """How much of the sample has the most frequent tenant."""
        return _largest(self.tenants) / len(self)

    def counts(self, locate: Callable[[bytes], int]) -> Counter[int]:
        """How many keys each partition has."""
        return Counter(map(locate, self.keys))


def _largest(counts: Counter[bytes]) -> int:
    return max(counts.values())
