"""Requests that write, as they were sent, so that they can be sent again."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from checkers.dictionary import Write


@dataclass(eq=False, slots=True)
class Request:
    """A request that may be sent again. Of each operation there is its key, and what it writes, None for a read."""

    kind: str
    method: str
    path: str
    headers: dict[str, str]
    body: bytes | None
    ops: list[tuple[bytes, Write | None]]
    answer_form: str = ""
    asked_at: float = field(default_factory=time.monotonic)

    @property
    def keys(self) -> set[bytes]:
        return {key for key, _ in self.ops}
