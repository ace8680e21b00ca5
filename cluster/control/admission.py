"""What a request to admit a node must look like.

Guarantees: an id, zone, weight and address that passed can be dialled, stored and shown; what does not pass is refused
by an error that names the parameter. Leaves to others: whether the node is who it says (`controller`). Sans-IO.
"""

from __future__ import annotations

import ipaddress
import math
import re

from cluster.control.messages import AdmitNode
from kvstore.errors import BadParameter

NAME_MAX = 64
WEIGHT_MAX = 1000.0

_NAME = re.compile(r"[A-Za-z0-9_.-]+", re.ASCII)
_HOST = re.compile(
    r"(?=.{1,253}$)([A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?\.)*[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
)
_PORT = re.compile(r"[1-9][0-9]{0,4}", re.ASCII)


def check_admission(request: AdmitNode, loopback: bool) -> None:
    """Check every field.

    Args:
        request: what was asked.
        loopback: whether a loopback address is acceptable.

    Raises:
        BadParameter: names the first field that is wrong, and why.
    """
    check_member(request.id, request.zone, request.weight)
    _check_address(request.address, loopback)


def check_member(node: str, zone: str, weight: float) -> None:
    """Check all but the address; raises as `check_admission` does."""
    _check_name("id", node)
    check_zone("zone", zone)
    if not math.isfinite(weight) or not 0 < weight <= WEIGHT_MAX:
        raise BadParameter(f"weight: a number above 0, at most {WEIGHT_MAX:g}")


def check_zone(parameter: str, zone: str) -> None:
    """Check a zone that stands in that parameter; raises as `check_admission` does."""
    _check_name(parameter, zone)


def _check_name(parameter: str, text: str) -> None:
    if len(text) > NAME_MAX or not _NAME.fullmatch(text):
        raise BadParameter(f"{parameter}: 1 to {NAME_MAX} of the characters A-Z a-z 0-9 _ . -")


def _check_address(address: str, loopback: bool) -> None:
    host, colon, port = address.rpartition(":")
    if not colon or not _PORT.fullmatch(port) or int(port) > 65535:
        raise BadParameter("address: HOST:PORT with a port from 1 to 65535")
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        ip = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        if bracketed or not _HOST.fullmatch(host):
            raise BadParameter("address: the host is an IP address or a name, IPv6 in brackets") from None
        if host.lower() == "localhost" and not loopback:
            raise BadParameter("address: this gateway admits no node on loopback") from None
        return
    if bracketed != (ip.version == 6):
        raise BadParameter("address: IPv6 stands in brackets, IPv4 without")
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped is not None:
        ip = ip.ipv4_mapped
    if ip.is_unspecified or ip.is_multicast or ip.is_link_local:
        raise BadParameter("address: an unspecified, multicast or link-local address is none to dial")
    if ip.is_loopback and not loopback:
        raise BadParameter("address: this gateway admits no node on loopback")
