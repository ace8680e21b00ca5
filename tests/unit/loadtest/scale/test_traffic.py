"""Who pings whom, and what that comes to."""

from __future__ import annotations

import pytest
from scale.traffic import node_connections, partners, traffic


def test_a_leader_pings_its_followers_for_leases_and_they_ping_it_for_what_is_committed() -> None:
    assert partners({1: ("a", "b"), 2: ("a", "c"), 3: ("a", "b")}) == {
        "a": {"b": [1, 3], "c": [2]},
        "b": {"a": []},
        "c": {"a": []},
    }


def test_each_pair_exchanges_two_pings_and_their_answers_each_half_second() -> None:
    found = traffic({1: ("a", "b"), 2: ("b", "a")}, 2, 2)
    assert found.partners == 1
    assert found.messages == 8
    assert found.cluster_messages == 8
    assert found.ping_visits == pytest.approx(4)
    assert found.reports_to_each_gateway == 4


def test_each_pair_of_nodes_has_two_connections_and_each_gateway_two_to_each_node() -> None:
    assert node_connections(3, 1) == 6
    assert node_connections(1000, 4) == 2006
