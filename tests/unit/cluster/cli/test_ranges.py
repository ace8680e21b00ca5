"""Ranges in a shell: lines on standard output, whole files, and nothing deleted by mistake."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from fakes.gateway import serving
from fakes.stored import StoredGateway
from hypothesis import given
from hypothesis import strategies as st

from cluster.cli.main import run
from cluster.cli.ranges import shown_key

Kvstore = Callable[..., Awaitable[int]]


@pytest.fixture
async def stored() -> AsyncIterator[StoredGateway]:
    made = StoredGateway()
    made.fill(b"a", b"b\n", b"c\\n", b"\xff", "ключ".encode())
    async with serving(made):
        yield made


@pytest.fixture
def kvstore(stored: StoredGateway) -> Kvstore:
    """Run one command line against `stored`; returns its exit code."""
    return lambda *arguments: asyncio.to_thread(run, [*arguments, "--gateway", stored.url])


@given(st.binary(max_size=6), st.binary(max_size=6))
def test_no_two_keys_look_alike_and_each_is_one_line(one: bytes, other: bytes) -> None:
    assert (shown_key(one) == shown_key(other)) == (one == other)
    assert len(shown_key(one).splitlines()) <= 1


def test_a_key_looks_as_the_shell_takes_it() -> None:
    assert shown_key("a b/ключ".encode()) == "a b/ключ"
    assert shown_key(b"\\x00\x00\n\xff\xc2\x85") == "\\\\x00\\x00\\x0a\\xff\\xc2\\x85"


async def test_a_scan_prints_items_as_import_takes_them(
    stored: StoredGateway, kvstore: Kvstore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stored.put(b"a", b"text", content_type="text/plain", ttl=9.0)
    assert await kvstore("scan") == 0
    items = [json.loads(line) for line in capfdbinary.readouterr().out.splitlines()]
    assert items[0] == {"key": "a", "value": "text", "etag": stored.keys[b"a"].etag, "content_type": "text/plain"} | {
        "ttl": 9.0
    }
    assert [item.get("key") or item["key_b64"] for item in items] == ["a", "b\n", "c\\n", "ключ", "/w=="]
    assert "value_b64" in items[4]


async def test_a_scan_prints_keys_alone_counts_and_ranges(
    kvstore: Kvstore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    shown = {
        ("--keys-only",): "a\nb\\x0a\nc\\\\n\nключ\n\\xff\n",
        ("--keys-only", "--json", "--start", "c"): '{"key":"c\\\\n"}\n{"key":"ключ"}\n{"key_b64":"/w=="}\n',
        ("--keys-only", "--reverse", "--limit", "2"): "\\xff\nключ\n",
        ("--keys-only", "--prefix", "к"): "ключ\n",
        ("--keys-only", "--start", "b", "--end", "c"): "b\\x0a\n",
        ("--count",): "5\n",
        ("--count", "--json", "--prefix", "a"): '{"count": 1}\n',
        ("--keys-only", "--prefix", "none"): "",
    }
    for arguments, text in shown.items():
        assert await kvstore("scan", *arguments) == 0
        out, err = capfdbinary.readouterr()
        assert (out.decode(), err) == (text, b"")


async def test_a_count_of_less_than_a_range_is_a_mistake(
    kvstore: Kvstore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    for option in (("--limit", "3"), ("--reverse",), ("--keys-only",)):
        assert await kvstore("scan", "--count", *option) == 2
        assert option[0] in capfdbinary.readouterr().err.decode()
    assert await kvstore("scan", "--limit", "0") == 2


async def test_an_export_is_a_file_that_import_takes(
    stored: StoredGateway, kvstore: Kvstore, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    before = {key: kept.value for key, kept in stored.keys.items()}
    assert await kvstore("export", str(tmp_path / "file")) == 0
    assert capfdbinary.readouterr() == (b"exported 5 records\n", b"")
    stored.keys.clear()
    assert await kvstore("import", str(tmp_path / "file")) == 0
    assert {key: kept.value for key, kept in stored.keys.items()} == before
    capfdbinary.readouterr()
    assert await kvstore("export", "-") == 0
    out, err = capfdbinary.readouterr()
    assert (len(out.splitlines()), err) == (5, b"")


async def test_an_export_that_is_cut_for_good_says_how_far_it_came(
    stored: StoredGateway, kvstore: Kvstore, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stored.cut_at = [2, *[0] * 1000]
    assert await kvstore("export", str(tmp_path / "file"), "--timeout", "0.3") == 3
    out, err = capfdbinary.readouterr()
    assert out == b""
    assert err.startswith(b"kvstore: after 2 records: ")
    assert err.count(b"\n") == 1
    assert os.listdir(tmp_path) == []


async def test_an_export_to_where_nothing_can_be_written_is_one_line(
    kvstore: Kvstore, tmp_path: Path, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await kvstore("export", str(tmp_path / "nowhere" / "file")) == 1
    assert capfdbinary.readouterr().err.count(b"\n") == 1


async def test_a_range_is_deleted_only_with_confirmation(
    stored: StoredGateway, kvstore: Kvstore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    assert await kvstore("delete-range", "--prefix", "a") == 2
    assert b"--confirm" in capfdbinary.readouterr().err
    assert await kvstore("delete-range", "--confirm") == 2
    assert b"--prefix" in capfdbinary.readouterr().err
    assert not stored.asked
    assert await kvstore("delete-range", "--start", "b", "--end", "d", "--confirm") == 0
    assert capfdbinary.readouterr().out == b"deleted 2 keys\n"
    assert sorted(stored.keys) == [b"a", "ключ".encode(), b"\xff"]


async def test_a_deletion_that_is_cut_is_unknown_and_says_how_far_it_surely_came(
    stored: StoredGateway, kvstore: Kvstore, capfdbinary: pytest.CaptureFixture[bytes]
) -> None:
    stored.deleted_steps, stored.cut_at = [1], [1]
    assert await kvstore("delete-range", "--prefix", "a", "--confirm") == 4
    assert capfdbinary.readouterr().err.startswith(b"kvstore: after 1 keys: ")
