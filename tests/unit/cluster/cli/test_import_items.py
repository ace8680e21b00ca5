"""`import FILE`: what is sent, what is said of it, and that a bad line is shown with its text."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from aiohttp import web
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli import import_items
from cluster.cli.import_items import SentLines
from cluster.cli.main import run

ENDED_WITHIN_S = 10


class Gateway:
    """Keeps the body of an import, or with `is_hasty` the beginning of it, and answers as it is told."""

    def __init__(self) -> None:
        self.url = ""
        self.body = b""
        self.content_type = ""
        self.is_hasty = False
        self.answer: tuple[int, dict[str, object]] = (200, {"imported": 3})

    async def handle(self, request: web.BaseRequest) -> web.Response:
        assert (request.method, request.path) == ("POST", "/v1/import")
        self.content_type = request.content_type
        self.body = await (request.content.readany() if self.is_hasty else request.read())
        status, document = self.answer
        return web.Response(status=status, body=json.dumps(document))

    async def run(self, *arguments: str) -> int:
        return await asyncio.to_thread(run, ["import", *arguments, "--gateway", self.url])


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    made = Gateway()
    runner = web.ServerRunner(web.Server(made.handle))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    made.url = "http://{}:{}".format(*runner.addresses[0][:2])
    yield made
    await runner.cleanup()


async def test_a_file_is_sent_as_it_is_and_counted(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    body = b'{"key":"a","value":"1"}\n' * 10_000
    (tmp_path / "items").write_bytes(body)
    assert await gateway.run(str(tmp_path / "items")) == 0
    assert (gateway.body, gateway.content_type) == (body, "application/x-ndjson")
    assert capsys.readouterr().out == "imported 3 records\n"


async def test_the_suffix_says_messagepack(gateway: Gateway, tmp_path: Path) -> None:
    (tmp_path / "items.msgpack").write_bytes(b"\x80")
    assert await gateway.run(str(tmp_path / "items.msgpack")) == 0
    assert (gateway.body, gateway.content_type) == (b"\x80", "application/msgpack")


async def test_a_dash_is_standard_input(gateway: Gateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "items").write_bytes(b"one\ntwo")
    with (tmp_path / "items").open() as standard_input:
        monkeypatch.setattr("sys.stdin", standard_input)
        assert await gateway.run("-") == 0
    assert gateway.body == b"one\ntwo"


@pytest.mark.parametrize("source", ["-", "/dev/stdin"])
async def test_a_refusal_ends_the_process_though_its_source_is_silent_and_open(gateway: Gateway, source: str) -> None:
    gateway.is_hasty = True
    gateway.answer = (400, {"status": 400, "code": "bad_body", "detail": "so it is", "imported": 0, "line": 1})
    items, producer = os.pipe()
    os.write(producer, b"first\n")
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "cluster.cli.main", "import", source, "--gateway", gateway.url),
        stdin=items,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        counted, told = await asyncio.wait_for(process.communicate(), ENDED_WITHIN_S)
    finally:
        os.close(items)
        os.close(producer)
        await process.wait()
    named = "standard input" if source == "-" else source
    assert (process.returncode, counted) == (2, b"imported 0 records\n")
    assert told.decode() == f"kvstore: {named}, line 1: so it is: first\n"


@pytest.mark.parametrize(
    ("status", "code", "exit_code"),
    [
        (400, "bad_body", 2),
        (503, "no_leader", 3),
        (507, "storage_full", 3),
        (504, "outcome_unknown", 4),
    ],
)
async def test_an_import_that_ended_early_names_the_line_and_its_text(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str], status: int, code: str, exit_code: int
) -> None:
    (tmp_path / "items").write_bytes(b"first\nsec\x1bond\nthird\n")
    gateway.answer = (status, {"status": status, "code": code, "detail": "so it is", "imported": 1, "line": 2})
    assert await gateway.run(str(tmp_path / "items")) == exit_code
    shown = capsys.readouterr()
    assert shown.out == "imported 1 records\n"
    assert shown.err == f"kvstore: {tmp_path / 'items'}, line 2: so it is: sec\ufffdond\n"


async def test_a_refusal_without_a_line_is_told_as_it_is(
    gateway: Gateway, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "items").write_bytes(b"first\n")
    gateway.answer = (415, {"status": 415, "code": "unsupported_media_type", "detail": "so it is"})
    assert await gateway.run(str(tmp_path / "items")) == 2
    assert capsys.readouterr().err == "kvstore: so it is\n"


async def test_a_gateway_that_is_not_there_is_code_3(unused_tcp_port: int, tmp_path: Path) -> None:
    (tmp_path / "items").write_bytes(b"first\n")
    arguments = ["import", str(tmp_path / "items"), "--gateway", f"http://127.0.0.1:{unused_tcp_port}"]
    assert await asyncio.to_thread(run, arguments) == 3


@given(texts=st.lists(st.text("abc", max_size=6), min_size=1, max_size=8), size=st.integers(1, 9))
def test_every_line_that_was_sent_is_known(texts: list[str], size: int) -> None:
    body = "\n".join(texts).encode()
    sent = SentLines()
    for start in range(0, len(body), size):
        sent.add(body[start : start + size])
    assert [sent.text_of(number) for number in range(1, len(texts) + 1)] == texts
    assert sent.text_of(len(texts) + 1) == ""


def test_lines_that_are_no_longer_kept_have_no_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(import_items, "KEPT_BYTES_MAX", 13)
    sent = SentLines()
    for piece in (b"one\ntw", b"o\nthree", b"\nfour\n"):
        sent.add(piece)
    assert [sent.text_of(number) for number in range(1, 6)] == ["", "", "three", "four", ""]
