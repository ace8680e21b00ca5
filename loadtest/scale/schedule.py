"""How long moves take: a model of when each copy of a plan is on its way.

Guarantees: as control does, moves begin in the order of the plan, each as soon as its source sends, and its target
takes, fewer copies than allowed; a copy takes its bytes at the rate of its node, and what the steps of a move take.
Leaves to others: the plan (the product's placement), what rate a node has. Sans-IO.
"""

from __future__ import annotations

import heapq
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.placement.relocation import Relocation


@dataclass(frozen=True)
class Schedule:
    """From the first move to the end of the last; `most_at_once` moves were on their way at some time."""

    moves: int
    seconds: float
    most_at_once: int
    moves_per_s: float


def schedule(moves: Sequence[Relocation], at_once: int, seconds_each: float) -> Schedule:
    """Run a plan.

    Args:
        moves: in the order of the plan.
        at_once: how many copies a node sends, and how many it takes, at a time.
        seconds_each: how long one move takes.
    """
    sending: Counter[str] = Counter()
    taking: Counter[str] = Counter()
    ways: dict[tuple[str, str], deque[int]] = {}
    for number, move in enumerate(moves):
        ways.setdefault((move.source, move.target), deque()).append(number)
    under_way: list[tuple[float, int, Relocation]] = []
    now_s, most = 0.0, 0
    while ways or under_way:
        # Of the moves from one node to another only the first can be next.
        first = [(numbers[0], way) for way, numbers in ways.items()]
        heapq.heapify(first)
        while first:
            number, way = heapq.heappop(first)
            if sending[way[0]] >= at_once or taking[way[1]] >= at_once:
                continue
            sending[way[0]] += 1
            taking[way[1]] += 1
            heapq.heappush(under_way, (now_s + seconds_each, number, moves[number]))
            ways[way].popleft()
            if ways[way]:
                heapq.heappush(first, (ways[way][0], way))
            else:
                del ways[way]
        most = max(most, len(under_way))
        now_s = under_way[0][0]
        while under_way and under_way[0][0] <= now_s:
            _, _, ended = heapq.heappop(under_way)
            sending[ended.source] -= 1
            taking[ended.target] -= 1
    return Schedule(len(moves), now_s, most, len(moves) / now_s if now_s else 0.0)


def move_s(node_bytes: float, copies: float, bytes_per_s: float, steps_s: float) -> float:
    """How long one of a node's `copies` takes, that hold `node_bytes` together."""
    return node_bytes / copies / bytes_per_s + steps_s
