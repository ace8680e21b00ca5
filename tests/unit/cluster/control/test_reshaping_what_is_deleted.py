"""A keyspace that is deleted while one of its partitions is about to be split."""

from __future__ import annotations

import pytest
from unit.cluster.control.reshaping_world import FIRST_PID, range_world

from cluster.control.events import AllocatePids, AskCopies, AskSplit, Effect
from cluster.control.keyspace_messages import CreateKeyspace, DeleteKeyspace, KeyspaceDeleted


@pytest.mark.parametrize("kind", [AskSplit, AllocatePids, AskCopies])
@pytest.mark.parametrize("is_made_again", [False, True])
def test_an_answer_that_comes_when_it_is_gone_splits_nothing(
    kind: type[Effect], is_made_again: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = range_world()
    world.point_of = lambda _: b"m"
    world.size_of = lambda _: 2000
    react, held = world._react, list[Effect]()

    def hold(effect: Effect) -> None:
        held.append(effect) if isinstance(effect, kind) else react(effect)

    monkeypatch.setattr(world, "_react", hold)
    world.until(lambda: bool(held))
    monkeypatch.undo()
    assert isinstance(world.ask_for(DeleteKeyspace("k")), KeyspaceDeleted)
    world.size_of = lambda _: 0
    if is_made_again:
        world.ask_for(CreateKeyspace("k", "consistent", partitions=2, replicas=2))
    asked = len(world.effects)
    for effect in held:
        react(effect)
    assert not any(isinstance(one, AskCopies) for one in world.effects[asked:]), "nobody would ever delete them"
    world.run()
    assert not any(entry.transfer for entry in world.stored.entries.values())
    assert not world.stored.entries[FIRST_PID].replicas
