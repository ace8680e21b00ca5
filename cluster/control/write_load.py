"""How much is written to partitions and nodes, as control learns it from reports.

Guarantees: a partition's rate is what its leader last reported; a node's load forgets half of what was written in
`HALF_LIFE_S`; the same reports at the same times give the same numbers. Leaves to others: counting (nodes), what
follows (`reshaping`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from cluster.control.view import NEVER_SEEN, NodeStatus
from kvstore.map_values import Entry
from kvstore.messages import CopyReport

HALF_LIFE_S = 60.0


def leaders_report(entry: Entry, status: Mapping[str, NodeStatus]) -> CopyReport | None:
    """What the partition's leader reported of it, None where nobody leads and reports."""
    if entry.leader is None:
        return None
    report = status.get(entry.leader.node, NEVER_SEEN).copies.get(entry.pid)
    return report if report is not None and report.serving and report.epoch == entry.epoch else None


class WriteLoad:
    """Begins knowing nothing."""

    def __init__(self) -> None:
        self.by_pid: dict[int, float] = {}
        self._by_node: dict[str, float] = {}
        self._seen_s: float | None = None

    def tick(self, entries: Iterable[Entry], status: Mapping[str, NodeStatus], now_s: float) -> None:
        """Take note of what was last reported of these partitions."""
        passed_s = 0.0 if self._seen_s is None else now_s - self._seen_s
        self._seen_s = now_s
        kept = 0.5 ** (passed_s / HALF_LIFE_S)
        self._by_node = {node: load * kept for node, load in self._by_node.items() if node in status}
        self.by_pid = {}
        for entry in entries:
            report = leaders_report(entry, status)
            if report is None or entry.leader is None:
                continue
            self.by_pid[entry.pid] = report.writes
            node = entry.leader.node
            self._by_node[node] = self._by_node.get(node, 0.0) + report.writes * passed_s

    def of(self, pids: Iterable[int]) -> float:
        """Writes a second of these partitions together."""
        return sum(self.by_pid.get(pid, 0.0) for pid in pids)

    def least_first(self, nodes: Iterable[str]) -> list[str]:
        """Nodes in the order of what was written to what they led lately, the least first."""
        return sorted(nodes, key=lambda node: (self._by_node.get(node, 0.0), node))
