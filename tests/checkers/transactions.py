"""Whether transactions on lists are strictly serializable, in the manner of Elle.

Guarantees: there is one order of all transactions that took effect, in which each read shows exactly what was appended
before, and none stands before one that had ended when it began. What contradicts that is a circle of dependencies, and
named after Adya by what is in it: `ww` alone is G0, with `wr` G1c, with one `rw` G-single, with more of them G2-item;
`-realtime` where only the order of real time closes it. Leaves to others: single lists (`list_versions`), recording,
and a last read of each key. Pure.

The order of real time costs three edges a transaction: ends are strung on a chain of moments, a transaction comes after
the last moment before it began.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterable, Sequence
from enum import Enum

from checkers.graph import Edge, Graph
from checkers.history import Anomaly, Outcome
from checkers.list_versions import Versions
from checkers.transaction_history import Transaction

# Where very much hangs together, a circle of one `rw` is looked for among those that go back farthest in time.
SINGLES_MAX = 500


class Why(Enum):
    """Why one transaction comes before another: it appended before, was read, read what was there before, or ended."""

    WW = "ww"
    WR = "wr"
    RW = "rw"
    TIME = "time"


DIRTY = {Why.WW}
READ_COMMITTED = {Why.WW, Why.WR}
ALL = {Why.WW, Why.WR, Why.RW}


def check_transactions(history: Iterable[Transaction]) -> int:
    """Returns how many transactions took effect.

    Raises:
        Anomaly: no order explains what was seen; its text begins with the name of what is wrong.
    """
    history = sorted(history, key=lambda one: one.begin)
    versions = Versions(history)
    graph = _dependencies(history, versions)
    nodes = graph.nodes
    if graph.circles({*ALL, Why.TIME}, nodes):
        raise Anomaly(_told(history, *_worst(history, graph)))
    return len(versions.certain)


class _Dependencies(Graph[Why]):
    """Transactions by their numbers, and moments after them."""

    def __init__(self, count: int) -> None:
        super().__init__(2 * count)
        self.nodes = range(2 * count)


def _dependencies(history: Sequence[Transaction], versions: Versions) -> _Dependencies:
    graph = _Dependencies(len(history))
    unseen = {key: versions.unseen(key) for key in versions.longest}
    for key, items in versions.longest.items():
        writers = [versions.writer(key, item) for item in items]
        for place in range(1, len(items)):
            graph.add(writers[place - 1], writers[place], Why.WW, (key, items[place]))
        for number in unseen[key] if items else ():
            graph.add(writers[-1], number, Why.WW, key)
    for reader, key, items in versions.sights:
        if items:
            graph.add(versions.writer(key, items[-1]), reader, Why.WR, (key, items[-1]))
        later = versions.longest[key][len(items) : len(items) + 1]
        for number in [versions.writer(key, item) for item in later] or unseen[key]:
            graph.add(reader, number, Why.RW, key)
    _add_time(history, versions.certain, graph)
    return graph


def _add_time(history: Sequence[Transaction], certain: Collection[int], graph: _Dependencies) -> None:
    """At one and the same moment beginnings come first, which refuses less."""
    events = [(history[number].begin, 0, number) for number in certain]
    events += [(history[number].end, 1, number) for number in certain if history[number].outcome is Outcome.DONE]
    moment: int | None = None
    moments = itertools.count(len(history))
    for _, is_end, number in sorted(events):
        if is_end:
            before, moment = moment, next(moments)
            graph.add(number, moment, Why.TIME)
            if before is not None:
                graph.add(before, moment, Why.TIME)
        elif moment is not None:
            graph.add(moment, number, Why.TIME)


def _worst(history: Sequence[Transaction], graph: _Dependencies) -> tuple[str, list[Edge[Why]]]:
    """The first of the names that fits, and a circle of that name."""
    for suffix, time in (("", set()), ("-realtime", {Why.TIME})):
        for name, kinds in (("G0", DIRTY | time), ("G1c", READ_COMMITTED | time)):
            for together in graph.circles(kinds, graph.nodes):
                return name + suffix, _circle(graph, kinds, together)
        circles = graph.circles(ALL | time, graph.nodes)
        for together in circles:
            if (single := _single(history, graph, READ_COMMITTED | time, together)) is not None:
                return "G-single" + suffix, single
        for together in circles:
            return "G2-item" + suffix, _circle(graph, ALL | time, together)
    raise AssertionError("there was a circle")


def _circle(graph: _Dependencies, kinds: Collection[Why], together: set[int]) -> list[Edge[Why]]:
    """A short one: from one of the edges that are no time, and back."""
    edge = next(edge for edge in graph.edges(kinds, together) if edge.kind is not Why.TIME)
    back = graph.path(edge.target, edge.source, kinds, together)
    assert back is not None
    return [edge, *back]


def _single(
    history: Sequence[Transaction], graph: _Dependencies, kinds: Collection[Why], together: set[int]
) -> list[Edge[Why]] | None:
    """A circle with one `rw`."""
    edges = list(graph.edges({Why.RW}, together))
    edges.sort(key=lambda edge: history[edge.target].begin - history[edge.source].begin)
    for edge in edges[:SINGLES_MAX]:
        if (back := graph.path(edge.target, edge.source, kinds, together)) is not None:
            return [edge, *back]
    return None


def _told(history: Sequence[Transaction], name: str, circle: Sequence[Edge[Why]]) -> str:
    lines = [f"{name}: each of these comes before the next, and the last before the first"]
    for edge in circle:
        if edge.source < len(history):
            why = "it had ended" if edge.kind is Why.TIME else f"{edge.kind.value} {edge.why}"
            lines.append(f"  {history[edge.source]}  ({why})")
    return "\n".join(lines)
