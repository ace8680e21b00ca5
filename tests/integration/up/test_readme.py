"""The README's examples, run in order on a new cluster: its answers are what a newcomer sees."""

from __future__ import annotations

import re
import shlex
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from probe.up import Up

README = Path(__file__).parents[3] / "README.md"
CHANGING = re.compile(r'^(Date|X-Request-Id): .*$|(?<=")\d{18,19}(?=")', re.MULTILINE)


def examples() -> list[tuple[str, str]]:
    """The commands of the README's console blocks, each with the answer that it shows."""
    blocks = re.findall(r"```console\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    steps = [step for block in blocks for step in re.split(r"^\$ ", block, flags=re.MULTILINE) if step]
    return [(command, answer.strip()) for command, _, answer in (step.partition("\n") for step in steps)]


def ask(command: str, url: str) -> str:
    arguments = shlex.split(command.replace("http://127.0.0.1:8000", url))
    done = subprocess.run([arguments[0], "-sS", *arguments[1:]], capture_output=True, timeout=30, check=True)
    return CHANGING.sub(r"\1", done.stdout.decode().replace("\r\n", "\n").strip())


def test_the_examples_answer_what_the_readme_shows(start_up: Callable[..., Up]) -> None:
    url = start_up().wait_ready().url
    shown = examples()
    assert len(shown) >= 6
    for command, answer in shown:
        expected, said = CHANGING.sub(r"\1", answer), ask(command, url)
        # A copy that may be behind may not have heard of what was written a moment ago.
        until = time.monotonic() + 10
        while said != expected and "consistency=stale" in command and time.monotonic() < until:
            said = ask(command, url)
        assert said == expected, command
