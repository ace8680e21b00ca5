"""Documents on keyspaces: what one is asked to be, and what one is.

Guarantees: a document has exactly the fields of the contract, each of its type, or is refused by an error that names
what is wrong; what is told is what the map at hand says. Leaves to others: everything that depends on the cluster
(control), which request it is (`keyspace_routes`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, UnsetType

from cluster.cluster_map import ClusterMap
from cluster.control.keyspace_messages import CreateKeyspace
from cluster.gateway.conditions import TTL_S_MAX
from cluster.gateway.item_fields import bytes_of, text_or_b64
from kvstore.errors import BadBody, BadParameter
from kvstore.keys import KEY_BYTES_MAX
from kvstore.map_values import Entry, KeyspaceInfo, Transfer

EVERYWHERE = "all"
NUMBER_MAX = 1 << 31
PARTITIONS_MAX = 4096


class _Split(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    key_b64: str


class KeyspaceBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a keyspace is asked to be. Numbers are floats, for JSON knows only one kind of number: 5.0 is 5."""

    strategy: str
    partitions: float | UnsetType = UNSET
    replicas: float | str | UnsetType = UNSET
    min_in_sync: float | UnsetType = UNSET
    default_ttl: float | UnsetType = UNSET
    max_value_bytes: float | UnsetType = UNSET
    splits: tuple[str | _Split, ...] = ()
    regions: dict[str, str] = {}
    default_zone: str | UnsetType = UNSET


class TransferView(msgspec.Struct, frozen=True):
    """Keys on their way from one partition to another."""

    id: int
    source: int = msgspec.field(name="from")
    target: int = msgspec.field(name="to")
    state: str = ""


def creation_of(name: str, body: KeyspaceBody, max_value_bytes: int) -> CreateKeyspace:
    """What control is asked for.

    Args:
        max_value_bytes: the gateway's limit.

    Raises:
        BadParameter, BadBody: a field is none that any keyspace could have.
    """
    asked: dict[str, int] = {}
    for field, number, least in (
        ("partitions", body.partitions, 1),
        ("min_in_sync", body.min_in_sync, 1),
        ("max_value_bytes", body.max_value_bytes, 1),
    ):
        if number is not UNSET:
            asked[field] = _whole(field, number, least)
    if body.replicas is not UNSET:
        asked["replicas"] = _replicas(body.replicas)
    if asked.get("max_value_bytes", 0) > max_value_bytes:
        raise BadParameter(f"max_value_bytes: at most {max_value_bytes}, what the gateway allows")
    if body.default_ttl is not UNSET:
        if not 0 < body.default_ttl <= TTL_S_MAX:
            raise BadParameter(f"default_ttl: a positive number of seconds, at most {TTL_S_MAX}")
        asked["default_ttl_ms"] = max(1, round(body.default_ttl * 1000))
    if body.default_zone == "":
        raise BadParameter("default_zone: empty; leave it out where there is none")
    bounds = tuple(map(_bound, body.splits))
    if body.strategy == "range" and "partitions" in asked:
        bounds = bounds or _even_bounds(asked["partitions"])
        if asked.pop("partitions") != len(bounds) + 1:
            raise BadParameter("partitions: of strategy range it is one more than splits; leave one of them out")
    return CreateKeyspace(
        name,
        body.strategy,
        **asked,
        bounds=bounds,
        regions=tuple((region.encode(), zone) for region, zone in body.regions.items()),
        default_zone="" if body.default_zone is UNSET else body.default_zone,
    )


def described(
    keyspace: KeyspaceInfo, cluster: ClusterMap, max_value_bytes: int, *, is_whole: bool
) -> dict[str, object]:
    """A keyspace as the contract has it; `is_whole`: with each of its partitions."""
    limit = min(keyspace.max_value_bytes or max_value_bytes, max_value_bytes)
    told: dict[str, object] = {
        "name": keyspace.name,
        "strategy": keyspace.strategy,
        "partitions": len(keyspace.pids),
        "replicas": keyspace.replicas or EVERYWHERE,
        "min_in_sync": keyspace.min_in_sync,
        "max_value_bytes": limit,
    }
    if keyspace.default_ttl_ms:
        told["default_ttl"] = keyspace.default_ttl_ms / 1000
    if keyspace.strategy == "directory":
        told["tenants"] = cluster.tenants.of(keyspace.name).count_within(keyspace.pids)
    if keyspace.strategy == "geo":
        told["regions"] = {name.decode("utf-8", "backslashreplace"): zone for name, zone in keyspace.regions}
        told["default_zone"] = keyspace.default_zone
    if is_whole:
        told["placement"] = _placement(keyspace, cluster.entries)
    return told


def tenant_document(name: bytes, pid: int, entries: Mapping[int, Entry]) -> dict[str, object]:
    """A tenant as the contract has it, with the transfer that has its keys if one goes on."""
    told: dict[str, object] = {**text_or_b64("tenant", name), "partition": pid}
    entry = entries.get(pid)
    if entry is not None and entry.transfer is not None and entry.transfer.tenant == name:
        told["transfer"] = _transfer_view(entry.transfer)
    return told


def _transfer_view(transfer: Transfer) -> TransferView:
    return TransferView(transfer.id, transfer.source, transfer.target, transfer.state.value)


def _placement(keyspace: KeyspaceInfo, entries: Mapping[int, Entry]) -> list[dict[str, object]]:
    zones = [zone for zone, count in keyspace.zones for _ in range(count)]
    listed = []
    for place, pid in enumerate(keyspace.pids):
        entry = entries.get(pid)
        leader = None if entry is None or entry.leader is None else entry.leader.node
        told: dict[str, object] = {"id": pid, "leader": leader}
        if keyspace.strategy == "range" and place:
            told |= text_or_b64("start", keyspace.bounds[place - 1])
        if keyspace.strategy == "range" and place < len(keyspace.bounds):
            told |= text_or_b64("end", keyspace.bounds[place])
        if zones:
            told["zone"] = zones[place]
        if entry is not None and entry.transfer is not None:
            told["transfer"] = _transfer_view(entry.transfer)
        listed.append(told)
    return listed


def _whole(field: str, number: float, least: int) -> int:
    if not least <= number <= NUMBER_MAX or not number.is_integer():
        raise BadParameter(f"{field}: a whole number, at least {least}")
    return int(number)


def _replicas(asked: float | str) -> int:
    if isinstance(asked, str):
        if asked != EVERYWHERE:
            raise BadParameter(f'replicas: a whole number, or "{EVERYWHERE}"')
        return 0
    return _whole("replicas", asked, 1)


def _even_bounds(partitions: int) -> tuple[bytes, ...]:
    """What divides all keys evenly, by their first two bytes, into so many ranges."""
    if partitions > PARTITIONS_MAX:
        raise BadParameter(f"partitions: at most {PARTITIONS_MAX}")
    return tuple((place * 65536 // partitions).to_bytes(2, "big") for place in range(1, partitions))


def _bound(split: str | _Split) -> bytes:
    text, b64 = (split, UNSET) if isinstance(split, str) else (UNSET, split.key_b64)
    try:
        bound = bytes_of(text, b64, "key")
    except BadBody as error:
        raise BadParameter(f"splits: {error.detail}") from error
    if bound is UNSET or not 1 <= len(bound) <= KEY_BYTES_MAX:
        raise BadParameter(f"splits: each is a key of 1 to {KEY_BYTES_MAX} bytes")
    return bound
