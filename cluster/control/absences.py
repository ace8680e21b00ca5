"""Which nodes have been away for so long that their copies are made anew elsewhere.

Guarantees: a node counts as gone for good only after it was away, without a break and under this control's own eyes,
for longer than is allowed; while more than half of the nodes that hold copies are away nobody does, nor for a grace
after that, for then it is rather this control that is cut off. Time that control did not watch, before its start or
while it stood still, counts for nothing. Leaves to others: what follows from it (`repair`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Collection

from cluster.cluster_map import ClusterMap

MAJORITY_GRACE_S = 2.5
STOOD_STILL_S = 5.0


class Absences:
    """Args: replace_after_s: how long a node may be away."""

    def __init__(self, replace_after_s: float) -> None:
        self._replace_after_s = replace_after_s
        self._since_s: dict[str, float] = {}
        self._ticked_s = 0.0
        self._calm_from_s = 0.0
        self._cluster: ClusterMap | None = None
        self._holders: frozenset[str] = frozenset()
        self._members: frozenset[str] = frozenset()

    def tick(self, cluster: ClusterMap, up: Collection[str], now_s: float) -> frozenset[str]:
        """Look again; to be called several times a second.

        Args:
            cluster: the map as it stands.
            up: the connected members.
            now_s: a clock that never goes back.

        Returns:
            The nodes that have been away for too long.
        """
        if now_s - self._ticked_s > STOOD_STILL_S:
            self._since_s.clear()
        self._ticked_s = now_s
        if cluster is not self._cluster:
            self._cluster = cluster
            copies = (rid for entry in cluster.entries.values() for rid in (*entry.replicas, *entry.adding))
            self._holders = frozenset(rid.node for rid in copies)
            self._members = self._holders | {node for node, info in cluster.nodes.items() if info.may_host}
        away = self._holders.difference(up)
        all_away = self._members.difference(up)
        self._since_s = {node: self._since_s.get(node, now_s) for node in sorted(all_away)}
        if 2 * len(away) > len(self._holders):
            self._calm_from_s = now_s + MAJORITY_GRACE_S
        if now_s < self._calm_from_s:
            return frozenset()
        return frozenset(node for node, since_s in self._since_s.items() if now_s - since_s > self._replace_after_s)
