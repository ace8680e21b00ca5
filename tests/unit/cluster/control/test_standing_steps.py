"""The last step of a removal: nobody goes whom the map still needs, and whoever goes is proposed once."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from unit.cluster.control.world import rid_of

from cluster.cluster_map import ClusterMap, PutNode
from cluster.control.events import Propose, RetireNode, Stored
from cluster.control.map_store import Outcome
from cluster.control.messages import RemoveNode
from cluster.control.proposals import Proposals
from cluster.control.repair import Host
from cluster.control.reshapes import tombstone
from cluster.control.standing import AWAY_S, Standings, removal
from kvstore.errors import Conflict
from kvstore.map_values import Entry, KeyspaceInfo, Move, MoveState, NodeInfo, Standing
from kvstore.messages import MapUpdate

PID = 1
A, B, X = (rid_of(node, PID) for node in ("a", "b", "x"))
HOSTS = {node: Host(number) for number, node in enumerate("abx", 1)}
FREE = Entry(PID, "default", 1, 1, A, (A, B), (A, B))


def cluster_of(entry: Entry, move: Move | None = None, standing: Standing = Standing.LEAVING) -> ClusterMap:
    """Nodes a, b and x, which is leaving."""
    nodes = {
        name: NodeInfo(name, "h:1", "default", 1.0, 1, b"", standing if name == "x" else Standing.MEMBER)
        for name in "abx"
    }
    keyspaces = {"default": KeyspaceInfo("default", "hash", (PID,), 2, 1)}
    return ClusterMap(b"cluster.", 5, nodes, keyspaces, {PID: entry}, {} if move is None else {PID: move})


@pytest.fixture
def proposals() -> Proposals:
    return Proposals()


@pytest.fixture
def standings(proposals: Proposals) -> Standings:
    return Standings(proposals)


HELD = Entry(PID, "default", 1, 1, A, (A, B, X), (A, B, X))
FILLED = Entry(PID, "default", 1, 1, A, (A, B), (A, B), adding=(X,))


@pytest.mark.parametrize(
    ("entry", "move"),
    [
        (HELD, None),
        (FILLED, None),
        (FREE, Move(1, PID, "x", "b")),
        (FREE, Move(1, PID, "a", "x", MoveState.ABORTING)),
    ],
    ids=["held", "filled", "source", "target"],
)
def test_one_that_the_map_names_is_neither_told_nor_given_up(
    standings: Standings, entry: Entry, move: Move | None
) -> None:
    cluster = cluster_of(entry, move)
    assert standings.tick(cluster, HOSTS, 0.0) == []
    assert standings.tick(cluster, {}, 0.0) == []
    assert standings.tick(cluster, {}, AWAY_S + 1) == []
    assert standings.retired("x", cluster) == []


def test_one_that_nothing_names_is_told_and_given_up_once_it_heard(standings: Standings) -> None:
    cluster = cluster_of(FREE, Move(1, PID, "x", "b", MoveState.DONE))
    assert standings.tick(cluster, HOSTS, 0.0) == [RetireNode("x", 3)]
    (given_up,) = standings.retired("x", cluster)
    assert isinstance(given_up, Propose)
    (change,) = given_up.changes
    assert isinstance(change, PutNode)
    assert change.node.standing is Standing.REMOVED
    assert standings.retired("x", cluster) == [], "it is proposed already"


def test_what_was_refused_is_proposed_again(standings: Standings, proposals: Proposals) -> None:
    cluster = cluster_of(FREE)
    (given_up,) = standings.retired("x", cluster)
    assert isinstance(given_up, Propose)
    refused = Stored(((given_up.proposal, (Outcome.CONFLICT,)),), MapUpdate(5, [], []))
    proposals.settle(refused, cluster)
    assert standings.retired("x", cluster)


def test_one_that_was_away_and_came_back_is_not_given_up_at_its_next_absence(standings: Standings) -> None:
    cluster = cluster_of(FREE)
    assert standings.tick(cluster, {}, 0.0) == []
    standings.tick(cluster, HOSTS, AWAY_S - 1)
    assert standings.tick(cluster, {}, AWAY_S + 1) == []
    assert standings.tick(cluster, {}, 2 * AWAY_S + 2)


def spread_over(zones: str, *keyspaces: KeyspaceInfo) -> ClusterMap:
    """Nodes n0, n1 and so on, one in each of these zones."""
    nodes = {f"n{at}": NodeInfo(f"n{at}", "h:1", zone, 1.0, 1) for at, zone in enumerate(zones)}
    return ClusterMap(b"cluster.", 5, nodes, {one.name: one for one in keyspaces}, {})


PLAIN = KeyspaceInfo("default", "consistent", (1,), 1, 1)
REGIONS = KeyspaceInfo("users", "geo", (2, 3), 3, 1, zones=(("a", 1), ("b", 1)), default_zone="a")


def is_refused(node: str, cluster: ClusterMap) -> bool:
    try:
        removal(RemoveNode(node), cluster, set(cluster.nodes))
    except Conflict:
        return True
    return False


def test_who_is_needed_for_copies_of_a_zone_or_of_everything_stays() -> None:
    assert not is_refused("n1", spread_over("aab", PLAIN))
    assert is_refused("n0", spread_over("a", PLAIN))
    assert is_refused("n0", spread_over("aaabbbb", PLAIN, REGIONS))
    assert not is_refused("n3", spread_over("aaabbbb", PLAIN, REGIONS))


def test_copies_of_zones_ask_for_no_nodes_elsewhere() -> None:
    assert not is_refused("n2", spread_over("aac", PLAIN, REGIONS))


def test_copies_that_each_node_has_and_keyspaces_that_are_deleted_ask_for_none() -> None:
    everywhere = KeyspaceInfo("rates", "consistent", (4,), 0, 1)
    deleted = KeyspaceInfo("old", "consistent", (), 3, 1)
    assert not is_refused("n0", spread_over("aa", PLAIN, everywhere, deleted))


def test_partitions_that_are_no_more_keep_nobody_from_being_given_up() -> None:
    cluster = cluster_of(tombstone(FREE), standing=Standing.MEMBER)
    assert removal(RemoveNode("x", force=True), cluster, ()).node.standing is Standing.DEAD


def test_one_is_given_up_although_others_that_are_dead_had_all_copies_of_a_partition() -> None:
    cluster = cluster_of(msgspec.structs.replace(FREE, in_sync=(X,)), standing=Standing.DEAD)
    keyspaces = {"default": KeyspaceInfo("default", "hash", (PID,), 1, 1)}
    assert (
        removal(RemoveNode("a", force=True), replace(cluster, keyspaces=keyspaces), ()).node.standing is Standing.DEAD
    )


def test_what_is_told_of_the_partitions_that_need_a_node_is_short() -> None:
    entries = {pid: msgspec.structs.replace(FREE, pid=pid, in_sync=(X,)) for pid in range(1, 9)}
    cluster = replace(cluster_of(FREE, standing=Standing.MEMBER), entries=entries)
    with pytest.raises(Conflict, match=r"of partitions 1, 2, 3, 4, 5 and 3 more: start it again, or promote"):
        removal(RemoveNode("x", force=True), cluster, ())
