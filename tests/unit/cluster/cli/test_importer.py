"""Which files are found, how they are cut into batches, and where each ends in the counts."""

import errno
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from cluster.cli.importer import (
    BATCH_BYTES_MAX,
    BATCH_OPS_MAX,
    Counts,
    Failed,
    Found,
    Importer,
    Skipped,
    batches,
    content_type_of,
    find_files,
)
from kvstore.client import Client, Put, Unreachable, Written
from kvstore.client.answers import Outcome
from kvstore.errors import KvError, NoLeader, OutcomeUnknown, ValueTooLarge


class FakeClient(Client):
    """Answers each batch with the next of `script`, and everything after it with success."""

    def __init__(self, script: Sequence[list[Outcome] | KvError] = ()) -> None:
        super().__init__()
        self.script = list(script)
        self.sent: list[list[Put]] = []

    async def batch(self, ops: Sequence[object]) -> list[Outcome]:
        puts = [op for op in ops if isinstance(op, Put)]
        self.sent.append(puts)
        answer = self.script.pop(0) if self.script else [Written(True, "1.1.1", 2) for _ in puts]
        if isinstance(answer, KvError):
            raise answer
        return answer

    async def put(self, key: str | bytes, value: bytes, **options: object) -> Written:
        outcome = (await self.batch([Put(key, value)]))[0]
        assert isinstance(outcome, Written)
        return outcome


def tree(root: Path, names: Sequence[str]) -> list[Found]:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return [entry for entry in find_files(root, 1000) if isinstance(entry, Found)]


async def run_import(client: FakeClient, files: list[Found], complaints: list[str]) -> Counts:
    importer = Importer(
        client, value_bytes_max=1000, timeout_s=5.0, complain=complaints.append, advance=lambda _size: None
    )
    return await importer.run(files)


def test_keys_are_paths_below_the_root(tmp_path: Path) -> None:
    assert [file.key for file in tree(tmp_path, ["b/c.txt", "a", "b/d/e"])] == [b"a", b"b/c.txt", b"b/d/e"]


def test_names_that_are_no_text_become_keys_as_they_are(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff\xfe")).write_bytes(b"")
    assert [entry.key for entry in find_files(tmp_path, 10) if isinstance(entry, Found)] == [b"\xff\xfe"]


def test_what_is_no_fitting_file_is_skipped_with_its_reason(tmp_path: Path) -> None:
    (tmp_path / "big").write_bytes(b"x" * 11)
    (tmp_path / "fits").write_bytes(b"x" * 10)
    (tmp_path / "link").symlink_to(tmp_path / "fits")
    os.mkfifo(tmp_path / "pipe")
    deep = tmp_path / ("d" * 250) / ("e" * 250)
    deep.mkdir(parents=True)
    (deep / "f").write_bytes(b"")
    entries = list(find_files(tmp_path, 10))
    reasons = {entry.path.name: entry.reason for entry in entries if isinstance(entry, Skipped)}
    assert reasons == {
        "big": "11 bytes, at most 10 are allowed",
        "link": "not a regular file",
        "pipe": "not a regular file",
        "f": "its key has 503 bytes, at most 480 are allowed",
    }
    assert [entry.key for entry in entries if isinstance(entry, Found)] == [b"fits"]


def test_links_to_folders_are_skipped_and_not_followed(tmp_path: Path) -> None:
    tree(tmp_path, ["b/c", "z"])
    (tmp_path / "a").symlink_to(tmp_path / "b")
    (tmp_path / "b" / "loop").symlink_to(tmp_path)
    entries = list(find_files(tmp_path, 10))
    assert [entry.path for entry in entries if isinstance(entry, Skipped)] == [tmp_path / "a", tmp_path / "b/loop"]
    assert [entry.key for entry in entries if isinstance(entry, Found)] == [b"z", b"b/c"]


def test_a_folder_that_cannot_be_read_is_told_and_the_rest_is_found(
    tmp_path: Path, unreadable: Callable[[Path], None]
) -> None:
    tree(tmp_path, ["a/b", "closed/c", "d/e"])
    unreadable(tmp_path / "closed")
    entries = list(find_files(tmp_path, 10))
    assert [entry for entry in entries if isinstance(entry, Failed)] == [
        Failed(tmp_path / "closed", os.strerror(errno.EACCES))
    ]
    assert [entry.key for entry in entries if isinstance(entry, Found)] == [b"a/b", b"d/e"]


def test_batches_are_bounded_in_bytes_and_operations() -> None:
    small = [Found(Path("x"), b"x", 1)] * (BATCH_OPS_MAX * 2 + 1)
    assert [len(batch) for batch in batches(small)] == [BATCH_OPS_MAX, BATCH_OPS_MAX, 1]
    large = [Found(Path("x"), b"x", BATCH_BYTES_MAX // 2 + 1)] * 3
    assert [len(batch) for batch in batches(large)] == [1, 1, 1]
    assert not list(batches([]))


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a.html", "text/html"), ("a.json", "application/json"), ("a.tar.gz", "application/octet-stream")],
)
def test_content_types_are_guessed_from_names(name: str, kind: str) -> None:
    assert content_type_of(Path(name)) == kind


async def test_every_file_is_put_with_its_bytes(tmp_path: Path) -> None:
    client = FakeClient()
    counts = await run_import(client, tree(tmp_path, ["a", "b"]), [])
    assert [(put.key, put.value) for put in client.sent[0]] == [(b"a", b"a"), (b"b", b"b")]
    assert (counts.imported, counts.imported_bytes) == (2, 2)


async def test_puts_that_were_refused_for_now_are_sent_again_and_no_others(tmp_path: Path) -> None:
    client = FakeClient([[Written(True, "1.1.1"), NoLeader(), OutcomeUnknown("lost"), ValueTooLarge("too large")]])
    complaints: list[str] = []
    counts = await run_import(client, tree(tmp_path, ["a", "b", "c", "d", "e"])[:4], complaints)
    assert counts.imported == 2
    assert (counts.failed, counts.unknown) == (1, 1)
    assert [[put.key for put in puts] for puts in client.sent[1:]] == [[b"b"]]
    assert sorted(complaint.split()[0] for complaint in complaints) == ["failed", "unknown"]


async def test_a_gateway_that_is_gone_ends_the_import(tmp_path: Path) -> None:
    files = tree(tmp_path, [f"{number:04}" for number in range(BATCH_OPS_MAX * 8)])
    client = FakeClient([Unreachable("gone")] * 8)
    counts = await run_import(client, files, [])
    assert isinstance(counts.halted, Unreachable)
    assert counts.failed < len(files)
    assert counts.imported == 0


async def test_a_file_that_vanished_is_named_and_the_rest_goes_on(tmp_path: Path) -> None:
    files = tree(tmp_path, ["a", "b", "c"])
    (tmp_path / "b").unlink()
    complaints: list[str] = []
    counts = await run_import(FakeClient(), files, complaints)
    assert (counts.imported, counts.failed) == (2, 1)
    assert "No such file" in complaints[0]


async def test_a_file_that_grew_over_the_limit_is_skipped(tmp_path: Path) -> None:
    files = tree(tmp_path, ["a", "b", "c"])
    (tmp_path / "b").write_bytes(b"x" * 1001)
    counts = await run_import(FakeClient(), files, [])
    assert (counts.imported, counts.skipped) == (2, 1)
