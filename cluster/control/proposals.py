"""What control proposed to the map store and has no answer to yet.

Guarantees: whoever proposed is told once, when the proposal has met the store, whichever way; one whose outcome is
unknown is proposed again until it is known, unless it is a node's, which asks again by itself, or nobody waits for the
answer to the question that it is for, who then is told nothing. What an earlier attempt
has left in the map counts as landed, though the guard of a later one no longer holds. Leaves to others: what to propose
(`controller` and its parts), and what to do about a change that landed and was changed again before that was known; the
store. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from cluster.cluster_map import Change, ClusterMap
from cluster.control.events import Effect, Propose, Stored
from cluster.control.map_store import Outcome

Settled = Callable[[Sequence[Outcome], ClusterMap], list[Effect]]
Again = Callable[[tuple[Change, ...]], tuple[Change, ...]]


def _same(changes: tuple[Change, ...]) -> tuple[Change, ...]:
    return changes


@dataclass(frozen=True, slots=True)
class _Proposal:
    changes: tuple[Change, ...]
    settled: Settled
    again: Again | None
    # Of repetitions.
    ask: int | None
    is_repeated: bool = False

    def judge(self, outcomes: Sequence[Outcome], cluster: ClusterMap) -> Sequence[Outcome]:
        """The outcomes of the first attempt that met the store, told from those of the last."""
        if not self.is_repeated:
            return outcomes
        return tuple(
            Outcome.LANDED if outcome is Outcome.CONFLICT and cluster.shows(change) else outcome
            for change, outcome in zip(self.changes, outcomes, strict=True)
        )


class Proposals:
    """Begins with none."""

    def __init__(self) -> None:
        self._open: dict[int, _Proposal] = {}
        self._unsettled: list[int] = []
        self._next = 1

    def propose(
        self, changes: Sequence[Change], settled: Settled, again: Again | None = _same, ask: int | None = None
    ) -> Propose:
        """Propose changes.

        Args:
            settled: called with their outcomes and the map that they met; returns what follows.
            again: what to propose, at the same guards, where the outcome of what it is given is unknown; None where an
                unknown outcome is an outcome. Where it is another than what there was it sees to what may land late by
                itself, and is repeated whoever waits.
            ask: the question that is answered when it has met the store, if it is for one alone.
        """
        number = self._next
        self._next += 1
        self._open[number] = _Proposal(tuple(changes), settled, again, ask if again is _same else None)
        return Propose(number, tuple(changes), ask)

    def repeat(self) -> list[Effect]:
        """Propose again what has an unknown outcome."""
        unsettled, self._unsettled = self._unsettled, []
        return [Propose(number, self._changes_again(number), self._open[number].ask) for number in unsettled]

    def withdraw(self, number: int) -> None:
        """Nobody waits for it, and it is proposed no more."""
        del self._open[number]

    def _changes_again(self, number: int) -> tuple[Change, ...]:
        proposal = self._open[number]
        assert proposal.again is not None, "only what is repeated is kept"
        changes = proposal.again(proposal.changes)
        self._open[number] = replace(proposal, changes=changes, is_repeated=True)
        return changes

    def settle(self, event: Stored, cluster: ClusterMap) -> list[Effect]:
        """Proposals met the store, which now says what `cluster` does."""
        effects: list[Effect] = []
        for number, outcomes in event.outcomes:
            if Outcome.UNKNOWN in outcomes and self._open[number].again is not None:
                self._unsettled.append(number)
            else:
                proposal = self._open.pop(number)
                effects += proposal.settled(proposal.judge(outcomes, cluster), cluster)
        return effects
