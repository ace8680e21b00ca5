"""Scans, exports, deletions and cached reads of a whole cluster, from Python and from a shell."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from probe.processes import KVSTORE, wait_until
from probe.up import Up, kvstore

from kvstore.client import Client, Item, Put, SyncClient
from kvstore.client.items import key_of_line
from kvstore.client.read_cache import ReadCache
from kvstore.errors import KeyNotFound

AWKWARD = [b"..", b"a//b", b"a/b", b"%2F", b"\xff\x00", b"\xff" * 480, b"z" * 480, b"a\nb", b"\\x0a", "ключ".encode()]
MANY = [b"many/%05d" % number for number in range(3_000)]


def test_ranges_are_whole_in_order_and_come_back_from_an_export(start_up: Callable[..., Up], tmp_path: Path) -> None:
    url = start_up().wait_ready().url
    with SyncClient(url, timeout_s=30) as client:
        fill(client)
        scans(client)
        whole = {item.key: item for item in client.scan()}
        assert sorted(whole) == sorted(AWKWARD + MANY)
        assert client.export(tmp_path / "all") == len(whole)
        assert client.delete_range(start=b"\x00") == len(whole)
        assert list(client.scan()) == []
        assert client.import_file(tmp_path / "all") == len(whole)
        again = {item.key: item for item in client.scan(page_size=700)}
        assert {key: parts(item) for key, item in again.items()} == {key: parts(item) for key, item in whole.items()}
        shells(client, url, tmp_path)
        cached_reads(client, url)
        ids = client.ids(100)
        assert ids == sorted(set(ids))


def test_an_export_goes_on_after_a_kill_of_the_gateway(start_up: Callable[..., Up], tmp_path: Path) -> None:
    up = start_up().wait_ready()
    value = bytes(20_000)
    killed: list[int] = []

    def kill_once(records: int, _size_bytes: int) -> None:
        if not killed:
            killed.append(records)
            os.kill(up.members()["gateway"], signal.SIGKILL)

    with SyncClient(up.url, timeout_s=30) as client:
        for first in range(0, len(MANY), 300):
            client.batch([Put(key, value) for key in MANY[first : first + 300]])
        assert client.export(tmp_path / "all", progress=kill_once) == len(MANY)
    assert 0 < killed[0] < len(MANY)
    with (tmp_path / "all").open("rb") as lines:
        assert [key_of_line(line) for line in lines] == MANY


def test_a_crowd_of_scans_is_served_and_leaves_room_to_others(start_up: Callable[..., Up]) -> None:
    url = start_up().wait_ready().url
    with SyncClient(url, timeout_s=30) as client:
        for first in range(0, len(MANY), 500):
            client.batch([Put(key, key[::-1]) for key in MANY[first : first + 500]])

    async def crowd() -> None:
        async with Client(url, timeout_s=60, connections_max=400) as client:
            pages = [asyncio.create_task(client.scan_page(prefix="many/", limit=3_000)) for _ in range(300)]
            await asyncio.sleep(0.2)
            assert (await client.get(MANY[7])).data == MANY[7][::-1]
            for page in await asyncio.gather(*pages):
                assert [item.key for item in page.items] == MANY

    asyncio.run(crowd())


def test_no_scan_shows_or_counts_keys_whose_time_is_over(start_up: Callable[..., Up]) -> None:
    url = start_up().wait_ready().url
    with SyncClient(url, timeout_s=30) as client:
        client.put("stays", b"")
        for turn in range(10):
            ends = [Put(f"ends/{turn}/{number}", b"", ttl_s=0.15) for number in range(2_000 if turn == 0 else 50)]
            for first in range(0, len(ends), 500):
                client.batch(ends[first : first + 500])
            time.sleep(0.2)
            # A sweep comes twice a second: most of these are still stored.
            if turn % 2:
                assert client.count(prefix=f"ends/{turn}/") == 0
            else:
                assert list(client.scan(prefix=f"ends/{turn}/", reverse=turn % 4 == 0)) == []
            assert [item.key for item in client.scan()] == [b"stays"]


def parts(item: Item) -> tuple[bytes, str, bool]:
    return item.value, item.content_type, item.ttl_s is not None


def fill(client: SyncClient) -> None:
    for key in AWKWARD:
        client.put(key, b"value of " + key, content_type="text/plain", ttl_s=3600)
    for first in range(0, len(MANY), 500):
        client.batch([Put(key, key[::-1]) for key in MANY[first : first + 500]])


def scans(client: SyncClient) -> None:
    items = list(client.scan(prefix="many/", page_size=256))
    assert [(item.key, item.value) for item in items] == [(key, key[::-1]) for key in MANY]
    assert items[7].etag == client.get(MANY[7]).etag
    keys = [item.key for item in client.scan(prefix="many/", reverse=True, keys_only=True, page_size=999)]
    assert keys == MANY[::-1]
    assert [item.key for item in client.scan(start=MANY[5], end=MANY[50], limit=20, page_size=7)] == MANY[5:25]
    assert client.count(prefix="many/") == len(MANY)
    awkward = next(iter(client.scan(start=b"\xff", limit=1)))
    assert (awkward.key, awkward.content_type) == (b"\xff\x00", "text/plain")
    assert awkward.ttl_s is not None
    assert 3000 < awkward.ttl_s <= 3600


def shells(client: SyncClient, url: str, folder: Path) -> None:
    environment = {"KVSTORE_GATEWAY": url}
    assert kvstore("scan", "--count", "--prefix", "many/", **environment).stdout == b"3000\n"
    keys = kvstore("scan", "--keys-only", "--start", "many/02998", "--end", "n", **environment).stdout
    assert keys == b"many/02998\nmany/02999\n"
    done = kvstore("export", str(folder / "again"), **environment)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"exported 3010 records\n", b"")
    lines = (folder / "again").read_bytes().splitlines()
    assert kvstore("export", "-", **environment).stdout.count(b"\n") == len(lines)
    assert kvstore("delete-range", "--prefix", "many/", "--confirm", **environment).stdout == b"deleted 3000 keys\n"
    assert client.count(prefix="many/") == 0
    assert kvstore("import", str(folder / "again"), **environment).stdout == b"imported 3010 records\n"
    assert client.count(prefix="many/") == len(MANY)
    for command in ("scan", "export -"):
        head = f"{' '.join(KVSTORE)} {command} --gateway {url} | head -n 1"
        cut = subprocess.run(head, shell=True, capture_output=True, timeout=60, check=True)
        assert (cut.stdout.count(b"\n"), cut.stderr) == (1, b"")


def cached_reads(client: SyncClient, url: str) -> None:
    cache = ReadCache(1024 * 1024)
    with SyncClient(url, cache=cache) as reader, SyncClient(url, cache=cache, token="another") as other:
        client.put("cached", b"old")
        old = client.get("cached")
        wait_until(lambda: reads(reader, "cached"))
        assert cache.responses.bytes_held > 0
        assert reader.get("cached", revalidate=True) == old
        client.put("cached", b"new")
        assert reader.get("cached").data == b"new"
        assert reader.get("cached", revalidate=True).data == b"new"
        other.put("cached", b"other's")
        assert reader.get("cached", consistency="quorum").data == b"other's"
        reader.delete("cached")
        assert cache.responses.bytes_held == 0
        client.put("short", b"", ttl_s=2)
        wait_until(lambda: reads(reader, "short"))
        wait_until(lambda: not reads(reader, "short"))


def reads(client: SyncClient, key: str) -> bool:
    """Whether a copy has it, or a cache."""
    try:
        client.get(key, max_stale=600)
    except KeyNotFound:
        return False
    return True
