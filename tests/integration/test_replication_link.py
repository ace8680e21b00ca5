"""Links between nodes that are cut, slow, held and damaged while clients write: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field

import pytest
import pytest_asyncio
from probe.copies import compare_copies
from probe.ledger import Ledger, Stored
from probe.processes import Cluster, wait_until
from probe.proxy import Proxy

from kvstore.client import Client
from kvstore.errors import KeyNotFound, KvError

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = ("n1", "n2")
WRITERS = 6
KEYS_EACH = 20
DELETE_CHANCE = 0.1
CALM_S = 0.4
REQUEST_TIMEOUT_S = 0.5
HEAL_S_MAX = 15.0


@dataclass
class Linked:
    """A cluster whose nodes reach each other through proxies."""

    cluster: Cluster
    proxies: list[Proxy]
    ledgers: list[Ledger] = field(default_factory=lambda: [Ledger() for _ in range(WRITERS)])

    @property
    def acknowledged(self) -> int:
        return sum(ledger.acknowledged for ledger in self.ledgers)

    async def write_through(self, client: Client, harm: Callable[[Proxy], None], seconds: float) -> None:
        """Write for a while, do harm for `seconds`, heal, write for a while."""
        before = self.acknowledged
        stop = asyncio.Event()
        writers = [asyncio.create_task(self._write(client, number, stop)) for number in range(WRITERS)]
        await asyncio.sleep(CALM_S)
        await asyncio.to_thread(wait_until, lambda: self.acknowledged > before, HEAL_S_MAX)
        for proxy in self.proxies:
            harm(proxy)
        await asyncio.sleep(seconds)
        for proxy in self.proxies:
            proxy.heal()
        harmed = self.acknowledged
        await asyncio.to_thread(wait_until, lambda: self.acknowledged >= harmed + WRITERS * KEYS_EACH, HEAL_S_MAX)
        stop.set()
        await asyncio.gather(*writers)

    async def _write(self, client: Client, number: int, stop: asyncio.Event) -> None:
        """Ends between two requests: one that is given up half-way could still happen after `check` read its key."""
        ledger, rng = self.ledgers[number], random.Random(number)
        while not stop.is_set():
            key = f"w{number}/{rng.randrange(KEYS_EACH)}"
            value = None if rng.random() < DELETE_CHANCE else rng.randbytes(8) * rng.choice((4, 20, 2000))
            asked = ledger.ask(key, value)
            try:
                if value is None:
                    await client.delete(key)
                else:
                    await client.put(key, value)
            except KvError as error:
                if error.definite:
                    ledger.refuse(key, asked)
            else:
                ledger.done(key, asked)

    async def check(self, client: Client) -> None:
        """Every key reads as its client was told, and copies are equal."""
        found: dict[str, Stored] = {}
        for ledger in self.ledgers:
            for key in ledger:
                try:
                    found[key] = (await client.get(key)).data
                except KeyNotFound:
                    found[key] = None
        for ledger in self.ledgers:
            ledger.check(found)
        recount = await compare_copies(await client.status(), self.proxies[0].cluster_id)
        live = sum(len(ledger.live()) for ledger in self.ledgers)
        assert recount == dict.fromkeys(NODES, live)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def linked(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Linked]:
    """One cluster, on which every test goes on with the keys of the one before."""
    settings = {"KVSTORE_PARTITIONS": "4", "KVSTORE_REQUEST_TIMEOUT_S": str(REQUEST_TIMEOUT_S)}
    cluster = Cluster(tmp_path_factory.mktemp("linked"), len(NODES), **settings)
    rng = random.Random(1)
    proxies = [await Proxy(rng).listen() for _ in NODES]
    try:
        for name, proxy in zip(NODES, proxies, strict=True):
            process = cluster.start_node(name, KVSTORE_ADVERTISE=proxy.address)
            await proxy.forward_to(process.pid)
        await asyncio.to_thread(cluster.wait_ready)
        yield Linked(cluster, proxies)
    finally:
        cluster.close()
        for proxy in proxies:
            await proxy.close()


def slow(proxy: Proxy) -> None:
    proxy.delay_s = 0.05


def damage(proxy: Proxy) -> None:
    proxy.flip_chance = 0.2


@pytest.mark.parametrize(
    ("harm", "seconds", "count"),
    [
        (Proxy.cut, 0.3, "cuts"),
        (Proxy.cut, 2.5, "cuts"),
        (Proxy.hold, 2.5, "held"),
        (slow, 1.5, "slowed"),
        (damage, 3.0, "flips"),
    ],
)
async def test_nothing_acknowledged_is_lost(
    linked: Linked, harm: Callable[[Proxy], None], seconds: float, count: str
) -> None:
    async with Client(linked.cluster.url, timeout_s=REQUEST_TIMEOUT_S * 4) as client:
        await linked.write_through(client, harm, seconds)
        assert all(getattr(proxy, count) for proxy in linked.proxies)
        await linked.check(client)
    for node in linked.cluster.nodes.values():
        assert node.is_running
        assert node.complaints == []
        assert not [line for line in node.err if '"alarm"' in line]


async def test_a_link_that_is_down_costs_a_copy_and_no_write(linked: Linked) -> None:
    async with Client(linked.cluster.url, timeout_s=REQUEST_TIMEOUT_S * 4) as client:
        key = "told"
        await client.put(key, b"before")
        for proxy in linked.proxies:
            proxy.cut()
        copies = 0
        while copies != 1:
            answer = await asyncio.to_thread(linked.cluster.ask, "PUT", f"/v1/kv/{key}", b"during")
            assert answer.status in (204, 503, 504), answer.body
            copies = int(answer.headers.get("x-kv-copies", "0"))
        assert (await client.get(key)).data == b"during"
        for proxy in linked.proxies:
            proxy.heal()
        await asyncio.to_thread(wait_until, lambda: linked.cluster.status()["state"] == "healthy")
        assert (await client.put(key, b"after")).copies == len(NODES)
        assert (await client.get(key)).data == b"after"
        await client.delete(key)


async def test_a_digest_covers_what_was_acknowledged_a_moment_ago(linked: Linked) -> None:
    async with Client(linked.cluster.url, timeout_s=REQUEST_TIMEOUT_S * 4) as client:
        before = await compare_copies(await client.status(), linked.proxies[0].cluster_id)
        for number in range(1, 6):
            await client.put(f"digest/{number}", b"v")
            counts = await compare_copies(await client.status(), linked.proxies[0].cluster_id)
            assert counts == {node: keys + number for node, keys in before.items()}
        for number in range(1, 6):
            await client.delete(f"digest/{number}")
