"""What is to be said of a keyspace's shard key: that it has few values, or rises with time.

Guarantees: a word is given only where what was seen is enough to tell; it says what is the matter and what would help.
Leaves to others: seeing it (the nodes), whether anybody acts on it. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kvstore.heat.split_point import shown

# Few shard keys with so much of the load or of the keys are too few.
FEW = 5
LOAD_SHARE = 0.5
KEYS_SHARE = 0.8
FEW_PARTITIONS_SHARE = 1 / 8
RISING_SHARE = 0.8
LOAD_MIN = 1.0
LOOKED_AT_MIN = 64
PARTITIONS_MIN = 8
KEYS_PER_PARTITION_MIN = 16

SHARD_KEYS = {"directory": "tenant", "range": "key"}
RISING = {
    "range": "what is written lies behind all that was written before, so one partition at a time takes all writes; "
    "put something that varies in front, or choose consistent if nobody scans the keys in order",
    "directory": "spread only as far as many tenants are written at a time; in a keyspace of strategy range one "
    "partition at a time would take all writes",
}
RISING_HASHED = (
    "spread well here, for shard keys are hashed; in a keyspace of strategy range one partition at a time would take "
    "all writes"
)


class PartitionLoad(msgspec.Struct, frozen=True):
    """A partition: `groups` are the shard keys, or tenants, with most of the load, as shares of the partition's."""

    pid: int
    keys: int
    size_bytes: int
    reads: float
    writes: float
    is_rising: bool
    looked_at: int
    groups: list[tuple[bytes, float]]

    @property
    def load(self) -> float:
        return self.reads + self.writes


class Word(msgspec.Struct, frozen=True):
    """`code` is `few_values` or `rising`."""

    code: str
    text: str


def words(strategy: str, partitions: Sequence[PartitionLoad]) -> list[Word]:
    """What is to be said of these partitions of a keyspace."""
    found = (_few_by_load(strategy, partitions), _few_by_keys(strategy, partitions), _rising(strategy, partitions))
    return [word for word in found if word is not None]


def _few_by_load(strategy: str, partitions: Sequence[PartitionLoad]) -> Word | None:
    load = sum(one.load for one in partitions)
    if load < LOAD_MIN or sum(one.looked_at for one in partitions) < LOOKED_AT_MIN:
        return None
    loads: dict[bytes, float] = {}
    for one in partitions:
        for name, share in one.groups:
            loads[name] = loads.get(name, 0.0) + share * one.load
    passed, named = 0.0, []
    for name in sorted(loads, key=lambda name: (-loads[name], name))[:FEW]:
        passed += loads[name]
        named.append(shown(name))
        if passed >= LOAD_SHARE * load:
            kind = SHARD_KEYS.get(strategy, "shard key")
            kind, have = (kind, "has") if len(named) == 1 else (f"{kind}s", "have")
            text = f"few values: {len(named)} {kind} {have} {passed / load:.0%} of the load: {', '.join(named)}; "
            return Word("few_values", text + _remedy(strategy))
    return None


def _remedy(strategy: str) -> str:
    if strategy == "range":
        return "no split divides the load of one key: spread it over several"
    if strategy == "directory":
        return "a tenant is in one partition, however large: choose a smaller unit as the tenant"
    return "all keys of one are in one partition: choose a shard key with more values"


def _few_by_keys(strategy: str, partitions: Sequence[PartitionLoad]) -> Word | None:
    """Most keys are in few partitions; of ranges that says only that they were not cut yet."""
    keys = sorted((one.keys for one in partitions), reverse=True)
    if strategy == "range" or len(keys) < PARTITIONS_MIN or sum(keys) < KEYS_PER_PARTITION_MIN * len(keys):
        return None
    passed = count = 0
    while passed < KEYS_SHARE * sum(keys):
        passed += keys[count]
        count += 1
    if count > FEW_PARTITIONS_SHARE * len(keys):
        return None
    kind = "tenant" if strategy == "directory" else "shard key"
    where = f"{count} of {len(keys)} partitions {'has' if count == 1 else 'have'} {passed / sum(keys):.0%} of the keys"
    return Word("few_values", f"few values: {where}: choose a {kind} with more values, and none with most of the keys")


def _rising(strategy: str, partitions: Sequence[PartitionLoad]) -> Word | None:
    writes = sum(one.writes for one in partitions)
    if writes < LOAD_MIN or sum(one.writes for one in partitions if one.is_rising) < RISING_SHARE * writes:
        return None
    return Word("rising", f"rising with time: {RISING.get(strategy, RISING_HASHED)}")
