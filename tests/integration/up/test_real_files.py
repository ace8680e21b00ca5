"""Real input: the running Python's own library goes in, every byte comes out, also after a kill of everything."""

from __future__ import annotations

import shutil
import sysconfig
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from probe.up import Up, kvstore

from kvstore.client import Get, SyncClient, Value

FILES_MIN = 1_000
VALUE_BYTES_MAX = 1024 * 1024
READ_OPS = 50


def _copy_library(target: Path, *left_out: str) -> list[Path]:
    source = Path(sysconfig.get_path("stdlib"))
    ignored = shutil.ignore_patterns("site-packages", "dist-packages", *left_out)
    shutil.copytree(source, target, ignore=ignored, symlinks=True)
    return sorted(path for path in target.rglob("*") if path.is_file() and not path.is_symlink())


@pytest.fixture
def library(tmp_path: Path) -> list[Path]:
    """The files of the library, below `tmp_path / "library"`; where sources alone are too few, with their bytecode."""
    files = _copy_library(tmp_path / "library", "__pycache__")
    if len(files) < FILES_MIN:
        shutil.rmtree(tmp_path / "library")
        files = _copy_library(tmp_path / "library")
    return files


def _groups(files: list[Path]) -> Iterator[list[Path]]:
    for first in range(0, len(files), READ_OPS):
        yield files[first : first + READ_OPS]


def assert_all_there(url: str, root: Path, files: list[Path]) -> None:
    with SyncClient(url, timeout_s=30) as client:
        for group in _groups(files):
            outcomes = client.batch([Get(str(path.relative_to(root))) for path in group])
            for path, outcome in zip(group, outcomes, strict=True):
                assert isinstance(outcome, Value), f"{path}: {outcome}"
                assert outcome.data == path.read_bytes(), path


@pytest.mark.slow
def test_every_byte_of_a_real_tree_survives_a_kill_of_everything(
    start_up: Callable[..., Up], tmp_path: Path, library: list[Path]
) -> None:
    root = tmp_path / "library"
    (root / "empty").write_bytes(b"")
    (root / "too large").write_bytes(bytes(VALUE_BYTES_MAX + 1))
    files = [path for path in [*library, root / "empty"] if path.stat().st_size <= VALUE_BYTES_MAX]
    skipped = len(library) + 2 - len(files)
    assert len(files) >= FILES_MIN

    up = start_up().wait_ready()
    done = kvstore("import", "--files", str(root), KVSTORE_GATEWAY=up.url)
    messages = done.stderr.decode().splitlines()
    assert done.returncode == 0, messages
    assert done.stdout.decode().startswith(f"imported {len(files)} files")
    assert any(f"skipped {root / 'too large'}: {VALUE_BYTES_MAX + 1} bytes" in message for message in messages)
    assert sum(": skipped " in message and "at most" in message for message in messages) == skipped

    assert_all_there(up.url, root, files)
    up.kill_all()
    again = start_up().wait_ready()
    assert_all_there(again.url, root, files)
    assert again.end() == 0
