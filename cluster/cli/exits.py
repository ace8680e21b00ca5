"""Exit codes, and the one line on standard error that goes with each failure.

Guarantees: every error that a command may end with has the code that the contract gives it. Leaves to others: who
catches it (`main`).
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Collection
from enum import IntEnum

from pydantic import ValidationError

from kvstore.errors import Conflict, KeyNotFound, KvError, NotBuiltYet, NotFound, OutcomeUnknown, PreconditionFailed


class ExitCode(IntEnum):
    """What a shell script may rely on. FAILED has the number that the contract gives to a condition that failed."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    UNAVAILABLE = 3
    OUTCOME_UNKNOWN = 4


def complain(message: str) -> None:
    """Print one line on standard error, if it can be written: what complains goes on where it cannot."""
    with contextlib.suppress(OSError, ValueError):
        print(f"kvstore: {' '.join(message.split())}", file=sys.stderr, flush=True)


def exit_code(error: KvError) -> ExitCode:
    if isinstance(error, OutcomeUnknown):
        return ExitCode.OUTCOME_UNKNOWN
    if isinstance(error, KeyNotFound | NotFound | PreconditionFailed | Conflict):
        return ExitCode.FAILED
    if isinstance(error, NotBuiltYet) or (400 <= error.status < 500 and error.status != 429):
        return ExitCode.USAGE
    return ExitCode.UNAVAILABLE


def worst(codes: list[ExitCode]) -> ExitCode:
    """The code of a command that did several things; an unknown outcome outweighs all."""
    return max(codes, default=ExitCode.DONE)


def explain_text(error: UnicodeError) -> str:
    """One sentence for text that cannot be sent, most often bytes of an argument that are no text."""
    if isinstance(error, UnicodeEncodeError) and error.encoding == "utf-8":
        return f"{error.object!a} is not UTF-8"
    return str(error)


def explain_settings(error: ValidationError, options: Collection[str]) -> str:
    """One sentence for settings that are refused, naming their variables, and those `options` that the command has."""
    reasons = []
    for item in error.errors():
        name = ".".join(str(part) for part in item["loc"])
        option, variable = f"--{name.replace('_', '-')}", f"KVSTORE_{name.upper()}"
        named = f"{option} ({variable}): " if option in options else f"{variable}: " if name else ""
        reasons.append(named + item["msg"].removeprefix("Value error, "))
    return "; ".join(reasons)
