"""The dashboard: what a browser makes of it, and what it lets a browser do."""

from __future__ import annotations

import asyncio
import re
import shutil
from pathlib import Path
from typing import Any

import pytest
from integration.gateway.conftest import Gateway

from cluster.control.messages import ClusterView, MoveView, NodeView, PartitionView
from kvstore.errors import ShuttingDown

CHROMIUM = shutil.which("chromium")
needs_chromium = pytest.mark.skipif(CHROMIUM is None, reason="chromium is not installed: apt-get install chromium")
BROWSER_S_MAX = 60
NAME = "<b>n3</b>"
VIEW = ClusterView(
    "unavailable",
    1234,
    (
        NodeView("n1", "10.0.0.1:7", "east", 1.0, "up", 2, 0, 12345, 3 << 20),
        NodeView("n2", "10.0.0.2:7", "east", 2.0, "draining", 0, 1, 0, 0),
        NodeView(NAME, "10.0.0.3:7", "west", 1.0, "down", 0, 1, 1, 1023),
    ),
    (
        PartitionView(1, "default", 3, "n1", ("n1", "n2"), ("n1", "n2")),
        PartitionView(2, "default", 1, "n1", ("n1",), ("n1", NAME)),
        PartitionView(3, "shop", 1, None, (), (NAME,)),
    ),
    (MoveView(7, 1, "n2", NAME, "backfill", 1, 2, 30, 120, 10, 8.2),),
)


async def seen(gateway: Gateway, folder: Path) -> str:
    """The page as a browser has it after a moment: the text, each run of it between two tags on a line."""
    assert CHROMIUM is not None
    options = ["--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}", "--virtual-time-budget=1500"]
    browser = await asyncio.create_subprocess_exec(
        *(CHROMIUM, *options, "--dump-dom", f"http://127.0.0.1:{gateway.port}/"),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.DEVNULL,
    )
    async with asyncio.timeout(BROWSER_S_MAX):
        page, _ = await browser.communicate()
    text = re.sub(r"<(script|style)>.*?</\1>|<!--.*?-->", "", page.decode(), flags=re.DOTALL)
    return re.sub(r"\s*(<[^>]*>\s*)+", "\n", text)


@needs_chromium
async def test_it_shows_nodes_partitions_and_moves(gateway: Gateway, tmp_path: Path) -> None:
    gateway.control.view = VIEW
    text = await seen(gateway, tmp_path)
    assert "\nunavailable\nmap version 1,234, seen at " in text
    assert "\nn1\nup\neast\n10.0.0.1:7\n1\n2\n0\n12,345\n3.0 MiB\nn2\ndraining\n" in text
    assert "\n&lt;b&gt;n3&lt;/b&gt;\ndown\nwest\n10.0.0.3:7\n1\n0\n1\n1\n1023 B\n" in text
    assert "\nKeyspace default: 2 partitions, 1 with copies that are behind\n1\nn1\n2\nn1\n" in text
    assert "\nKeyspace shop: 1 partitions, 1 without leader\n3\nno leader\n" in text
    assert "\n7\n1\nn2\n&lt;b&gt;n3&lt;/b&gt;\nbackfill\n25 %\n9 s\n" in text
    assert "no answer" not in text


@needs_chromium
async def test_it_says_so_where_the_gateway_does_not_answer(
    gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(_request: Any) -> Any:
        raise ShuttingDown("stopping")

    monkeypatch.setattr(gateway.control, "ask", refuse)
    assert "\nno answer from the gateway (503 Service Unavailable)\n" in await seen(gateway, tmp_path)


async def test_it_lets_a_browser_run_itself_alone_and_ask_this_gateway_alone(gateway: Gateway) -> None:
    answer = await gateway.ask("GET", "/")
    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    policy = dict(part.split(" ", 1) for part in answer.headers["content-security-policy"].split("; "))
    assert (policy["default-src"], policy["connect-src"]) == ("'none'", "'self'")
    assert policy["script-src"].startswith("'sha256-")
    assert not re.search(rb"https?://(?!HOST)", answer.body)


async def test_its_first_lines_tell_who_reads_it_with_curl_where_to_go_on(gateway: Gateway) -> None:
    first = (await gateway.ask("GET", "/")).body.split(b"-->")[0]
    assert b"curl http://HOST/v1/kv/" in first
    assert b"/openapi.yaml" in first
