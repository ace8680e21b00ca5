"""The members' network is their own: what this machine forwards or refuses to has no say in it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from probe.network import Network, why_no_network

LISTEN = "import socket; one = socket.create_server(('', 7000)); print('listens', flush=True); one.accept()"
CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], 7000), timeout=2)"


@pytest.fixture
def network() -> Iterator[Network]:
    """With members `a`, who listens, and `b`."""
    if reason := why_no_network():
        pytest.skip(reason)
    with Network() as made:
        made.add("a")
        made.add("b")
        yield made


@pytest.fixture
def listener(network: Network) -> Iterator[str]:
    """The address of `a`."""
    with subprocess.Popen(
        [*network.enter("a"), sys.executable, "-c", LISTEN], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "listens\n"
        yield network.add("a")
        process.kill()


def reaches(address: str, *enter: str) -> bool:
    return not subprocess.run(
        [*enter, sys.executable, "-c", CONNECT, address], stderr=subprocess.DEVNULL, check=False
    ).returncode


def test_members_reach_each_other_whatever_this_machine_forwards(network: Network, listener: str) -> None:
    # A container daemon that starts beside a test has the frames of every bridge filtered here, and refuses most.
    rule = ("FORWARD", "-d", listener, "-j", "DROP")
    subprocess.run(["iptables", "-w", "-I", *rule], check=True)
    try:
        assert reaches(listener, *network.enter("b"))
    finally:
        subprocess.run(["iptables", "-w", "-D", *rule], check=True)
    own = network.enter("a")[-1].partition("-")[0]
    assert not Path("/sys/class/net", own, "bridge").exists(), "a bridge that this machine may filter"


def test_this_machine_reaches_a_member(network: Network, listener: str) -> None:
    assert reaches(listener)


def test_a_cut_ends_when_it_is_healed(network: Network, listener: str) -> None:
    network.cut("b", "a")
    assert not reaches(listener, *network.enter("b"))
    network.heal()
    assert reaches(listener, *network.enter("b"))


def test_nothing_is_left_behind() -> None:
    if reason := why_no_network():
        pytest.skip(reason)
    with Network() as network:
        network.add("a")
        name = network.enter("a")[-1].partition("-")[0]
        assert name in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert name not in subprocess.run(["ip", "netns", "list"], capture_output=True, text=True, check=True).stdout
    assert not [one for one in os.listdir("/sys/class/net") if one.startswith(name)]
