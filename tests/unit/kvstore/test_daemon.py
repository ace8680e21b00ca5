"""What processes do alike."""

from __future__ import annotations

import errno
import json
import subprocess
import sys
from collections.abc import Iterator
from unittest.mock import Mock

import pytest
import structlog

from kvstore.daemon import log_to_stderr, tell


@pytest.fixture(autouse=True)
def own_log() -> Iterator[None]:
    """Undoes what a process does to its log."""
    yield
    structlog.reset_defaults()


def test_every_line_of_a_log_says_whose_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr(worker="2")
    for level in ("info", "warning"):
        getattr(structlog.get_logger("x"), level)("happened", node="n1")
    lines = [json.loads(line) for line in capsys.readouterr().err.splitlines()]
    assert [(one["event"], one["level"], one["node"], one["worker"]) for one in lines] == [
        ("happened", "info", "n1", "2"),
        ("happened", "warning", "n1", "2"),
    ]


def test_a_process_that_is_alone_says_nothing_of_whose_its_lines_are(capsys: pytest.CaptureFixture[str]) -> None:
    log_to_stderr()
    structlog.get_logger().info("happened")
    assert set(json.loads(capsys.readouterr().err)) == {"event", "level", "timestamp"}


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "no space"), BrokenPipeError(), ValueError("closed")])
def test_what_cannot_be_written_to_standard_error_ends_nothing(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stderr", Mock(write=Mock(side_effect=error)))
    log_to_stderr()
    for level in ("debug", "info", "warning", "error", "critical"):
        getattr(structlog.get_logger("x"), level)("happened")
    tell("it ends")


def test_the_collector_looks_at_nothing_that_was_there_when_a_process_began() -> None:
    begun = "import gc, kvstore.daemon as daemon; daemon.spare_the_loaded()"
    told = f"{begun}; print(len(gc.get_objects()), gc.get_freeze_count())"
    printed = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True).stdout
    looked_at, spared = map(int, printed.split())
    assert looked_at < 100 < spared
