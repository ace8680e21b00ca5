"""What every checker raises."""

from __future__ import annotations


class Violation(AssertionError):
    """A rule that keeps data safe was broken."""
