"""When a request is tried again.

Guarantees: only a refusal that promises that nothing was applied is tried again, never past the caller's deadline, and
not sooner than the server asked for. Leaves to others: the clock, the randomness and the sleep. Sans-IO.
"""

from __future__ import annotations

from kvstore.errors import KvError

RETRIED_STATUS = frozenset({429, 503})
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 2.0


def retry_after_s(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for; 0 where it is absent or a date."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else 0.0


def pause_before_retry(error: KvError, attempt: int, asked_s: float, left_s: float, jitter: float) -> float | None:
    """Seconds to wait before the next attempt, or None where there is none.

    Args:
        attempt: how many attempts were made, from 1.
        asked_s: what the server asked for, in seconds.
        left_s: what is left of the caller's time, in seconds.
        jitter: a random number from 0 to 1, drawn for this pause.
    """
    if not error.definite or error.status not in RETRIED_STATUS:
        return None
    grown_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(attempt, 10))
    pause_s = max(asked_s, grown_s * (0.5 + jitter / 2))
    return pause_s if pause_s < left_s else None
