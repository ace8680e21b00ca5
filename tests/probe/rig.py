"""A cluster to be harmed: nodes and gateways as processes, on loopback, behind proxies, or in networks of their own.

Guarantees: a member is started again under the name and data that it had; whatever is left at `close` is killed.
Leaves to others: harm (`nemeses`), load (`workloads`).
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import random
import shutil
import signal
import urllib.error
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from etcd.members import ETCD, Etcd
from probe.keyspace import KEYSPACES, RESHAPING, Keyspace, pids_of
from probe.network import Network
from probe.processes import Process, ask
from probe.proxy import Proxy

LOOPBACK = "127.0.0.1"
READY_S_MAX = 60.0
ACCOUNT_LINES = 40
POLL_S = 0.1
ADMIN_S = 5.0
JSON = {"Content-Type": "application/json"}


@dataclass(frozen=True, slots=True)
class Layout:
    """`gateways` above one share an etcd of three members; `links` says what is between the processes: `loopback`,
    `proxies` (to delay and hold) or `network` (to cut and lose). A gateway has one worker, or KVSTORE_WORKERS.
    `keyspaces` are made beside the default one (`KEYSPACES`); `zones` are those of the first nodes, in order."""

    gateways: int = 1
    links: str = "loopback"
    nodes: int = 3
    partitions: int = 16
    workers: int = field(default_factory=lambda: int(os.environ.get("KVSTORE_WORKERS", "1")))
    keyspaces: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()

    def __str__(self) -> str:
        store = "an embedded map" if self.gateways == 1 else "etcd of three"
        workers = "" if self.workers == 1 else f" of {self.workers} workers"
        keyspaces = "".join(f", keyspace {name}" for name in self.keyspaces)
        return f"{self.nodes} nodes, {self.gateways} gateways{workers} on {store}, {self.links}{keyspaces}"


def why_not(layout: Layout) -> str:
    """What is missing on this machine for the layout; empty where nothing is."""
    if layout.gateways > 1 and ETCD is None:
        return "etcd is not installed: apt-get install etcd-server"
    return ""


class Rig:
    """Use it as `async with Rig(data, layout, network, rng) as rig`; it is ready then."""

    def __init__(
        self, data: Path, layout: Layout, network: Network | None, rng: random.Random, **settings: str
    ) -> None:
        self.data = data
        self.layout = layout
        self.network = network
        self.names = [f"n{number}" for number in range(1, layout.nodes + 1)]
        self.gateway_names = [f"g{number}" for number in range(1, layout.gateways + 1)]
        self.nodes: dict[str, Process] = {}
        self.gateways: dict[str, Process] = {}
        self.proxies: dict[str, Proxy] = {}
        self.etcd: Etcd | None = None
        self.leaving: set[str] = set()
        # Members have come or gone since copies were last at rest: some will move, though perhaps none does yet.
        self.has_changed = False
        self.tenant_moves = 0
        self._seized: set[str] = set()
        self._rng = rng
        self._ports = dict.fromkeys(self.gateway_names, 0)
        reshaping = RESHAPING if layout.keyspaces else {}
        self._settings = {"KVSTORE_PARTITIONS": str(layout.partitions), **reshaping, **settings}

    async def __aenter__(self) -> Rig:
        try:
            await self.begin()
            for name in self.names:
                await self.start_node(name)
            await self.wait_ready()
            for name in self.layout.keyspaces:
                await self.make_keyspace(KEYSPACES[name])
            await self.wait_ready()
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def begin(self) -> None:
        """Start all but the nodes."""
        if self.layout.gateways > 1:
            host = LOOPBACK if self.network is None else self.network.host
            self.etcd = await asyncio.to_thread(Etcd, self.data / "etcd", 3, host)
        for name in self.gateway_names:
            self.start_gateway(name)
            await self.wait_started(name)
            self._ports[name] = int(self.gateways[name].address.rpartition(":")[2])

    async def close(self) -> None:
        """Kill what still runs."""
        for process in (*self.gateways.values(), *self.nodes.values()):
            if process.is_running:
                process.end(signal.SIGKILL)
        for proxy in self.proxies.values():
            await proxy.close()
        if self.etcd is not None:
            self.etcd.close()

    # ---- members ------------------------------------------------------------------------------------------------

    @property
    def urls(self) -> list[str]:
        """Of all gateways, in order; they stay."""
        return [f"http://{self._host(name)}:{self._ports[name]}" for name in self.gateway_names]

    def start_gateway(self, name: str, **settings: str) -> None:
        """Start it, at the port that it had; returns before it listens."""
        place = ("--data", str(self.data / name)) if self.etcd is None else ("--store", self.etcd.url)
        self.gateways[name] = Process(
            *("gateway", "--listen", f"{self._host(name)}:{self._ports[name]}", *place),
            *("--initial-nodes", str(self.layout.nodes), "--with-parent", str(os.getpid()), *self._bind()),
            *("--workers", str(self.layout.workers)),
            before=self._enter(name),
            **{**self._settings, **settings},
        )

    async def start_node(self, name: str, **settings: str) -> None:
        """Start it; returns before it is admitted, which may need others that are down."""
        proxy = await self._proxy(name)
        self.nodes[name] = node = Process(
            *("node", "--id", name, "--listen", f"{self._host(name)}:0", "--data", str(self.data / name)),
            *("--gateway", ",".join(self.urls), "--with-parent", str(os.getpid()), *self._bind()),
            *(() if proxy is None else ("--advertise", proxy.address)),
            *self._zone(name),
            before=self._enter(name),
            **{**self._settings, **settings},
        )
        if proxy is not None:
            await proxy.forward_to(node.pid)

    async def wait_started(self, name: str) -> None:
        """Wait until a gateway listens, or a node is admitted."""
        await asyncio.to_thread(self._process(name).wait_ready)

    async def kill(self, name: str) -> None:
        """kill -9 of a node or a gateway, if it runs."""
        process = self._process(name)
        if process.is_running:
            await asyncio.to_thread(process.end, signal.SIGKILL)

    async def add_node(self) -> str:
        """Start one more node, with an empty disk, and wait until it is admitted; returns its name, perhaps that of one
        that was removed."""
        name = next(name for name in (f"n{number}" for number in itertools.count(1)) if name not in self.names)
        self.names.append(name)
        self.has_changed = True
        await self.start_node(name)
        await self.wait_started(name)
        return name

    async def remove(self, name: str) -> None:
        """Ask for a node to be drained and removed, until a gateway has taken that; its process then ends by itself."""
        deadline = asyncio.get_running_loop().time() + READY_S_MAX
        while True:
            for url in self.urls:
                with contextlib.suppress(OSError):
                    answer = await asyncio.to_thread(ask, f"{url}/v1/cluster/nodes/{name}", "DELETE", timeout_s=ADMIN_S)
                    if answer.status in (202, 404):
                        self.leaving.add(name)
                        self.has_changed = True
                        return
            assert asyncio.get_running_loop().time() < deadline, f"{name} cannot be removed"
            await asyncio.sleep(POLL_S)

    def forget_removed(self, members: Iterable[str]) -> bool:
        """Take nodes that are removed, and whose processes have ended, for gone, with their disks; returns whether that
        is all of those that are leaving. Those killed before their end are still to end by themselves.

        Args:
            members: who is a member of the cluster now.
        """
        for name in sorted(self.leaving - set(members)):
            process = self.nodes[name]
            if process.is_running:
                continue
            assert process.wait() == 0, f"{name} was removed and ended otherwise: {process.err[-5:]}"
            del self.nodes[name]
            self.names.remove(name)
            self.leaving.discard(name)
            self.wipe(name)
        return not self.leaving

    async def start(self, name: str) -> None:
        """Start a node or a gateway, if it is down and was not removed; a gateway at the port that it had."""
        process = self._process(name)
        if process.is_running or (name in self.leaving and process.wait() == 0):
            return
        if name in self.names:
            await self.start_node(name)
        else:
            self.start_gateway(name)

    async def stop(self, name: str) -> None:
        """Stop a node or a gateway in order, if it runs."""
        process = self._process(name)
        if process.is_running:
            code = await asyncio.to_thread(process.end)
            assert code == 0, f"{name} stopped with {code}: {process.err[-5:]}"

    def check_running(self) -> None:
        """Raises where a process ended by itself."""
        for name, process in (*self.nodes.items(), *self.gateways.items()):
            assert name in self.leaving or process.is_running, f"{name} ended by itself: {process.err[-5:]}"

    def _process(self, name: str) -> Process:
        return self.nodes.get(name) or self.gateways[name]

    def seize(self, name: str) -> str:
        """Make a node the victim of one nemesis at a time: that one, or another where it is taken already."""
        free = [one for one in self.names if one not in self._seized] or self.names
        victim = name if name in free else self._rng.choice(free)
        self._seized.add(victim)
        return victim

    def release(self, names: Iterable[str]) -> None:
        """These are no victims any more."""
        self._seized.difference_update(names)

    def wipe(self, name: str) -> None:
        """Destroy the disk of a node or a gateway that is down."""
        shutil.rmtree(self.data / name)

    def _zone(self, name: str) -> tuple[str, ...]:
        zones = dict(zip((f"n{number}" for number in itertools.count(1)), self.layout.zones, strict=False))
        return ("--zone", zones[name]) if name in zones else ()

    def _host(self, name: str) -> str:
        return LOOPBACK if self.network is None else self.network.add(name)

    def _enter(self, name: str) -> tuple[str, ...]:
        return () if self.network is None else self.network.enter(name)

    def _bind(self) -> tuple[str, ...]:
        return () if self.network is None else ("--insecure-bind",)

    async def _proxy(self, name: str) -> Proxy | None:
        if self.layout.links != "proxies":
            return None
        if name not in self.proxies:
            self.proxies[name] = await Proxy(self._rng).listen()
        return self.proxies[name]

    # ---- state --------------------------------------------------------------------------------------------------

    async def status(self) -> dict[str, Any] | None:
        """`GET /v1/cluster` of the first gateway that answers, None where none does."""
        return await self._ask_any("/v1/cluster")

    async def prepared(self) -> dict[str, Any] | None:
        """`GET /v1/cluster/transactions`, alike."""
        return await self._ask_any("/v1/cluster/transactions")

    async def rebalance(self) -> dict[str, Any] | None:
        """`GET /v1/cluster/rebalance`, alike."""
        return await self._ask_any("/v1/cluster/rebalance")

    async def _ask_any(self, path: str) -> dict[str, Any] | None:
        for url in self.urls:
            try:
                answer = await asyncio.to_thread(ask, url + path, "GET", timeout_s=2.0)
            except (urllib.error.URLError, OSError):
                continue
            if answer.status == 200:
                document: dict[str, Any] = json.loads(answer.body)
                return document
        return None

    async def account(self) -> str:
        """What each gateway answers of being ready, and the last lines that every process said."""
        told = [f"{url}: {await asyncio.to_thread(_readiness, url)}" for url in self.urls]
        for name, process in (*self.gateways.items(), *self.nodes.items()):
            told += [f"--- {name}", *process.err[-ACCOUNT_LINES:]]
        return "\n".join(told)

    # ---- keyspaces ----------------------------------------------------------------------------------------------

    async def make_keyspace(self, keyspace: Keyspace) -> None:
        """Make it, and wait until every gateway knows it."""
        deadline = asyncio.get_running_loop().time() + READY_S_MAX
        body = json.dumps(dict(keyspace.document)).encode()
        paths = [f"{url}/v1/keyspaces/{keyspace.name}" for url in self.urls]
        for method, url in (("PUT", paths[0]), *(("GET", url) for url in paths)):
            while True:
                answer = await asyncio.to_thread(ask, url, method, body if method == "PUT" else None, JSON)
                if answer.status in (200, 201):
                    break
                may_come = answer.status in (404, 503) and asyncio.get_running_loop().time() < deadline
                assert may_come, f"{method} {url}: {answer.status} {answer.body!r}"
                await asyncio.sleep(POLL_S)

    async def delete_keyspace(self, name: str) -> None:
        """Delete it with all that is in it, and wait until no gateway knows it."""
        deadline = asyncio.get_running_loop().time() + READY_S_MAX
        for url in self.urls:
            target = f"{url}/v1/keyspaces/{name}?confirm={name}"
            while (answer := await asyncio.to_thread(ask, target, "DELETE")).status != 404:
                may_come = answer.status in (204, 503) and asyncio.get_running_loop().time() < deadline
                assert may_come, f"{name} cannot be deleted: {answer.status} {answer.body!r}"
                await asyncio.sleep(POLL_S)

    async def keyspace(self, name: str) -> dict[str, Any] | None:
        """`GET /v1/keyspaces/NAME` of the first gateway that answers, None where none does."""
        return await self._ask_any(f"/v1/keyspaces/{name}")

    async def partition_of(self, keyspace: str, key: str) -> int | None:
        """The partition of a key as the first gateway that answers says; None where none does, or none has it."""
        found = await self._ask_any(f"/v1/keyspaces/{keyspace}/locate/{key}")
        return None if found is None else found["partition"]

    async def partition_of_tenant(self, keyspace: str, tenant: str) -> int | None:
        """The partition of a tenant's keys, as control says; None where it does not, or the tenant has none."""
        found = await self._ask_any(f"/v1/keyspaces/{keyspace}/directory/{tenant}")
        return None if found is None else found["partition"]

    async def begin_tenant_move(self, keyspace: str, tenant: str) -> int | None:
        """Have a tenant moved to another partition, by the first gateway that answers; the partition, None where that
        was not taken."""
        found = await self.keyspace(keyspace)
        source = await self.partition_of_tenant(keyspace, tenant)
        others = [pid for pid in (pids_of(found) if found else ()) if pid != source]
        if source is None or not others:
            return None
        target = self._rng.choice(others)
        body = json.dumps({"partition": target}).encode()
        for url in self.urls:
            with contextlib.suppress(OSError):
                path = f"{url}/v1/keyspaces/{keyspace}/directory/{tenant}"
                answer = await asyncio.to_thread(ask, path, "PUT", body, JSON, timeout_s=ADMIN_S)
                return target if answer.status in (200, 202) else None
        return None

    # ---- who leads ----------------------------------------------------------------------------------------------

    async def leader(self) -> str:
        """The node that leads most."""
        status = await self.status()
        leads = {node["id"]: node["leads"] for node in status["nodes"]} if status else {}
        return max(self.names, key=lambda name: leads.get(name, 0))

    async def follower(self) -> str:
        """A node that does not lead most."""
        leader = await self.leader()
        return self._rng.choice([name for name in self.names if name != leader])

    async def wait_ready(self) -> None:
        """Wait until every gateway has a leader for every partition."""
        deadline = asyncio.get_running_loop().time() + READY_S_MAX
        for url in self.urls:
            while not await asyncio.to_thread(_is_ready, url):
                self.check_running()
                assert asyncio.get_running_loop().time() < deadline, "partitions stay without a leader"
                await asyncio.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    return _readiness(url).startswith("200")


def _readiness(url: str) -> str:
    try:
        answer = ask(f"{url}/readyz", "GET", timeout_s=2.0)
    except (urllib.error.URLError, OSError) as error:
        return str(error)
    return f"{answer.status} {answer.body.decode()}"
