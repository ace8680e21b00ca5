"""Who proposed is told what became of it, also where an answer of the store was lost."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import pytest

from cluster.cluster_map import Change, ClusterMap, PutNode, PutRebalance
from cluster.control.events import Effect, Propose, Stored
from cluster.control.map_store import Outcome
from cluster.control.proposals import Proposals
from kvstore.map_values import NodeInfo, Rebalance
from kvstore.messages import MapUpdate

LANDED, CONFLICT, UNKNOWN = Outcome.LANDED, Outcome.CONFLICT, Outcome.UNKNOWN
NODE = NodeInfo("n1", "127.0.0.1:1", "z", 1.0, 1)
CHANGES: list[Change] = [PutNode(NODE, None), PutRebalance(Rebalance(ver=1, is_paused=True))]


class Store:
    """A map that proposals meet, and what was told of them."""

    def __init__(self) -> None:
        self.cluster = ClusterMap.empty(b"c" * 8)
        self.proposals = Proposals()
        self.told: list[Sequence[Outcome]] = []

    def propose(self, changes: Sequence[Change]) -> Propose:
        def settled(outcomes: Sequence[Outcome], _cluster: ClusterMap) -> list[Effect]:
            self.told.append(outcomes)
            return []

        return self.proposals.propose(changes, settled)

    def meet(self, proposed: Effect, *, is_heard: bool = True) -> None:
        """The proposal meets the map, and is answered."""
        assert isinstance(proposed, Propose)
        self.cluster, landed = self.cluster.changed(proposed.changes)
        outcomes = tuple(LANDED if one else CONFLICT for one in landed) if is_heard else (UNKNOWN,) * len(landed)
        update = MapUpdate(self.cluster.map_ver, [], [])
        self.proposals.settle(Stored(((proposed.proposal, outcomes),), update), self.cluster)

    def lose_then_meet(self, changes: Sequence[Change]) -> None:
        self.meet(self.propose(changes), is_heard=False)
        assert self.told == []
        (again,) = self.proposals.repeat()
        self.meet(again)


@pytest.fixture
def store() -> Store:
    return Store()


def test_what_landed_and_was_not_heard_of_is_told_as_landed(store: Store) -> None:
    store.lose_then_meet(CHANGES)
    assert [*store.told] == [(LANDED, LANDED)]


def test_of_several_each_is_told_for_itself(store: Store) -> None:
    store.meet(store.propose([PutRebalance(Rebalance(ver=1, max_bytes_per_second=7))]))
    store.told.clear()
    store.lose_then_meet(CHANGES)
    assert [*store.told] == [(LANDED, CONFLICT)]


def test_one_that_never_reached_the_store_lands_when_it_is_repeated(store: Store) -> None:
    proposed = store.propose(CHANGES)
    unknown = Stored(((proposed.proposal, (UNKNOWN, UNKNOWN)),), MapUpdate(0, [], []))
    store.proposals.settle(unknown, store.cluster)
    store.meet(*store.proposals.repeat())
    assert [*store.told] == [(LANDED, LANDED)]


def test_what_stands_already_is_a_conflict_for_a_first_attempt(store: Store) -> None:
    store.meet(store.propose(CHANGES))
    store.meet(store.propose(CHANGES))
    assert [*store.told] == [(LANDED, LANDED), (CONFLICT, CONFLICT)]


def test_what_was_changed_again_meanwhile_is_a_conflict(store: Store) -> None:
    store.meet(store.propose(CHANGES[:1]), is_heard=False)
    store.meet(store.propose([PutNode(msgspec.structs.replace(NODE, zone="other"), NODE)]))
    store.told.clear()
    store.meet(*store.proposals.repeat())
    assert [*store.told] == [(CONFLICT,)]


def test_one_for_a_question_says_so_each_time_and_may_be_withdrawn(store: Store) -> None:
    proposed = store.proposals.propose(CHANGES, lambda *_: [], ask=7)
    store.meet(proposed, is_heard=False)
    (again,) = store.proposals.repeat()
    assert [one.ask for one in (proposed, again) if isinstance(one, Propose)] == [7, 7]
    store.proposals.withdraw(proposed.proposal)
    assert store.proposals.repeat() == []


def test_one_that_is_changed_for_its_repetition_is_repeated_whoever_waits(store: Store) -> None:
    proposed = store.proposals.propose(CHANGES, lambda *_: [], lambda _: (), ask=7)
    store.proposals.settle(Stored(((proposed.proposal, (UNKNOWN,)),), MapUpdate(0, [], [])), store.cluster)
    assert store.proposals.repeat() == [Propose(proposed.proposal, ())]
    assert proposed.ask == 7
