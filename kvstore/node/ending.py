"""The end of a node's process where it must not go on.

Guarantees: the process ends at once, from whichever thread, whether or not what is told of it can be written; nothing
is saved, so a start finds what was durable. Leaves to others: an orderly stop (`process`).
"""

from __future__ import annotations

import os
import sys
import traceback
from typing import NoReturn

EXIT_FAILED = 70


def end_process(reason: str, error: Exception | None = None) -> NoReturn:
    """Tell why, in one line after the traceback of `error`, and end."""
    try:
        lines = [] if error is None else traceback.format_exception(error)
        sys.stderr.write(f"{''.join(lines)}kvstore: {reason}\n")
        sys.stderr.flush()
    finally:
        os._exit(EXIT_FAILED)
