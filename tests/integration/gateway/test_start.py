"""Starting a gateway process: what an operator may get wrong, and how it ends."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from cluster.gateway.app import run, serve_gateway
from cluster.gateway.settings import GatewaySettings
from kvstore.errors import OperatorError


@pytest.mark.parametrize(
    ("settings", "word"),
    [
        ({"listen": "0.0.0.0:0"}, "loopback"),
        ({"listen": "[::]:0"}, "loopback"),
        ({"listen": "example.org:0"}, "loopback"),
        ({"listen": "nonsense"}, "HOST:PORT"),
        ({"listen": "127.0.0.1:99999"}, "HOST:PORT"),
        ({"listen": "nonsense", "workers": 2}, "HOST:PORT"),
        ({"data": Path("/proc/nothing/here"), "workers": 2}, "data directory"),
        ({"store": "etcd://127.0.0.1:1"}, "the map store does not answer"),
        ({"data": Path("/proc/nothing/here")}, "data directory"),
    ],
)
async def test_a_mistake_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: dict[str, Any], word: str
) -> None:
    monkeypatch.setattr("cluster.control.server.START_S_MAX", 0.0)
    given = GatewaySettings(**{"listen": "127.0.0.1:0", "data": tmp_path, **settings})
    with pytest.raises(OperatorError, match=word) as caught:
        await serve_gateway(given, asyncio.Event())
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("workers", [1, 2])
async def test_an_address_in_use_is_told(tmp_path: Path, taken_address: str, workers: int) -> None:
    with pytest.raises(OperatorError, match=f"cannot listen on {taken_address}: .*in use"):
        await serve_gateway(GatewaySettings(listen=taken_address, data=tmp_path, workers=workers), asyncio.Event())


@pytest.mark.parametrize("workers", [1, 2])
async def test_a_gateway_says_where_it_listens_and_stops_when_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], workers: int
) -> None:
    stop = asyncio.Event()
    settings = GatewaySettings(listen="127.0.0.1:0", data=tmp_path, workers=workers)
    serving = asyncio.create_task(serve_gateway(settings, stop))
    async with asyncio.timeout(30):
        while not (said := capsys.readouterr().out):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    port = int(said.removeprefix("ready http://127.0.0.1:"))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /readyz HTTP/1.1\r\nHost: t\r\n\r\n")
    assert await reader.readline() == b"HTTP/1.1 503 Service Unavailable\r\n"
    stop.set()
    await asyncio.wait_for(serving, 10)
    writer.close()
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)


@pytest.fixture
def own_log() -> Iterator[None]:
    """Undoes what a process does to its log."""
    yield
    structlog.reset_defaults()


@pytest.mark.usefixtures("own_log")
def test_a_mistake_ends_the_process_with_a_line_and_a_code(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(GatewaySettings(listen="nonsense", data=tmp_path)) == 1
    assert capsys.readouterr().err == "kvstore: listen: 'nonsense' is not HOST:PORT\n"


@pytest.mark.usefixtures("own_log")
@pytest.mark.parametrize(
    ("end", "code", "told"),
    [
        ("sys.exit(3)", 3, ""),
        ("sys.exit(0)", 1, "kvstore: worker 1 ended with exit code 0 before it was ready\n"),
        ("os.kill(os.getpid(), 9)", 1, "kvstore: worker 1 was ended by SIGKILL before it was ready\n"),
    ],
)
def test_a_worker_that_cannot_start_ends_the_gateway_and_the_reason_is_told_once(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    end: str,
    code: int,
    told: str,
) -> None:
    def command_of(*arguments: str) -> list[str]:
        is_first = arguments[arguments.index("--name") + 1] == "1"
        return [sys.executable, "-c", f"import os, sys, time; {end if is_first else 'time.sleep(60)'}"]

    monkeypatch.setattr("cluster.gateway.supervise.command_of", command_of)
    assert run(GatewaySettings(listen="127.0.0.1:0", data=tmp_path, workers=2)) == code
    assert capsys.readouterr() == ("", told)


@pytest.mark.parametrize(
    "wrong",
    [
        {"min_in_sync": 3},
        {"in_flight_bytes_max": 4 * 1024**2, "workers": 5},
        {"partitions": 0},
        {"max_value_bytes": 17 * 1024**2},
        {"store": "http://a:1"},
        {"data": None},
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=next(iter(wrong))):
        GatewaySettings(**{"data": tmp_path, **wrong})


def test_workers_share_what_bounds_memory(tmp_path: Path) -> None:
    settings = GatewaySettings(data=tmp_path, workers=4, in_flight_bytes_max=10 * 1024**2, connections_max=7)
    of_worker = settings.of_worker()
    assert (of_worker.workers, of_worker.in_flight_bytes_max, of_worker.connections_max) == (1, 2621440, 7)
