"""The stage on which control is measured does what a cluster does."""

from __future__ import annotations

from scale.clusters import held_by, map_of, members, placed
from scale.control_costs import Stage, control_costs, failover_asks
from scale.map_costs import map_costs

OF = members(4)
CLUSTER = map_of(placed(32, OF, 2), OF, 2)


def test_a_calm_cluster_wants_nothing_and_its_map_stays() -> None:
    stage = Stage(CLUSTER, 2)
    stage.calm(held_by(CLUSTER))
    for _ in range(5):
        stage.tick()
        assert stage.effects == []
    assert stage.stored == CLUSTER


def test_when_a_node_dies_others_lead_all_that_it_led() -> None:
    stage = Stage(CLUSTER, 2)
    held = held_by(CLUSTER)
    stage.calm(held)
    dead = OF[0].id
    led = [entry.pid for entry in held[dead] if entry.leader is not None and entry.leader.node == dead]
    for ask in failover_asks(held[dead], dead, stage.connections):
        stage.send(ask)
    leaders = [entry.leader.node for entry in stage.stored.entries.values() if entry.leader is not None]
    assert led
    assert len(leaders) == 32
    assert dead not in leaders


def test_what_is_counted_of_a_failover_is_what_the_node_led() -> None:
    found = control_costs(CLUSTER, 2)
    assert found.failover_entries == sum(
        entry.leader is not None and entry.leader.node == OF[0].id for entry in CLUSTER.entries.values()
    )
    assert 0 < found.failover_asks <= 3
    assert found.failover_published_bytes > 100 * found.failover_entries


def test_a_whole_map_is_as_large_as_its_entries() -> None:
    found = map_costs(CLUSTER, 2)
    assert 100 * 32 < found.whole_bytes < 250 * 32
    assert found.one_bytes < found.whole_bytes / 10
    assert found.memory_bytes > found.whole_bytes
    assert found.place_txn_bytes / 32 == found.entry_row_bytes
