"""Where commands print tables, sentences and progress.

Guarantees: text stands as it came, so that brackets and colons of keys, addresses and tenants are no markup and no
emoji, and whole: what is too wide for a terminal is folded, ids of nodes last, and lines in a pipe or a file are as
long as what they say. Leaves to others: what is printed (the commands).
"""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn
from rich.table import Table

# Of what is no terminal.
WIDTH_MAX = 100_000
# Columns of nodes' ids.
NODES = frozenset({"node", "leader", "from", "to"})


def plain_console(soft_wrap: bool = False) -> Console:
    """Standard output; with `soft_wrap` long lines are left to the terminal."""
    width = None if sys.stdout.isatty() else WIDTH_MAX
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap, width=width)


def plain_table(columns: Iterable[str], texts: Collection[str] = NODES) -> Table:
    """A table without rows yet.

    Args:
        texts: the columns that are no numbers.
    """
    table = Table(box=None, pad_edge=False)
    for name in columns:
        table.add_column(name, justify="left" if name in texts else "right", overflow="fold", no_wrap=name in NODES)
    return table


def progress_of(console: Console) -> Progress:
    """Bars with a share, and after it the field `told` of their tasks."""
    columns = TextColumn("{task.description}", markup=False), BarColumn(), TextColumn("{task.percentage:>3.0f} %")
    return Progress(*columns, TextColumn("{task.fields[told]}", markup=False), console=console)
