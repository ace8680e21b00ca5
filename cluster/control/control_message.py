"""The base of what workers and control say to each other. Sans-IO."""

from __future__ import annotations

import msgspec


class ControlMessage(msgspec.Struct, frozen=True):
    """Base of requests, answers and the values inside them; field names are those of the HTTP API."""
