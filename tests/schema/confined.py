"""Where requests to admit a node may send the gateway: to this cluster's own nodes, or to a port where nobody listens.

Guarantees: an address that control would dial is one of these afterwards; what it refuses unseen stays as it is. A part
of the requests, always the same, is turned into the admission of a node that is a member, which is the one that can
succeed. Leaves to others: who calls it (`hooks`).
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping
from typing import Any

from cluster.control.admission import check_admission
from cluster.control.messages import AdmitNode
from kvstore.errors import BadParameter

NOBODY = "127.0.0.1:1"
ONE_IN = 3


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
    drawn = zlib.crc32(repr(sorted(body.items())).encode("utf-8", "backslashreplace"))
    node = sorted(nodes)[drawn % len(nodes)] if drawn % ONE_IN == 0 and _is_name(body["id"]) else body["id"]
    return {**body, "id": node, "address": nodes.get(node, NOBODY)}


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
