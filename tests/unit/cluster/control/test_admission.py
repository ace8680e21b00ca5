"""Which ids, zones, weights and addresses a node may be admitted with."""

from __future__ import annotations

import pytest

from cluster.control.admission import check_admission
from cluster.control.messages import AdmitNode
from kvstore.errors import BadParameter


@pytest.mark.parametrize(
    "address",
    ["127.0.0.1:7001", "[::1]:7001", "10.0.0.7:65535", "localhost:1", "node-1.example.org:7001", "[2001:db8::1]:80"],
)
def test_an_address_is_a_host_and_a_port(address: str) -> None:
    check_admission(AdmitNode("n1", address), loopback=True)


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        ":7001",
        "127.0.0.1:",
        "127.0.0.1:0",
        "127.0.0.1:65536",
        "127.0.0.1:+1",
        "127.0.0.1:٣",
        "http://127.0.0.1:7001",
        "http://169.254.169.254/",
        "file:///etc/passwd",
        "host/path:80",
        "user@host:80",
        "a b:80",
        "2130706433:80",
        "0x7f000001:80",
        "127.1:80",
        "::1:80",
        "[127.0.0.1]:80",
        "[host]:80",
        "169.254.169.254:80",
        "[fe80::1]:80",
        "[::ffff:169.254.169.254]:80",
        "0.0.0.0:80",
        "[::]:80",
        "224.0.0.1:80",
        "-a:80",
        "a..b:80",
        "a\n:80",
        "x" * 254 + ":80",
        "127.0.0.1:7001\n",
    ],
)
def test_anything_else_is_refused_and_named(address: str) -> None:
    with pytest.raises(BadParameter, match=r"^address: "):
        check_admission(AdmitNode("n1", address), loopback=True)


@pytest.mark.parametrize(
    "address", ["127.0.0.1:80", "127.9.9.9:80", "[::1]:80", "localhost:80", "[::ffff:127.0.0.1]:80"]
)
def test_loopback_is_refused_where_the_gateway_is_public(address: str) -> None:
    check_admission(AdmitNode("n1", "10.0.0.7:80"), loopback=False)
    with pytest.raises(BadParameter, match="loopback"):
        check_admission(AdmitNode("n1", address), loopback=False)


@pytest.mark.parametrize("name", ["", "a b", "a/b", "é", "n1\n", "x" * 65])
def test_ids_and_zones_are_short_plain_names(name: str) -> None:
    with pytest.raises(BadParameter, match=r"^id: "):
        check_admission(AdmitNode(name, "127.0.0.1:80"), loopback=True)
    with pytest.raises(BadParameter, match=r"^zone: "):
        check_admission(AdmitNode("n1", "127.0.0.1:80", zone=name), loopback=True)


@pytest.mark.parametrize("weight", [0.0, -1.0, 1000.1, float("nan"), float("inf")])
def test_a_weight_is_a_number_above_zero(weight: float) -> None:
    with pytest.raises(BadParameter, match=r"^weight: "):
        check_admission(AdmitNode("n1", "127.0.0.1:80", weight=weight), loopback=True)
