"""When a request is tried again.

Guarantees: only a refusal that promises that nothing was applied is tried again, and under a token also what has an
unknown outcome; never with so little of the caller's time left that the attempt would only be lost, and not sooner than
the server asked for; once an attempt is unknown, only what the token's first outcome can be is told. Leaves to others:
the clock, the randomness and the sleep. Sans-IO.
"""

from __future__ import annotations

from kvstore.errors import KvError

RETRIED_STATUS = frozenset({429, 503})
OUTCOME_STATUS = frozenset({412, 422})
# The server remembers a token for 300 s.
TOKEN_S_MAX = 240.0
PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 2.0
# The part of a call's time that is kept for its last attempt.
RESERVE = 0.1


def retry_after_s(header: str | None) -> float:
    """Seconds that a `Retry-After` header asks for; 0 where it is absent or a date."""
    return float(header) if header is not None and header.isascii() and header.isdigit() else 0.0


def pause_before_retry(
    error: KvError, attempt: int, asked_s: float, left_s: float, jitter: float, *, has_token: bool = False
) -> float | None:
    """Seconds to wait before the next attempt, or None where there is none.

    Args:
        attempt: how many attempts were made, from 1.
        asked_s: what the server asked for, in seconds.
        left_s: what is left of the caller's time, its reserve aside, in seconds.
        jitter: a random number from 0 to 1, drawn for this pause.
        has_token: whether the server knows the request again.
    """
    is_retried = error.status in RETRIED_STATUS if error.definite else has_token
    if not is_retried:
        return None
    grown_s = min(PAUSE_S_MAX, PAUSE_S_MIN * 2.0 ** min(attempt, 10))
    pause_s = max(asked_s, grown_s * (0.5 + jitter / 2))
    return pause_s if pause_s < left_s else None


def told(failure: KvError, unknown: KvError | None) -> KvError:
    """What a caller is told: `failure`, unless an earlier attempt is `unknown` and it says nothing of that."""
    return failure if unknown is None or failure.status in OUTCOME_STATUS else unknown
