"""Ids of real gateways: over kill -9 at any moment, and of two gateways on one etcd."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path

import pytest
from etcd.members import Etcd, needs_etcd
from probe.processes import Answer, Cluster, Process, ask, wait_until

from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.gateway.id_source import IdSource

Start = Callable[..., Cluster]
KILLS = 4
DRAWS = 40


def request(url: str, count: int) -> Answer:
    return ask(f"{url}/v1/ids?count={count}", "POST")


def drawn(url: str, count: int) -> list[int]:
    answer = request(url, count)
    assert answer.status == 200, answer.body
    return [int(one) for one in json.loads(answer.body)["ids"]]


class Drawing:
    """Draws ids all the time, and keeps what is answered."""

    def __init__(self) -> None:
        self.ids: list[int] = []
        self._ends = threading.Event()

    def run(self, url: str) -> None:
        while not self._ends.is_set():
            try:
                answer = request(url, 100)
            except (OSError, HTTPException):
                continue
            if answer.status == 200:
                self.ids += [int(one) for one in json.loads(answer.body)["ids"]]

    @contextmanager
    def going_on(self, url: str) -> Iterator[None]:
        thread = threading.Thread(target=self.run, args=(url,))
        thread.start()
        yield
        self._ends.set()
        thread.join()


def test_ids_go_on_rising_over_kills_while_they_are_drawn(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    drawing = Drawing()
    with drawing.going_on(cluster.url):
        for _ in range(KILLS):
            known = len(drawing.ids)
            wait_until(lambda known=known: len(drawing.ids) >= known + 1000)
            cluster.gateway.end(signal.SIGKILL)
            cluster.start_gateway()
        known = len(drawing.ids)
        wait_until(lambda: len(drawing.ids) >= known + 1000)
    assert drawing.ids == sorted(set(drawing.ids))
    assert len({one >> 12 & 1023 for one in drawing.ids}) == KILLS + 1


def test_a_gateway_without_nodes_has_ids_and_ends_in_order(start_cluster: Start) -> None:
    cluster = start_cluster(1)
    assert len(set(drawn(cluster.url, 10_000))) == 10_000
    assert cluster.gateway.end() == 0
    assert not cluster.gateway.complaints


async def test_ids_rise_over_restarts_with_clocks_that_were_set_back(tmp_path: Path) -> None:
    made: list[int] = []
    for worker, now_ms in ((1, 90_000), (2, 99_999), (3, 50_000), (1, 0), (2, 110_000), (2, 0)):
        control = ControlServer(EmbeddedMapStore(tmp_path), ControlSettings())
        await control.start()
        source = IdSource(worker, control.ask, now_ms=lambda now_ms=now_ms: now_ms, timeout_s=10)
        made += [one for _ in range(2) for one in await source.draw(5000)]
        await source.close()
        await control.close()
    assert made == sorted(set(made))


@pytest.fixture
def pair(etcd: Etcd, start_cluster: Start) -> Iterator[list[Process]]:
    """Two gateways on one etcd, without nodes."""
    first = start_cluster(1, KVSTORE_STORE=etcd.url, KVSTORE_REQUEST_TIMEOUT_S="0.5").gateway
    second = Process(
        *("gateway", "--listen", "127.0.0.1:0", "--store", etcd.url, "--with-parent", str(os.getpid())),
        KVSTORE_REQUEST_TIMEOUT_S="0.5",
    ).wait_ready()
    yield [first, second]
    if second.is_running:
        second.end(signal.SIGKILL)


@needs_etcd
def test_two_gateways_never_make_the_same_id_and_each_makes_rising_ones(pair: list[Process]) -> None:
    urls = [f"http://{gateway.address}" for gateway in pair]
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda url: [one for _ in range(DRAWS) for one in drawn(url, 500)], urls))
    assert len({*made[0], *made[1]}) == 2 * DRAWS * 500
    for ids in made:
        assert ids == sorted(ids)


@needs_etcd
def test_an_etcd_that_stands_still_is_outlasted_for_some_seconds_and_then_ids_are_refused(
    pair: list[Process], etcd: Etcd
) -> None:
    url = f"http://{pair[0].address}"
    before = drawn(url, 10)
    etcd.pause()
    before += drawn(url, 10)
    answers: list[Answer] = []

    def is_refused() -> bool:
        answers.append(request(url, 10))
        return answers[-1].status != 200

    wait_until(is_refused)
    assert (answers[-1].status, json.loads(answers[-1].body)["code"]) == (503, "no_leader")
    assert answers[-1].headers["retry-after"]
    etcd.resume()
    wait_until(lambda: request(url, 1).status == 200)
    during = [int(one) for answer in answers[:-1] for one in json.loads(answer.body)["ids"]]
    everything = [*before, *during, *drawn(url, 10)]
    assert everything == sorted(set(everything))
