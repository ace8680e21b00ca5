"""Have `kvstore advise` look at samples of real keys, and put what it says into docs/SHARDING.md.

Guarantees: the page has what the command printed, word by word, and its plots. Leaves to others: the samples
(`samples`), the words around them (the page).
"""

from __future__ import annotations

import contextlib
import io
import os
import re
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from advice.samples import ids, library_paths, sensor_ids
from cluster.cli.main import run

PAGE = Path(__file__).parents[2] / "docs" / "SHARDING.md"
PLOTS = PAGE.parent / "sharding"
COLUMNS = "120"


def main() -> None:
    """Make all of it."""
    os.environ["COLUMNS"] = COLUMNS
    os.environ["TERM"] = "dumb"
    made = ids()
    text = PAGE.read_text(encoding="utf-8")
    folders = ("--partitions", "16", "--scan", "encodings/..encodings0", "--scan", "json/..json0")
    text = _look(text, "library-paths", library_paths(), folders)
    text = _look(text, "ids", made, ("--scan", f"{made[40_000]}..{made[40_100]}"))
    text = _look(text, "sensors", sensor_ids(made), ("--scan", "sensor41/..sensor410"))
    PAGE.write_text(text, encoding="utf-8")


def _look(text: str, name: str, keys: Sequence[str], options: Sequence[str]) -> str:
    """The page with what is said of one sample."""
    with tempfile.TemporaryDirectory() as folder:
        sample = Path(folder) / f"{name}.txt"
        sample.write_text("".join(f"{key}\n" for key in keys), encoding="utf-8")
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            code = run(["advise", str(sample), *options, "--plot", str(PLOTS / f"{name}.png")])
    if code:
        sys.exit(f"advise ended with {code}")
    lines = "\n".join(line.rstrip() for line in printed.getvalue().splitlines())
    block = f"```console\n$ kvstore advise {name}.txt {' '.join(options)} --plot {name}.png\n{lines}\n```"
    return replaced(text, name, block)


def replaced(text: str, name: str, block: str) -> str:
    """The text with the block between the two marks of this name."""
    begin, end = f"<!-- {name} -->", f"<!-- /{name} -->"
    pattern = re.compile(f"{re.escape(begin)}.*?{re.escape(end)}", re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{block}\n{end}", text, count=1)


if __name__ == "__main__":
    main()
