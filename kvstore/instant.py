"""A point in time as protocol logic is told it. Sans-IO.

Guarantees: nothing but its two readings. Leaves to others: where they come from (`clock`).
"""

from __future__ import annotations

from typing import NamedTuple


class Instant(NamedTuple):
    """`mono_ms` only measures spans inside one process; `wall_ms` is milliseconds since 1970, UTC."""

    mono_ms: int
    wall_ms: int
