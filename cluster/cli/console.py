"""Where commands print tables and sentences.

Guarantees: text stands as it came, so that brackets and colons of keys, addresses and tenants are no markup and no
emoji. Leaves to others: what is printed (the commands).
"""

from __future__ import annotations

from rich.console import Console


def plain_console(soft_wrap: bool = False) -> Console:
    """Standard output; with `soft_wrap` long lines are left to the terminal."""
    return Console(highlight=False, markup=False, emoji=False, soft_wrap=soft_wrap)
