"""The faults of the in-memory map store, and how an unknown outcome is settled."""

from __future__ import annotations

import pytest

from cluster.cluster_map import PutNode
from cluster.control.map_store import Outcome
from cluster.control.map_store.memory import Fault, MemoryMapStore
from kvstore.map_values import NodeInfo

NODE = NodeInfo("n1", "127.0.0.1:1", "a", 1.0, 1)
OTHER = NodeInfo("n1", "127.0.0.1:2", "a", 1.0, 1)


def store_with(*faults: Fault) -> MemoryMapStore:
    planned = list(faults)
    return MemoryMapStore(b"cluster1", lambda: planned.pop(0) if planned else None)


@pytest.mark.parametrize(
    ("fault", "at_once", "later"),
    [(Fault.ANSWER_LOST, True, True), (Fault.LANDS_LATE, False, True), (Fault.REQUEST_LOST, False, False)],
)
async def test_an_unknown_outcome_tells_nothing_of_what_happened(fault: Fault, at_once: bool, later: bool) -> None:
    store = store_with(fault)
    applied = await store.apply([PutNode(NODE, None)])
    assert applied.outcomes == (Outcome.UNKNOWN,)
    assert not applied.current.nodes
    assert ("n1" in (await store.load()).nodes) == at_once
    store.land_late()
    assert ("n1" in (await store.load()).nodes) == later


async def test_a_late_proposal_meets_its_guard_when_it_arrives() -> None:
    store = store_with(Fault.LANDS_LATE)
    await store.apply([PutNode(NODE, None)])
    assert (await store.apply([PutNode(OTHER, None)])).outcomes == (Outcome.LANDED,)
    store.land_late()
    assert (await store.load()).nodes == {"n1": OTHER}


@pytest.mark.parametrize("fault", list(Fault))
async def test_proposing_the_same_again_settles_an_unknown_outcome(fault: Fault) -> None:
    store = store_with(fault)
    await store.apply([PutNode(NODE, None)])
    await store.apply([PutNode(NODE, None)])
    settled = await store.load()
    store.land_late()
    assert await store.load() == settled
    assert settled.nodes == {"n1": NODE}
