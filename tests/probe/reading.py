"""Many keys read back, while nobody writes and nothing is harmed.

Guarantees: what a gateway cannot serve yet is asked again until `PATIENCE_S` is over. Leaves to others: judging.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from kvstore.client import Client, Get, Value
from kvstore.errors import KeyNotFound, KvError

READ_OPS = 50
PATIENCE_S = 20.0
PAUSE_S = 0.2


class Unreadable(AssertionError):
    """A key cannot be read although all is well."""


async def read_all(client: Client, keys: Sequence[str]) -> dict[str, Value | None]:
    """What each key holds; None where there is nothing.

    Raises:
        Unreadable: one of them cannot be read in time.
    """
    deadline = asyncio.get_running_loop().time() + PATIENCE_S
    found: dict[str, Value | None] = {}
    left = list(keys)
    while left:
        group, left = left[:READ_OPS], left[READ_OPS:]
        try:
            outcomes = await client.batch([Get(key) for key in group])
        except KvError as error:
            outcomes = [error] * len(group)
        for key, outcome in zip(group, outcomes, strict=True):
            if isinstance(outcome, Value | KeyNotFound):
                found[key] = outcome if isinstance(outcome, Value) else None
            elif asyncio.get_running_loop().time() < deadline:
                left.append(key)
            else:
                raise Unreadable(f"{key}: {outcome!r}")
        if any(key not in found for key in group):
            await asyncio.sleep(PAUSE_S)
    return found
