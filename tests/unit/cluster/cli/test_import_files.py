"""`import --files`: what is said of a tree that is not imported as a whole, and the exit code that goes with it."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from cluster.cli.main import run


def test_a_folder_that_cannot_be_read_is_named_as_failed_with_code_1(
    tmp_path: Path, unreadable: Callable[[Path], None], capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "closed").mkdir()
    unreadable(tmp_path / "closed")
    assert run(["import", "--files", str(tmp_path)]) == 1
    shown = capsys.readouterr()
    assert shown.out == "imported 0 files (0 bytes), skipped 0, failed 1, unknown 0\n"
    assert shown.err == f"kvstore: failed {tmp_path / 'closed'}: {os.strerror(errno.EACCES)}\n"


def test_a_link_to_a_folder_is_named_as_skipped_with_code_0(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "folder")
    assert run(["import", "--files", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert shown.out == "imported 0 files (0 bytes), skipped 1, failed 0, unknown 0\n"
    assert shown.err == f"kvstore: skipped {tmp_path / 'link'}: not a regular file\n"
