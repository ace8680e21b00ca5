"""Filling quotas exactly: partitions get places on nodes, by preference where possible and by exchange where not.

Guarantees: places that were kept stay unless a node is above its quota; a place is taken in the order of each
partition's candidates while there is room; what then finds no room gets it by the shortest chain of exchanges (an
augmenting path), which exists whenever the quotas can be met at all. Leaves to others: quotas (`shares`), preference
(`ring`, `balance`). Sans-IO.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence

from cluster.placement.shares import ZoneRule

# A vertex of the search for a chain: a partition with a copy to place anywhere (zone None, no node), one with a copy
# to place in a zone, or a node (partition -1) that got one copy too many.
_Vertex = tuple[int, str | None, str]


class Fill:
    """Places under construction.

    Args:
        candidates: for each partition the nodes that may have it, the preferred first.
        zone_of: the zone of each node.
        rules: how many places of one partition stand in each zone.
        wanted: places of each partition.
    """

    def __init__(
        self,
        candidates: Mapping[int, Sequence[str]],
        zone_of: Mapping[str, str],
        rules: Mapping[str, ZoneRule],
        wanted: int,
    ) -> None:
        self.places: dict[int, list[str]] = {pid: [] for pid in candidates}
        self.held: dict[str, dict[int, None]] = {node: {} for node in zone_of}
        self._candidates = candidates
        self._zone_of = zone_of
        self._rules = rules
        self._wanted = wanted
        self._nodes_of: dict[str, list[str]] = {zone: [] for zone in rules}
        for node, zone in zone_of.items():
            self._nodes_of[zone].append(node)
        self._elective = wanted - sum(rule.least for rule in rules.values())

    def loads(self) -> dict[str, int]:
        return {node: len(pids) for node, pids in self.held.items()}

    def keep(self, pid: int, node: str) -> None:
        """Keep a place that `pid` has now, where the rules of zones allow it; before any quota is known."""
        if node in self._candidates[pid] and self._fits(pid, node):
            self._add(pid, node)

    def shed(self, quotas: Mapping[str, int]) -> None:
        """Give up places on nodes above their quota: at most one per partition where possible, not a partition's
        first place (its leader's) where possible, then those that the partition itself prefers least."""
        given_up: dict[int, int] = {}
        for node, pids in self.held.items():
            excess = len(pids) - quotas[node]
            if excess <= 0:
                continue
            leaving = sorted(
                pids,
                key=lambda pid: (
                    given_up.get(pid, 0),
                    self.places[pid][0] == node,
                    -self._candidates[pid].index(node),
                    pid,
                ),
            )
            for pid in leaving[:excess]:
                self._remove(pid, node)
                given_up[pid] = given_up.get(pid, 0) + 1

    def fill(self, order: Sequence[int], quotas: Mapping[str, int]) -> list[int]:
        """Give every partition its places; returns those that no chain could help (none if the quotas can be met)."""
        for pid in order:
            for node in self._candidates[pid]:
                if len(self.places[pid]) >= self._wanted:
                    break
                if len(self.held[node]) < quotas[node] and self._fits(pid, node):
                    self._add(pid, node)
        helpless: list[int] = []
        for pid in order:
            while len(self.places[pid]) < self._wanted:
                if not self._exchange(pid, quotas):
                    helpless.append(pid)
                    break
        return helpless

    def reachable(self, pid: int) -> list[str]:
        """The nodes that could take one more so that `pid` gets a place."""
        return [node for (_, _, node), _ in self._search(pid) if node]

    def _count(self, pid: int, zone: str) -> int:
        return sum(self._zone_of[node] == zone for node in self.places[pid])

    def _elected(self, pid: int) -> int:
        return sum(max(0, self._count(pid, zone) - rule.least) for zone, rule in self._rules.items())

    def _fits(self, pid: int, node: str) -> bool:
        if node in self.places[pid] or len(self.places[pid]) >= self._wanted:
            return False
        zone = self._zone_of[node]
        count, rule = self._count(pid, zone), self._rules[zone]
        return count < rule.least or (count < rule.most and self._elected(pid) < self._elective)

    def _add(self, pid: int, node: str) -> None:
        self.places[pid].append(node)
        self.held[node][pid] = None

    def _remove(self, pid: int, node: str) -> None:
        self.places[pid].remove(node)
        del self.held[node][pid]

    def _exchange(self, pid: int, quotas: Mapping[str, int]) -> bool:
        parents: dict[_Vertex, _Vertex | None] = {}
        for vertex, parent in self._search(pid):
            parents[vertex] = parent
            node = vertex[2]
            if node and len(self.held[node]) < quotas[node]:
                self._apply(vertex, parents)
                return True
        return False

    def _search(self, pid: int) -> Iterator[tuple[_Vertex, _Vertex | None]]:
        """Every vertex that a new place of `pid` can reach by exchanges, nearest first, with the one before it."""
        lacking = [zone for zone, rule in self._rules.items() if self._count(pid, zone) < rule.least]
        starts: list[_Vertex] = [(pid, zone, "") for zone in lacking]
        if self._elected(pid) < self._elective:
            starts.append((pid, None, ""))
        seen: set[_Vertex] = set(starts)
        unseen = {zone: set(nodes) for zone, nodes in self._nodes_of.items()}
        queue: deque[_Vertex] = deque(starts)
        entered: set[str] = set()
        yield from ((start, None) for start in starts)
        while queue:
            vertex = queue.popleft()
            if vertex[2] and vertex[2] not in entered:
                # What a node holds comes when its turn is there, with what it leads to: seldom is all of it needed.
                entered.add(vertex[2])
                queue.append(vertex)
                continue
            for source in self._held(vertex[2]) if vertex[2] else (vertex,):
                if source != vertex:
                    if source in seen:
                        continue
                    seen.add(source)
                    yield source, vertex
                for found in self._next(source, unseen):
                    if found not in seen:
                        seen.add(found)
                        if found[2]:
                            unseen[self._zone_of[found[2]]].discard(found[2])
                        queue.append(found)
                        yield found, source

    def _held(self, node: str) -> Iterator[_Vertex]:
        return ((pid, self._zone_of[node], "") for pid in self.held[node])

    def _next(self, vertex: _Vertex, unseen: Mapping[str, set[str]]) -> Iterator[_Vertex]:
        pid, zone, _ = vertex
        if zone is None:
            for other, rule in self._rules.items():
                if max(0, self._count(pid, other) - rule.least) < rule.most - rule.least:
                    yield pid, other, ""
            return
        for candidate in self._candidates[pid] if unseen[zone] else ():
            if candidate in unseen[zone] and candidate not in self.places[pid]:
                yield -1, None, candidate
        if self._count(pid, zone) > self._rules[zone].least:
            yield pid, None, ""

    def _apply(self, end: _Vertex, parents: Mapping[_Vertex, _Vertex | None]) -> None:
        added: list[tuple[int, str]] = []
        removed: list[tuple[int, str]] = []
        vertex, parent = end, parents[end]
        while parent is not None:
            if vertex[2]:
                added.append((parent[0], vertex[2]))
            elif parent[2]:
                removed.append((vertex[0], parent[2]))
            vertex, parent = parent, parents[parent]
        for pid, node in removed:
            self._remove(pid, node)
        for pid, node in added:
            self._add(pid, node)
