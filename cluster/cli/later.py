"""Commands of the contract that this version does not have.

Guarantees: each says so in one line, instead of being unknown. Leaves to others: everything else.
"""

from __future__ import annotations

import typer

from kvstore.errors import NotBuiltYet

COMMANDS = ("txn",)


def refuse(context: typer.Context) -> None:
    """Not built yet."""
    raise NotBuiltYet(f"{context.info_name} is not built yet")
