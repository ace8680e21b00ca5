"""A zone that is cut off leaves the other serving, and no copy leaves its zone; and how that is judged."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from probe import geo
from probe.geo_judge import astray, homes_of, zones_of
from probe.network import Network, why_no_network

HOMES = {7: "east", 8: "west"}


def status(**changes: Any) -> dict[str, Any]:
    """Two zones of two nodes, a partition in each, and one of another keyspace over both."""
    zones = {"n1": "east", "n2": "east", "n3": "west", "n4": "west"}
    first = {"id": 7, "keyspace": "geo", "leader": "n1", "in_sync": ["n1", "n2"], "replicas": ["n1", "n2"], **changes}
    second = {"id": 8, "keyspace": "geo", "leader": None, "in_sync": ["n3"], "replicas": ["n3", "n4"]}
    other = {"id": 1, "keyspace": "default", "leader": "n1", "in_sync": ["n1", "n3"], "replicas": ["n1", "n3"]}
    nodes = [{"id": node, "zone": zone} for node, zone in zones.items()]
    return {"nodes": nodes, "partitions": [first, second, other], "moves": []}


def test_where_partitions_belong_is_told_by_the_keyspace() -> None:
    assert homes_of({"placement": [{"id": 7, "zone": "east"}, {"id": 8, "zone": "west"}]}) == HOMES


def test_the_zone_of_a_partition_is_that_of_its_copies() -> None:
    assert zones_of(status(), "geo") == HOMES


def test_copies_in_their_zones_are_accepted_whatever_others_do() -> None:
    assert astray(status(), HOMES) == []


@pytest.mark.parametrize(
    "changes",
    [{"replicas": ["n1", "n3"]}, {"replicas": ["n3", "n4"]}, {"in_sync": ["n1", "n4"]}, {"leader": "n3"}],
    ids=str,
)
def test_a_copy_outside_its_zone_is_told(changes: dict[str, Any]) -> None:
    assert astray(status(**changes), HOMES)


def test_a_move_out_of_the_zone_is_told_before_anything_moved() -> None:
    seen = status()
    seen["moves"] = [{"partition": 7, "from": "n2", "to": "n1"}, {"partition": 1, "from": "n1", "to": "n3"}]
    assert astray(seen, HOMES) == []
    seen["moves"].append({"partition": 7, "from": "n2", "to": "n3"})
    assert astray(seen, HOMES) == ["partition 7 of zone east moves to n3"]


@pytest.mark.slow
async def test_a_zone_that_is_cut_off_leaves_the_other_serving(tmp_path: Path) -> None:
    if reason := why_no_network():
        pytest.skip(reason)
    with Network() as network:
        print(await geo.run(tmp_path, network, cut_s=3 * geo.REPLACE_AFTER_S, seed=3))
