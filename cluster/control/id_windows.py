"""Windows of time in which a gateway's process makes ids: which were handed out, and where the next one lies.

Guarantees: windows of one worker number never overlap; one for a process that had none yet lies behind all others, so
ids rise over restarts whatever clocks say; none begins before the newest one does. Leaves to others: making this
durable before a window is used (the map stores), the ids themselves (`gateway.ids`). Sans-IO. PROTOCOL "Ids".
"""

from __future__ import annotations

import msgspec

from cluster.control.messages import DrawIdWindow, IdWindow

WINDOW_MS = 10_000
TIME_END_MS = 1 << 41


class IdWindows(msgspec.Struct, frozen=True, array_like=True):
    """What is remembered of all windows: where the newest begins, and by worker number where those end that reach
    beyond that. The others need no memory, for none begins before the newest."""

    newest_ms: int = 0
    untils: dict[int, int] = {}

    def drawn(self, asked: DrawIdWindow) -> tuple[IdWindows, IdWindow]:
        """What is to be remembered when one more is handed out, and that one, which is empty at the end of time."""
        others_ms = max(self.untils.values(), default=0) if asked.is_first else self.untils.get(asked.worker, 0)
        start_ms = min(max(asked.not_before_ms, self.newest_ms, others_ms), TIME_END_MS)
        until_ms = min(start_ms + WINDOW_MS, TIME_END_MS)
        reaching = {worker: end_ms for worker, end_ms in self.untils.items() if end_ms > start_ms}
        return IdWindows(start_ms, reaching | {asked.worker: until_ms}), IdWindow(asked.worker, start_ms, until_ms)
