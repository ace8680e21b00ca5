"""What requests about nodes are changed into: chance finds no member, and might find somebody else's address.

Guarantees: an address that control would dial is one of this cluster's nodes afterwards, or a port of this machine
where nobody listens; what control refuses unseen stays as it is. A part of the requests, always the same, is about
members.
Leaves to others: who calls it (`hooks`).
"""

from __future__ import annotations

import zlib
from collections.abc import Collection, Mapping
from typing import Any

from cluster.control.admission import check_admission
from cluster.control.messages import AdmitNode
from kvstore.errors import BadParameter

NOBODY = "127.0.0.1:1"
ONE_IN = 3
PARTITIONS_MAX = 4
VALUE_BYTES_MIN = 1 << 16


def confined(body: dict[str, Any], nodes: Mapping[str, str]) -> dict[str, Any]:
    """The body of a request to admit a node, with an address that is none but this machine's.

    Args:
        nodes: the addresses of the cluster's nodes, by id.
    """
    address = body.get("address")
    if not isinstance(address, str) or not _is_dialled(address):
        return body
    if not isinstance(body.get("id"), str):
        return {**body, "address": NOBODY}
    drawn = _drawn(body)
    node = sorted(nodes)[drawn % len(nodes)] if drawn % ONE_IN == 0 and _is_name(body["id"]) else body["id"]
    return {**body, "id": node, "address": nodes.get(node, NOBODY)}


def about_members(body: dict[str, Any], nodes: Collection[str], partitions: int) -> dict[str, Any]:
    """The body of a valid request for a promotion by force, in a part of them with what there is in this cluster."""
    drawn = _drawn(body)
    if drawn % ONE_IN:
        return body
    there = {"partition": drawn % partitions + 1, "all_of": sorted(nodes)[drawn % len(nodes)]}
    return {**{name: there.get(name, value) for name, value in body.items()}, "confirmed_stopped": sorted(nodes)}


def small_keyspace(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a valid request for a keyspace, with few partitions, so that chance may make many of them, and with
    room for what chance puts into it."""
    kept = {name: value for name, value in body.items() if name != "partitions"}
    if body.get("strategy") != "range":
        kept["partitions"] = 1 + _drawn(body) % PARTITIONS_MAX
    if "splits" in kept:
        kept["splits"] = kept["splits"][: PARTITIONS_MAX - 1]
    if "max_value_bytes" in kept:
        kept["max_value_bytes"] = max(VALUE_BYTES_MIN, kept["max_value_bytes"])
    return kept


def where_chosen(body: dict[str, Any]) -> dict[str, Any]:
    """The body of a valid request to move a tenant; in a part of them the cluster chooses the partition."""
    return body if _drawn(body) % ONE_IN else {}


def _drawn(body: dict[str, Any]) -> int:
    return zlib.crc32(repr(sorted(body.items())).encode("utf-8", "backslashreplace"))


def _is_dialled(address: str) -> bool:
    try:
        check_admission(AdmitNode("n", address, "z", 1.0), loopback=True)
    except BadParameter:
        return False
    return True


def _is_name(node: str) -> bool:
    try:
        check_admission(AdmitNode(node, NOBODY, "z", 1.0), loopback=True)
    except BadParameter:
        return False
    return True
