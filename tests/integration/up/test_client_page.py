"""The Python of docs/CLIENT.md and of the README, run on a new cluster: it prints what stands behind its `#`."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from probe.up import Up

ROOT = Path(__file__).parents[3]
# The result of a line, or a line of results of the ones before.
SHOWN = re.compile(r"^(?:.*print\(.*\)  )?# (.*)$", re.MULTILINE)


def program(page: Path) -> str:
    """The Python blocks of a page, one after the other."""
    return "\n".join(re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL))


def test_the_page_of_the_client_prints_what_it_shows(start_up: Callable[..., Up], tmp_path: Path) -> None:
    url = start_up().wait_ready().url
    text = program(ROOT / "docs" / "CLIENT.md")
    shown = SHOWN.findall(text)
    assert len(shown) > 20
    assert run(text, url, tmp_path).splitlines() == shown
    assert (tmp_path / "users.ndjson").is_file()


def test_the_python_of_the_readme_runs(start_up: Callable[..., Up], tmp_path: Path) -> None:
    text = program(ROOT / "README.md")
    assert run(text, start_up().wait_ready().url, tmp_path).splitlines() == SHOWN.findall(text)


def run(text: str, url: str, folder: Path) -> str:
    """What a program prints that begins there."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", text.replace("http://127.0.0.1:8000", url)],
        capture_output=True,
        cwd=folder,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stderr.decode()) == (0, "")
    return done.stdout.decode()
