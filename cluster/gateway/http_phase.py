"""What an HTTP connection waits for.

Guarantees: nothing but the names. Leaves to others: the deadline that each has (`http_protocol`).
"""

from __future__ import annotations

from enum import Enum, auto


class Phase(Enum):
    """What a connection is waiting for; each phase has its own deadline."""

    IDLE = auto()
    HEAD = auto()
    BODY = auto()
    HANDLER = auto()
    READER = auto()
    CLOSING = auto()
