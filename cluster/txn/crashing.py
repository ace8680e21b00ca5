"""For tests: calls of coordinators that are known by what they ask, and a crash at one.

Guarantees: before a step nothing of the call has left; after it the answer is here, and the coordinator has not seen
it; a call that gets no answer is no step that is over. Leaves to others: names of steps (`kvstore.crash_point`).
"""

from __future__ import annotations

import asyncio
from contextlib import ExitStack

from cluster.txn.driver import Call
from kvstore.crash_point import CrashPoint
from kvstore.messages import Body, Failed, FinishTxn, Prepare, Transact


class CrashingCalls:
    """Args: call: asks a node; point: where to crash."""

    def __init__(self, call: Call, point: CrashPoint) -> None:
        self._call = call
        self._point = point

    def __call__(self, node: str, body: Body, timeout_s: float) -> asyncio.Future[Body]:
        step = step_of(body)
        if not step:
            return self._call(node, body, timeout_s)
        around = ExitStack()
        around.enter_context(self._point.around({step}))
        future = self._call(node, body, timeout_s)

        def answered(future: asyncio.Future[Body]) -> None:
            if not future.cancelled() and future.exception() is None and not isinstance(future.result(), Failed):
                around.close()

        # The first of its callbacks: the coordinator's comes after it.
        future.add_done_callback(answered)
        return future


def step_of(body: Body) -> str:
    """The step that a call is, empty for none: a transaction on one partition has no votes."""
    if isinstance(body, Prepare):
        return "ask_vote"
    if isinstance(body, Transact) and body.votes:
        return "ask_decision"
    return "tell_decision" if isinstance(body, FinishTxn) else ""
