"""A process that is connected although its node was removed: it is told, so that it ends.

Guarantees: it is told only once the store has confirmed, since it connected, that the record of the removal stands, for
this control's view may be old and the node a member again; the store is asked once for a record; it is told again until
its connection ends. Leaves to others: who it is (`membership`), proposing (`controller`). Sans-IO. PROTOCOL "Moves".
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.cluster_map import PutNode
from cluster.control.events import RetireNode
from cluster.control.map_store import Outcome
from cluster.control.standing import TELL_AGAIN_S
from kvstore.map_values import NodeInfo, Standing


def is_former(known: NodeInfo | None, boot: int, process: bytes, is_new: bool) -> bool:
    """Whether a process was a member before its node was removed. One on an empty disk may come again, unless it is the
    one that was removed: its disk was empty when it started."""
    if known is None or known.standing is not Standing.REMOVED:
        return False
    return not is_new or (boot, process) == (known.boot, known.process)


class Parting:
    """Args: record: what this control's map says of the node."""

    def __init__(self, record: NodeInfo) -> None:
        # Changes nothing; that it lands says that the record stands.
        self.question = PutNode(record, record)
        self._is_confirmed = False
        self._told_s: float | None = None

    def settled(self, question: PutNode, outcomes: Sequence[Outcome]) -> None:
        """A proposal met the store; one that was made for an earlier connection is another one."""
        if question is self.question:
            self._is_confirmed = Outcome.LANDED in outcomes

    def tell(self, connection: int, now_s: float) -> list[RetireNode]:
        """Tell the node, if it is time."""
        if not self._is_confirmed or (self._told_s is not None and now_s - self._told_s < TELL_AGAIN_S):
            return []
        self._told_s = now_s
        return [RetireNode(self.question.node.id, connection)]
