"""Questions to control, each for as long as somebody waits for its answer.

Guarantees: each ends once: as control answers it, or when its time is over, or when control ends. One that ends
unanswered is told as definite only where nothing that it would change was handed to the map store; what was not handed
over by then never is, for `is_awaited` says so. Leaves to others: answers (`controller`), handing over (`server`).
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterable
from dataclasses import dataclass

from cluster.control.events import Propose
from cluster.control.keyspace_messages import LearnKeyspaces
from cluster.control.messages import AdmitNode, Answer, ChangeRequest, DrawIdWindow, DrawIncarnation, Request
from kvstore.errors import KvError, NoLeader, OutcomeUnknown, ShuttingDown

# Asked by this process for itself: it cannot do without, or waits as long as it will.
OWN_REQUESTS = (DrawIncarnation, DrawIdWindow)


@dataclass(slots=True)
class _Ask:
    request: Request
    answer: asyncio.Future[Answer]
    is_handed: bool = False


class Asks:
    """Args: timeout_s: how long an answer may take; None where that is left to who asks."""

    def __init__(self, timeout_s: float | None) -> None:
        self._timeout_s = timeout_s
        self._open: dict[int, _Ask] = {}
        self._numbers = itertools.count(1)

    def begin(self, request: Request) -> int:
        """Somebody asks; returns the number of the question."""
        number = next(self._numbers)
        self._open[number] = _Ask(request, asyncio.get_running_loop().create_future())
        return number

    async def answered(self, number: int) -> Answer:
        """What is answered, or raised where it is refused.

        Raises:
            OutcomeUnknown: the time is over, and a change may have landed, or land yet.
            NoLeader: the time is over, and nothing was changed, nor will be.
        """
        ask = self._open[number]
        try:
            async with asyncio.timeout(None if isinstance(ask.request, OWN_REQUESTS) else self._timeout_s):
                return await ask.answer
        except TimeoutError as error:
            # Who is to be admitted is dialled on, and becomes a member when it answers.
            if ask.is_handed or isinstance(ask.request, AdmitNode):
                raise OutcomeUnknown("the map store has not confirmed it in time") from error
            raise NoLeader("the map store does not answer, and nothing was changed") from error

    def end(self, number: int) -> None:
        """Nobody waits for it any more."""
        del self._open[number]

    def is_awaited(self, number: int | None) -> bool:
        """Whether what is to be done for this question still is; what is for none always."""
        return number is None or number in self._open

    def hand_over(self, proposals: Iterable[Propose]) -> None:
        """The map store is about to get these."""
        for proposal in proposals:
            if proposal.ask in self._open:
                self._open[proposal.ask].is_handed = True
            elif proposal.ask is None:
                self._mark_admissions()

    def _mark_admissions(self) -> None:
        """Nodes become members by proposals that are made for all who asked for them."""
        for ask in self._open.values():
            ask.is_handed |= isinstance(ask.request, AdmitNode)

    def reply(self, number: int, answer: Answer) -> None:
        """Answer it, if somebody waits for that."""
        ask = self._open.get(number)
        if ask is not None and not ask.answer.done():
            ask.answer.set_result(answer)

    def refuse(self, number: int, error: KvError) -> None:
        """Refuse it, if somebody waits for that."""
        ask = self._open.get(number)
        if ask is not None and not ask.answer.done():
            ask.answer.set_exception(error)

    def refuse_unhanded(self, number: int) -> None:
        """The map store is known to be silent, and what this would change, or learn, waits for it."""
        if isinstance(self._open[number].request, ChangeRequest | LearnKeyspaces):
            self.refuse(number, NoLeader("the map store does not answer, and nothing was changed"))

    def give_up(self) -> None:
        """Control ends."""
        for number, ask in self._open.items():
            kind = OutcomeUnknown if ask.is_handed else ShuttingDown
            self.refuse(number, kind("the gateway is stopping"))
