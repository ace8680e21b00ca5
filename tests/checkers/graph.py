"""Directed graphs whose edges are of several kinds: what hangs together in circles, and a circle in it.

Guarantees: no recursion, time in proportion to the edges. Leaves to others: what a circle means. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator
from functools import partial
from typing import Generic, NamedTuple, TypeVar

Kind = TypeVar("Kind")


class Edge(NamedTuple, Generic[Kind]):
    """`source` came before `target`; `why` tells a person the reason."""

    source: int
    target: int
    kind: Kind
    why: object


class Graph(Generic[Kind]):
    """Nodes are numbered from 0; an edge from a node to itself is none."""

    def __init__(self, count: int) -> None:
        self._leaving: list[list[Edge[Kind]]] = [[] for _ in range(count)]

    def add(self, source: int, target: int, kind: Kind, why: object = None) -> None:
        if source != target:
            self._leaving[source].append(Edge(source, target, kind, why))

    def edges(self, kinds: Collection[Kind], within: Collection[int]) -> Iterator[Edge[Kind]]:
        """Those of these kinds that begin and end within these nodes."""
        for node in within:
            yield from self._from(node, kinds, within)

    def circles(self, kinds: Collection[Kind], within: Collection[int]) -> list[set[int]]:
        """The sets of nodes of which each can be reached from each by edges of these kinds (Tarjan); those of one node
        are left out."""
        return _Tarjan(self, kinds, within).found

    def path(self, start: int, goal: int, kinds: Collection[Kind], within: Collection[int]) -> list[Edge[Kind]] | None:
        """A shortest way by edges of these kinds; None where there is none."""
        came_by: dict[int, Edge[Kind]] = {}
        waiting = deque([start])
        while waiting:
            node = waiting.popleft()
            for edge in self._from(node, kinds, within):
                if edge.target in came_by:
                    continue
                came_by[edge.target] = edge
                if edge.target == goal:
                    return _back(came_by, start, goal)
                waiting.append(edge.target)
        return None

    def targets(self, node: int, kinds: Collection[Kind], within: Collection[int]) -> Iterator[int]:
        return (edge.target for edge in self._from(node, kinds, within))

    def _from(self, node: int, kinds: Collection[Kind], within: Collection[int]) -> Iterator[Edge[Kind]]:
        return (edge for edge in self._leaving[node] if edge.kind in kinds and edge.target in within)


def _back(came_by: dict[int, Edge[Kind]], start: int, goal: int) -> list[Edge[Kind]]:
    way = [came_by[goal]]
    while way[-1].source != start:
        way.append(came_by[way[-1].source])
    return way[::-1]


class _Tarjan(Generic[Kind]):
    def __init__(self, graph: Graph[Kind], kinds: Collection[Kind], within: Collection[int]) -> None:
        self.found: list[set[int]] = []
        self._targets = partial(graph.targets, kinds=kinds, within=within)
        self._order: dict[int, int] = {}
        self._lowest: dict[int, int] = {}
        self._open: list[int] = []
        self._is_open: set[int] = set()
        for node in within:
            if node not in self._order:
                self._visit(node)

    def _visit(self, root: int) -> None:
        self._enter(root)
        under_way = [(root, self._targets(root))]
        while under_way:
            node, targets = under_way[-1]
            for target in targets:
                if target not in self._order:
                    self._enter(target)
                    under_way.append((target, self._targets(target)))
                    break
                if target in self._is_open:
                    self._lowest[node] = min(self._lowest[node], self._order[target])
            else:
                under_way.pop()
                if under_way:
                    above = under_way[-1][0]
                    self._lowest[above] = min(self._lowest[above], self._lowest[node])
                self._leave(node)

    def _enter(self, node: int) -> None:
        self._order[node] = self._lowest[node] = len(self._order)
        self._open.append(node)
        self._is_open.add(node)

    def _leave(self, node: int) -> None:
        if self._lowest[node] != self._order[node]:
            return
        together: set[int] = set()
        while node not in together:
            together.add(self._open.pop())
        self._is_open -= together
        if len(together) > 1:
            self.found.append(together)
