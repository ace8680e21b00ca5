"""Latencies counted by their rounded value, and what percentile of them is how long.

Guarantees: memory grows with the number of different rounded values, not with that of requests; a percentile is one of
the values counted (nearest rank). Leaves to others: measuring. Sans-IO.
"""

from __future__ import annotations

import math
from collections.abc import Mapping


def rounded_ms(latency_ms: float) -> float:
    """A tenth of a millisecond below 100 ms, a millisecond above."""
    return round(latency_ms, 1) if latency_ms < 100 else float(round(latency_ms))


def percentile_ms(counts: Mapping[float, int], share: float) -> float:
    """The latency that `share` (0 to 1) of those in `counts` (milliseconds → how many) do not exceed; nan of none."""
    wanted = max(1, math.ceil(share * sum(counts.values())))
    seen = 0
    for latency_ms in sorted(counts):
        seen += counts[latency_ms]
        if seen >= wanted:
            return latency_ms
    return math.nan
