"""A process that must not go on ends, whatever becomes of what it says."""

from __future__ import annotations

import subprocess
import sys

import pytest

from kvstore.node.ending import EXIT_FAILED

TOLD = "kvstore: the store failed"
BEGIN = "from kvstore.node.ending import end_process\n"
CALLS = ["end_process('the store failed')", "end_process('the store failed', ValueError('half'))"]


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("stderr", ["open('/dev/full', 'w')", "None", "open(sys.executable)"])
def test_a_process_ends_whose_standard_error_cannot_be_written(call: str, stderr: str) -> None:
    code = f"{BEGIN}import sys, threading\nsys.stderr = {stderr}\nthreading.Thread(target=lambda: {call}).start()"
    assert subprocess.run([sys.executable, "-c", code], timeout=20).returncode == EXIT_FAILED


@pytest.mark.parametrize("call", CALLS)
def test_the_last_line_tells_why(call: str) -> None:
    done = subprocess.run([sys.executable, "-c", BEGIN + call], timeout=20, capture_output=True, text=True)
    lines = done.stderr.splitlines()
    assert (done.returncode, lines[-1]) == (EXIT_FAILED, TOLD)
    assert (lines[0].startswith("Traceback") or "ValueError: half" in lines) == ("half" in call)
