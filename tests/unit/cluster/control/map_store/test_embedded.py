"""The embedded map store beyond the contract: one owner, refused files, failed transactions."""

from __future__ import annotations

from pathlib import Path

import lmdb
import msgspec
import pytest

from cluster.cluster_map import PutNode
from cluster.control.id_windows import WINDOW_MS
from cluster.control.map_store.embedded import FILE_NAME, EmbeddedMapStore
from cluster.control.messages import DrawIdWindow, IdWindow
from kvstore.errors import OperatorError
from kvstore.map_values import NodeInfo


async def test_a_second_store_on_the_same_directory_is_refused_in_one_line(tmp_path: Path) -> None:
    first = EmbeddedMapStore(tmp_path)
    with pytest.raises(OperatorError, match="in use by another process") as refused:
        EmbeddedMapStore(tmp_path)
    assert "\n" not in str(refused.value)
    await first.close()
    await EmbeddedMapStore(tmp_path).close()


async def test_two_new_stores_are_two_clusters(tmp_path: Path) -> None:
    one, other = EmbeddedMapStore(tmp_path / "a"), EmbeddedMapStore(tmp_path / "b")
    assert (await one.load()).cluster_id != (await other.load()).cluster_id
    await one.close()
    await other.close()


@pytest.mark.parametrize("content", [b"not a map" * 1000, b"\x00" * 8192])
def test_a_file_that_is_no_map_store_is_refused_and_the_directory_released(tmp_path: Path, content: bytes) -> None:
    (tmp_path / FILE_NAME).write_bytes(content)
    for _ in range(2):
        with pytest.raises(OperatorError, match="cannot open the cluster map"):
            EmbeddedMapStore(tmp_path)


@pytest.mark.parametrize("row", [msgspec.msgpack.encode((2, b"cluster1", 0, 1)), b"\xc1", b""])
async def test_a_store_of_another_format_is_refused(tmp_path: Path, row: bytes) -> None:
    await EmbeddedMapStore(tmp_path).close()
    with lmdb.open(str(tmp_path / FILE_NAME), subdir=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"head", row)
    with pytest.raises(OperatorError, match="cannot open the cluster map"):
        EmbeddedMapStore(tmp_path)


@pytest.mark.parametrize("numbers", [(), (4,)])
async def test_a_store_that_was_written_before_there_were_ids_is_read(tmp_path: Path, numbers: tuple[int, ...]) -> None:
    await EmbeddedMapStore(tmp_path).close()
    head = msgspec.msgpack.encode((1, b"cluster1", 6, 65, *numbers))
    with lmdb.open(str(tmp_path / FILE_NAME), subdir=False) as env, env.begin(write=True) as transaction:
        transaction.put(b"head", head)
    store = EmbeddedMapStore(tmp_path)
    assert ((await store.load()).cluster_id, (await store.load()).map_ver) == (b"cluster1", 6)
    assert await store.draw_incarnation() == (numbers[0] if numbers else 1)
    assert await store.draw_id_window(DrawIdWindow(3, 9, is_first=True)) == IdWindow(3, 9, 9 + WINDOW_MS)
    await store.close()


async def test_a_refused_transaction_raises_and_changes_nothing(tmp_path: Path) -> None:
    store = EmbeddedMapStore(tmp_path)
    before = await store.load()
    with pytest.raises(lmdb.BadValsizeError):
        await store.apply([PutNode(NodeInfo("n" * 600, "127.0.0.1:1", "a", 1.0, 1), None)])
    assert await store.load() == before
    await store.close()
    again = EmbeddedMapStore(tmp_path)
    assert await again.load() == before
    await again.close()


def test_a_directory_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OperatorError, match="cannot use the data directory"):
        EmbeddedMapStore(tmp_path / "file" / "data")
