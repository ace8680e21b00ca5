"""How a keyspace is spread, as the contract says it.

Guarantees: of a partition, keys and bytes are those of its leader's copy, or of the fullest that was told of; reads and
writes are those of all its copies. Nothing is made up for what was not told: it is null. Bytes stand in JSON as
everywhere. Leaves to others: asking (`balance`), the words (`shard_key_words`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from cluster.gateway.item_fields import text_or_b64
from cluster.gateway.shard_key_words import PartitionLoad, words
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo
from kvstore.messages import Heat, HeatOf

HOTTEST_PARTITIONS = 10
HOTTEST_KEYS = 10


class Asked(msgspec.Struct, frozen=True):
    """A keyspace, its partitions, the members of the cluster, and what those that answered know of it."""

    info: KeyspaceInfo
    entries: tuple[Entry, ...]
    members: tuple[NodeInfo, ...]
    heats: Mapping[str, Heat]


def told(asked: Asked) -> dict[str, Any]:
    """The body of the answer."""
    copies: dict[int, dict[str, HeatOf]] = {entry.pid: {} for entry in asked.entries}
    for node, heat in asked.heats.items():
        for one in heat.copies:
            if one.copy.pid in copies:
                copies[one.copy.pid][node] = one
    loads = [_load(entry, copies[entry.pid]) for entry in asked.entries]
    known = [load for load in loads if load is not None]
    pairs = list(zip(asked.entries, loads, strict=True))
    return {
        "keyspace": asked.info.name,
        "strategy": asked.info.strategy,
        "keys": sum(load.keys for load in known),
        "bytes": sum(load.size_bytes for load in known),
        "reads_per_second": _rate(sum(load.reads for load in known)),
        "writes_per_second": _rate(sum(load.writes for load in known)),
        "partitions": [_partition(entry, load) for entry, load in pairs],
        "nodes": _nodes(asked, copies),
        "hottest_partitions": [load.pid for load in _by_load(known) if _rate(load.load) > 0][:HOTTEST_PARTITIONS],
        "hottest_keys": _hottest_keys(copies),
        "words": [{"code": word.code, "text": word.text} for word in words(asked.info.strategy, known)],
        "missing": sorted(node.id for node in asked.members if node.id not in asked.heats),
    }


def _load(entry: Entry, copies: Mapping[str, HeatOf]) -> PartitionLoad | None:
    if not copies:
        return None
    leads = copies.get(entry.leader.node) if entry.leader is not None else None
    full = leads or max(copies.values(), key=lambda one: (one.copy.keys, one.copy.size_bytes))
    return PartitionLoad(
        entry.pid,
        full.copy.keys,
        full.copy.size_bytes,
        sum(one.copy.reads for one in copies.values()),
        sum(one.copy.writes for one in copies.values()),
        full.is_rising,
        full.looked_at,
        [(group.name, group.load) for group in full.groups],
    )


def _by_load(loads: Sequence[PartitionLoad]) -> list[PartitionLoad]:
    return sorted(loads, key=lambda load: (-load.load, load.pid))


def _partition(entry: Entry, load: PartitionLoad | None) -> dict[str, Any]:
    return {
        "partition": entry.pid,
        "leader": None if entry.leader is None else entry.leader.node,
        "keys": None if load is None else load.keys,
        "bytes": None if load is None else load.size_bytes,
        "reads_per_second": None if load is None else _rate(load.reads),
        "writes_per_second": None if load is None else _rate(load.writes),
    }


def _nodes(asked: Asked, copies: Mapping[int, Mapping[str, HeatOf]]) -> list[dict[str, Any]]:
    """Of the nodes that answered, what each holds and serves beside what would be even by weight."""
    of_node: dict[str, list[HeatOf]] = {node: [] for node in sorted(asked.heats)}
    for by_node in copies.values():
        for node, one in by_node.items():
            of_node[node].append(one)
    leads = [entry.leader.node for entry in asked.entries if entry.leader is not None]
    weights = {node.id: node.weight for node in asked.members if node.may_host}
    keys = {node: sum(one.copy.keys for one in held) for node, held in of_node.items()}
    load = {node: sum(one.copy.reads + one.copy.writes for one in held) for node, held in of_node.items()}
    return [
        {
            "node": node,
            "copies": len(held),
            "leads": leads.count(node),
            "keys": keys[node],
            "bytes": sum(one.copy.size_bytes for one in held),
            "reads_per_second": _rate(sum(one.copy.reads for one in held)),
            "writes_per_second": _rate(sum(one.copy.writes for one in held)),
            "keys_share": _share(keys[node], sum(keys.values())),
            "load_share": _share(load[node], sum(load.values())),
            "even_share": _share(weights.get(node, 0.0), sum(weights.values())),
        }
        for node, held in of_node.items()
    ]


def _hottest_keys(copies: Mapping[int, Mapping[str, HeatOf]]) -> list[dict[str, Any]]:
    """What all copies of a partition served of a key, added up."""
    rates: dict[tuple[int, bytes], float] = {}
    for pid, by_node in copies.items():
        for one in by_node.values():
            for key in one.hottest:
                rates[pid, key.name] = rates.get((pid, key.name), 0.0) + key.load
    top = sorted(rates.items(), key=lambda one: (-one[1], one[0]))[:HOTTEST_KEYS]
    return [
        {**text_or_b64("key", key), "partition": pid, "operations_per_second": _rate(rate)}
        for (pid, key), rate in top
        if _rate(rate) > 0
    ]


def _rate(per_second: float) -> float:
    return round(per_second, 1)


def _share(part: float, whole: float) -> float | None:
    return round(part / whole, 4) if whole > 0 else None
