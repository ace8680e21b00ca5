"""The folder of a process: one owner at a time, and one clear sentence for everybody else."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from kvstore.errors import OperatorError
from kvstore.storage import data_dir
from kvstore.storage.data_dir import DataDir, filesystem_of


def test_a_second_owner_is_refused_until_the_first_gives_up(tmp_path: Path) -> None:
    first = DataDir(tmp_path / "data")
    with pytest.raises(OperatorError, match="in use by another process"):
        DataDir(tmp_path / "data")
    first.close()
    DataDir(tmp_path / "data").close()


def test_a_folder_is_free_when_its_process_is_gone(tmp_path: Path) -> None:
    script = (
        "import sys, pathlib; from kvstore.storage.data_dir import DataDir; kept = DataDir(pathlib.Path(sys.argv[1]));"
        "print('owned', flush=True); sys.stdin.read()"
    )
    owner = subprocess.Popen(
        [sys.executable, "-c", script, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    with owner:
        assert owner.stdout is not None
        assert owner.stdout.readline() == "owned\n"
        with pytest.raises(OperatorError, match="in use"):
            DataDir(tmp_path)
        owner.kill()
    DataDir(tmp_path).close()


def test_a_missing_folder_is_made(tmp_path: Path) -> None:
    DataDir(tmp_path / "a" / "b").close()
    assert (tmp_path / "a" / "b").is_dir()


def test_a_file_in_the_place_of_the_folder_is_told_in_one_line(tmp_path: Path) -> None:
    place = tmp_path / "data"
    place.write_text("a file")
    with pytest.raises(OperatorError) as refusal:
        DataDir(place)
    assert str(place) in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_filesystem_that_cannot_lock_or_map_is_refused_and_not_kept_locked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(data_dir, "filesystem_of", lambda _: "nfs4")
        with pytest.raises(OperatorError, match="is on nfs4"):
            DataDir(tmp_path)
    DataDir(tmp_path).close()


def test_the_filesystem_of_a_folder_is_that_of_the_nearest_mount() -> None:
    assert filesystem_of(Path("/proc/self")) == "proc"
    assert filesystem_of(Path("/")) not in ("", "proc")
