"""A network of its own for each member of a cluster under test, whose links can be cut and made to lose packets.

Guarantees: each member lives in a network namespace on one bridge, that only this machine reaches, and that has a
namespace of its own, so that no filter of this machine's sees its frames; `heal` takes all harm back; `close` leaves
nothing behind, and the next `Network` takes away what a killed test left. Leaves to others: processes. Needs root, `ip`
and `iptables`; delays need `proxy`, for kernels without netem.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

PREFIX = "kvp"
BRIDGE = "bridge"
TIMEOUT_S = 20
FIRST_HOST = 11


def why_no_network() -> str:
    """Why there can be no namespaces here; empty where there can."""
    if os.geteuid() != 0:
        return "network namespaces need root"
    missing = [program for program in ("ip", "iptables") if shutil.which(program) is None]
    if missing:
        return f"network namespaces need {' and '.join(missing)}"
    name = f"{PREFIX}{os.getpid()}try"
    made = subprocess.run(["ip", "netns", "add", name], capture_output=True, check=False, timeout=TIMEOUT_S)
    if made.returncode:
        return f"no network namespace can be made: {made.stderr.decode().strip()}"
    _run("ip", "netns", "del", name)
    return ""


class Network:
    """Use it as `with Network() as network`; `host` is this process's own address on the members' net."""

    def __init__(self) -> None:
        self._name = f"{PREFIX}{os.getpid()}"
        # A subnet by process, so that tests beside each other do not meet.
        self._subnet = f"10.{200 + os.getpid() // 256 % 50}.{os.getpid() % 256}"
        self.host = f"{self._subnet}.1"
        self._addresses: dict[str, str] = {}
        self._numbers = itertools.count(FIRST_HOST)
        self._is_filtered: set[str] = set()

    def __enter__(self) -> Network:
        _sweep()
        _run("ip", "netns", "add", self._switch)
        try:
            _run("ip", "-n", self._switch, "link", "add", "name", BRIDGE, "type", "bridge")
            _run("ip", "-n", self._switch, "link", "set", BRIDGE, "up")
            self._plug_in(self._name, "host")
            _run("ip", "addr", "add", f"{self.host}/24", "dev", self._name)
            _run("ip", "link", "set", self._name, "up")
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Take everything away; processes in it lose their network."""
        for member in self._addresses:
            _run("ip", "netns", "del", self._namespace(member))
        self._addresses.clear()
        if Path("/sys/class/net", self._name).exists():
            # A namespace takes its end of a link with it, but at some later time: the next network has the same name.
            _run("ip", "link", "del", self._name)
        _run("ip", "netns", "del", self._switch)

    def add(self, member: str) -> str:
        """Give the member a network; returns its address."""
        if member in self._addresses:
            return self._addresses[member]
        number = next(self._numbers)
        namespace, inner = self._namespace(member), f"{self._name}i{number}"
        _run("ip", "netns", "add", namespace)
        self._addresses[member] = address = f"{self._subnet}.{number}"
        self._plug_in(inner, str(number))
        _run("ip", "link", "set", inner, "netns", namespace)
        _run("ip", "-n", namespace, "addr", "add", f"{address}/24", "dev", inner)
        _run("ip", "-n", namespace, "link", "set", inner, "up")
        _run("ip", "-n", namespace, "link", "set", "lo", "up")
        return address

    def _plug_in(self, link: str, port: str) -> None:
        """Make a link to the bridge, where its end is the port of that name."""
        _run("ip", "link", "add", link, "type", "veth", "peer", "name", port, "netns", self._switch)
        _run("ip", "-n", self._switch, "link", "set", port, "master", BRIDGE, "up")

    def enter(self, member: str) -> tuple[str, ...]:
        """What to put before a command that is to run as this member."""
        return ("ip", "netns", "exec", self._namespace(member))

    # ---- harm ---------------------------------------------------------------------------------------------------

    def cut(self, source: str, target: str) -> None:
        """Drop every packet from one member to another; the way back stays open."""
        self._filter(target, "-s", self._addresses[source])

    def cut_from_ports(self, ports: Sequence[int], member: str) -> None:
        """Drop every packet from these ports of this process's own host to the member."""
        self._filter(member, "-s", self.host, "-p", "tcp", "-m", "multiport", "--sports", ",".join(map(str, ports)))

    def isolate(self, member: str) -> None:
        """Drop every packet to and from the member, those of its own host aside."""
        self._filter(member, "!", "-i", "lo")
        self._filter(member, "!", "-o", "lo", chain="OUTPUT")

    def lose(self, member: str, share: float) -> None:
        """Drop that share of the packets that reach the member."""
        self._filter(member, "!", "-i", "lo", "-m", "statistic", "--mode", "random", "--probability", f"{share:.3f}")

    def heal(self) -> None:
        """Do no more harm."""
        for member in self._is_filtered:
            _run(*self.enter(member), "iptables", "-w", "-F")
        self._is_filtered.clear()

    def _filter(self, member: str, *rule: str, chain: str = "INPUT") -> None:
        self._is_filtered.add(member)
        _run(*self.enter(member), "iptables", "-w", "-A", chain, *rule, "-j", "DROP")

    def _namespace(self, member: str) -> str:
        return f"{self._name}-{member}"

    @property
    def _switch(self) -> str:
        """The namespace of the bridge."""
        return f"{self._name}+switch"


def _sweep() -> None:
    """Take away the networks of tests that are dead."""
    names = _run("ip", "netns", "list").split("\n") + os.listdir("/sys/class/net")
    for name in {line.split()[0] for line in names if line.startswith(PREFIX)}:
        owner = "".join(itertools.takewhile(str.isdigit, name[len(PREFIX) :]))
        if owner and not Path(f"/proc/{owner}").exists():
            kind = ("link",) if Path(f"/sys/class/net/{name}").exists() else ("netns",)
            subprocess.run(["ip", *kind, "del", name], capture_output=True, check=False, timeout=TIMEOUT_S)


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=TIMEOUT_S)
    assert done.returncode == 0, f"{' '.join(command)}: {done.stderr}"
    return done.stdout
