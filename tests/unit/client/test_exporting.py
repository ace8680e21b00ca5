"""Exports: whole or an error, each item once, through streams that are cut."""

from __future__ import annotations

import asyncio
import io
import os
from pathlib import Path

import pytest
from aiohttp import web
from fakes.gateway import Gateway, refuse
from fakes.stored import StoredGateway

from kvstore.client import Client, StreamCut, SyncClient
from kvstore.client.exporting import RESUMES_MAX, whole_file
from kvstore.client.items import key_of_line
from kvstore.errors import BadParameter, NoLeader

KEYS = [b"%d" % number for number in range(10, 30)]


def keys_in(data: bytes) -> list[bytes]:
    assert data.endswith(b"\n")
    return [key_of_line(line) for line in data.splitlines()]


async def test_an_export_holds_the_range_and_imports_as_it_was(stored: StoredGateway, tmp_path: Path) -> None:
    stored.fill(*KEYS)
    stored.put(b"\xff\n", b"\x00\xfe", content_type="text/html", ttl=12.5)
    before = {key: (kept.value, kept.content_type, kept.ttl) for key, kept in stored.keys.items()}
    told: list[tuple[int, int]] = []
    async with Client(stored.url) as client:
        exported = await client.export(tmp_path / "all", progress=lambda *far: told.append(far))
        assert exported == len(KEYS) + 1
        assert told[-1] == (exported, (tmp_path / "all").stat().st_size)
        assert await client.export(tmp_path / "part", prefix="1", start="15") == 5
        assert keys_in((tmp_path / "part").read_bytes()) == KEYS[5:10]
        stored.keys.clear()
        assert await client.import_file(tmp_path / "all") == exported
    assert {key: (kept.value, kept.content_type, kept.ttl) for key, kept in stored.keys.items()} == before
    assert sorted(os.listdir(tmp_path)) == ["all", "part"]


async def test_a_stream_that_is_cut_goes_on_after_its_last_whole_line(stored: StoredGateway) -> None:
    stored.fill(*KEYS)
    stored.cut_at = [7, 0, 3, 9]
    target = io.BytesIO()
    async with Client(stored.url) as client:
        assert await client.export(target, prefix=b"", end=b"\xff") == len(KEYS)
    assert keys_in(target.getvalue()) == KEYS
    starts = [path.partition("start=")[2].partition("&")[0] for _, path in stored.asked]
    assert starts == ["", "16%00", "16%00", "19%00", "28%00"]
    assert all("end=%FF" in path for _, path in stored.asked)


async def test_a_stream_that_is_cut_after_the_greatest_key_is_whole(stored: StoredGateway) -> None:
    greatest = b"\xff" * 480
    stored.fill(b"a", greatest)

    async def cut_at_the_end(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        await response.write(b'{"key":"a","value":""}\n{"key_b64":"' + b"/" * 640 + b'","value":""}\n')
        await asyncio.sleep(0.05)
        assert request.transport is not None
        request.transport.abort()
        return response

    stored.handler = cut_at_the_end
    target = io.BytesIO()
    async with Client(stored.url) as client:
        assert await client.export(target) == 2
    assert keys_in(target.getvalue()) == [b"a", greatest]


async def test_a_stream_that_never_comes_further_ends_in_an_error_and_no_file(
    stored: StoredGateway, tmp_path: Path
) -> None:
    stored.fill(*KEYS)
    stored.cut_at = [5, *[0] * 1000]
    (tmp_path / "old").write_bytes(b"an older export\n")
    async with Client(stored.url, timeout_s=0.5) as client:
        with pytest.raises(StreamCut) as caught:
            await client.export(tmp_path / "old")
    assert caught.value.numbers == {"exported": 5}
    assert 2 <= len(stored.asked) <= RESUMES_MAX + 2
    assert os.listdir(tmp_path) == ["old"]
    assert (tmp_path / "old").read_bytes() == b"an older export\n"


async def test_how_often_it_is_tried_without_coming_further_is_bounded(
    stored: StoredGateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kvstore.client.exporting.RESUMES_MAX", 2)
    stored.fill(*KEYS)
    stored.cut_at = [5, 0, 0, 5, 0, 0, 0, 0, 0, 0]
    async with Client(stored.url, timeout_s=60) as client:
        with pytest.raises(StreamCut) as caught:
            await client.export(io.BytesIO())
    assert caught.value.numbers == {"exported": 10}
    assert len(stored.asked) == 7


async def test_an_export_waits_for_a_leader_and_tells_a_refusal_at_once(gateway: Gateway) -> None:
    stored = StoredGateway()
    stored.fill(*KEYS)
    codes = ["no_leader", "no_leader"]

    async def refuse_first(request: web.BaseRequest) -> web.StreamResponse:
        assert stored.handler is not None
        return refuse(codes.pop(), 503) if codes else await stored.handler(request)

    gateway.handler = refuse_first
    async with Client(gateway.url, timeout_s=2) as client:
        assert await client.export(io.BytesIO()) == len(KEYS)
        codes[:] = ["no_leader"] * 1000
        with pytest.raises(NoLeader):
            await client.export(io.BytesIO())
        gateway.asked.clear()
        codes[:] = ["bad_parameter"]
        with pytest.raises(BadParameter):
            await client.export(io.BytesIO())
    assert len(gateway.asked) == 1


async def test_an_answer_that_does_not_say_where_it_ends_is_not_taken_for_whole(gateway: Gateway) -> None:
    async def open_ended(request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.write(b'HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{"key":"a","value":"1"}\n')  # type: ignore[attr-defined]
        await asyncio.sleep(0.05)
        request.transport.close()
        return web.Response()

    gateway.handler = open_ended
    async with Client(gateway.url, timeout_s=0.3) as client:
        with pytest.raises(StreamCut, match="where it ends"):
            await client.export(io.BytesIO())


async def test_an_error_of_the_file_is_told_as_it_is_and_leaves_nothing(stored: StoredGateway, tmp_path: Path) -> None:
    class Full(io.BytesIO):
        def write(self, data: object) -> int:
            raise OSError(28, "No space left on device")

    stored.fill(*KEYS)
    async with Client(stored.url) as client:
        with pytest.raises(OSError, match="No space"):
            await client.export(Full())
        with pytest.raises(FileNotFoundError):
            await client.export(tmp_path / "nowhere" / "file")
    assert len(stored.asked) == 1


async def test_a_file_that_is_no_regular_one_is_written_to_and_stays(stored: StoredGateway, tmp_path: Path) -> None:
    stored.fill(*KEYS)
    os.mkfifo(tmp_path / "pipe")
    async with Client(stored.url) as client:
        reading = asyncio.create_task(asyncio.to_thread((tmp_path / "pipe").read_bytes))
        assert await client.export(tmp_path / "pipe") == len(KEYS)
        assert keys_in(await reading) == KEYS
    assert (tmp_path / "pipe").is_fifo()


async def test_an_export_through_a_link_replaces_what_it_leads_to(stored: StoredGateway, tmp_path: Path) -> None:
    stored.fill(*KEYS)
    (tmp_path / "link").symlink_to(tmp_path / "file")
    async with Client(stored.url) as client:
        await client.export(tmp_path / "link")
    assert (tmp_path / "link").is_symlink()
    assert keys_in((tmp_path / "file").read_bytes()) == KEYS


async def test_memory_stays_flat_however_long_the_stream_is(gateway: Gateway) -> None:
    line = b'{"key":"k%08d","value":"' + b"v" * 1000 + b'"}\n'
    count, largest = 20_000, 0

    async def much(request: web.BaseRequest) -> web.StreamResponse:
        response = web.StreamResponse()
        response.enable_chunked_encoding()
        await response.prepare(request)
        for number in range(0, count, 100):
            await response.write(b"".join(line % one for one in range(number, number + 100)))
        return response

    class Sized(io.BytesIO):
        def write(self, data: bytes) -> int:  # type: ignore[override]
            nonlocal largest
            largest = max(largest, len(data))
            return len(data)

    gateway.handler = much
    async with Client(gateway.url) as client:
        assert await client.export(Sized()) == count
    assert 0 < largest <= 512 * 1024


async def test_the_sync_face_exports_and_imports(stored: StoredGateway, tmp_path: Path) -> None:
    stored.fill(*KEYS)

    def ask() -> None:
        with SyncClient(stored.url) as client:
            assert client.export(tmp_path / "file") == len(KEYS)
            stored.keys.clear()
            assert client.import_file(str(tmp_path / "file")) == len(KEYS)

    await asyncio.to_thread(ask)
    assert sorted(stored.keys) == KEYS


async def test_a_file_that_cannot_be_made_is_named_as_it_was_asked_for(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as raised:
        async with whole_file(tmp_path / "missing" / "out"):
            pass
    assert raised.value.filename == str(tmp_path / "missing" / "out")
