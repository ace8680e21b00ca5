"""How far moves have come: keys and bytes done and in all, at which rate, and until when.

Guarantees: shows what the nodes' last reports say, nothing else; a rate is what came in the last `WINDOW_S`. Leaves to
others: reports (`membership`), steps (`moving`). Sans-IO.
"""

from __future__ import annotations

from collections import deque

from cluster.cluster_map import ClusterMap
from cluster.control.messages import MoveView, RebalanceView, TransferView
from cluster.control.moving import Scene, Step, step_of
from cluster.control.planning import largest_copy
from cluster.control.view import NEVER_SEEN
from kvstore.map_values import Move

WINDOW_S = 10.0


class Progress:
    """Remembers for each move that goes on what its target had in the last seconds.

    Args:
        is_manual: shown, as `Rebalancing` keeps to it.
    """

    def __init__(self, is_manual: bool) -> None:
        self._is_manual = is_manual
        self._seen: dict[int, deque[tuple[float, int]]] = {}

    def tick(self, scene: Scene, now_s: float) -> None:
        """Time has passed, and reports came."""
        seen, self._seen = self._seen, {}
        for move in scene.cluster.active_moves:
            samples = self._seen[move.id] = seen.get(move.id, deque())
            samples.append((now_s, _done(move, scene)[1]))
            while samples[0][0] < now_s - WINDOW_S and len(samples) > 1:
                samples.popleft()

    def moves(self, scene: Scene) -> tuple[MoveView, ...]:
        """Every move that is not over, in the order in which they were planned."""
        return tuple(self._move_view(move, scene) for move in scene.cluster.active_moves)

    def view(self, scene: Scene) -> RebalanceView:
        """All of them, and how they are steered."""
        moves = self.moves(scene)
        rebalance = scene.cluster.rebalance
        rate = sum(move.bytes_per_second for move in moves)
        done, size_bytes = sum(move.bytes_done for move in moves), sum(move.size_bytes for move in moves)
        return RebalanceView(
            state="paused" if rebalance.is_paused else "running" if moves else "idle",
            max_bytes_per_second=rebalance.max_bytes_per_second,
            keys_done=sum(move.keys_done for move in moves),
            keys=sum(move.keys for move in moves),
            bytes_done=done,
            size_bytes=size_bytes,
            bytes_per_second=rate,
            eta_s=_eta_s(size_bytes - done, rate),
            moves=moves,
            transfers=_transfers(scene.cluster),
            manual=self._is_manual,
        )

    def _move_view(self, move: Move, scene: Scene) -> MoveView:
        step = step_of(move, scene)
        copy = largest_copy(scene.cluster.entries[move.pid], scene.status)
        keys, size_bytes = (copy.keys, copy.size_bytes) if copy is not None else (0, 0)
        keys_done, bytes_done = _done(move, scene)
        rate = self._rate(move)
        is_filled = step not in (Step.PLANNED, Step.BACKFILL)
        return MoveView(
            id=move.id,
            partition=move.pid,
            source=move.source,
            target=move.target,
            step=step.value,
            keys_done=min(keys_done, keys),
            keys=keys,
            bytes_done=min(bytes_done, size_bytes),
            size_bytes=size_bytes,
            bytes_per_second=rate,
            eta_s=0.0 if is_filled else _eta_s(size_bytes - bytes_done, rate),
        )

    def _rate(self, move: Move) -> int:
        samples = self._seen.get(move.id)
        if not samples or samples[-1][0] <= samples[0][0]:
            return 0
        return max(0, round((samples[-1][1] - samples[0][1]) / (samples[-1][0] - samples[0][0])))


def _transfers(cluster: ClusterMap) -> tuple[TransferView, ...]:
    """Each once, as its source's entry has it, or its target's where the source is done with it."""
    going = [(entry, entry.transfer) for entry in cluster.entries.values() if entry.transfer is not None]
    found = {one.id: (entry, one) for entry, one in going if one.target == entry.pid}
    found |= {one.id: (entry, one) for entry, one in going if one.source == entry.pid}
    return tuple(
        TransferView(
            one.id,
            entry.keyspace,
            one.source,
            one.target,
            one.state.value,
            None if one.tenant is None else one.tenant.decode("utf-8", "backslashreplace"),
        )
        for _, (entry, one) in sorted(found.items())
    )


def _done(move: Move, scene: Scene) -> tuple[int, int]:
    """Keys and bytes that the target has."""
    if scene.cluster.entries[move.pid].holds(move.target) is None:
        return 0, 0
    copy = scene.status.get(move.target, NEVER_SEEN).copies.get(move.pid)
    return (copy.keys, copy.size_bytes) if copy is not None else (0, 0)


def _eta_s(left_bytes: int, rate: int) -> float | None:
    if left_bytes <= 0:
        return 0.0
    return round(left_bytes / rate, 1) if rate else None
