"""Which copy of each partition should lead, after copies have gone elsewhere or nodes are drained.

Guarantees: only the order of an entry's replicas changes, the first of which should lead; of nodes that are drained
leadership goes as soon as another copy is in sync; apart from that nothing changes while a copy is missing, out of sync
or away, so that repair comes first; what is balanced stays as it is. Leaves to others: what balanced is
(`placement.balance`), the transfer of leadership (the leader). Sans-IO. PROTOCOL "Failover", "Moves".
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

import msgspec

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.control.planning import members_of
from cluster.control.repair import Hosts
from cluster.placement import Member
from cluster.placement.balance import pick_leaders
from cluster.placement.of_keyspace import districts
from kvstore.map_values import Entry, Rid, Standing


class Preference:
    """Remembers what it looked at last, for it costs more than a comparison."""

    def __init__(self) -> None:
        self._quiet: tuple[ClusterMap, Hosts, Collection[str]] | None = None
        self._is_proposed = False

    def tick(self, cluster: ClusterMap, hosts: Hosts, gone: Collection[str] = frozenset()) -> list[PutEntry]:
        """What to propose so that leaders are balanced; the caller says by `settled` when that has met the store. Nodes
        that are `gone` are not waited for."""
        if self._is_proposed or self._quiet == (cluster, hosts, gone):
            return []
        self._quiet = cluster, hosts, gone
        drained = {one.id for one in cluster.nodes.values() if one.standing is not Standing.MEMBER}
        changes = _led_away(cluster, hosts, drained)
        members = members_of(cluster, gone)
        for keyspace in cluster.whole_keyspaces if not changes else ():
            for district in districts(keyspace, members):
                copies = min(district.copies, len(district.members))
                if all(_is_calm(cluster.entries.get(pid), copies, hosts) for pid in district.pids):
                    changes += _balanced(district.pids, cluster, hosts, drained)
        self._is_proposed = bool(changes)
        return changes

    def settled(self) -> None:
        """What was proposed has met the store, whichever way."""
        self._is_proposed = False


def _is_calm(entry: Entry | None, copies: int, hosts: Hosts) -> bool:
    if entry is None or entry.leader is None or len(entry.replicas) < copies or entry.adding:
        return False
    is_whole = set(entry.in_sync) == set(entry.replicas) and not entry.removing
    return is_whole and all(
        rid.node in hosts and (entry.pid, rid.store) not in hosts[rid.node].lost for rid in entry.replicas
    )


def _led_away(cluster: ClusterMap, hosts: Hosts, drained: Collection[str]) -> list[PutEntry]:
    """Have what is to be led on a drained node led elsewhere, by who leads least."""
    if not drained:
        return []
    leads = Counter(entry.replicas[0].node for entry in cluster.living.values())
    changes: list[PutEntry] = []
    for _, entry in sorted(cluster.living.items()):
        able = [rid for rid in entry.replicas if _is_able(rid, entry, hosts, drained)]
        if entry.replicas[0].node in drained and able:
            chosen = min(able, key=lambda rid: (leads[rid.node], rid.node))
            leads[chosen.node] += 1
            changes.append(_led_by(entry, chosen.node))
    return changes


def _is_able(rid: Rid, entry: Entry, hosts: Hosts, drained: Collection[str]) -> bool:
    is_there = rid.node in hosts and rid.node not in drained
    return is_there and rid in entry.in_sync and rid not in entry.removing


def _balanced(pids: Collection[int], cluster: ClusterMap, hosts: Hosts, drained: Collection[str]) -> list[PutEntry]:
    entries = [cluster.entries[pid] for pid in pids]
    members = [Member(node, cluster.nodes[node].zone, cluster.nodes[node].weight) for node in sorted(hosts)]
    copies = {}
    for entry in entries:
        nodes = [rid.node for rid in entry.replicas]
        copies[entry.pid] = [node for node in nodes if node not in drained] or nodes
    chosen = pick_leaders(copies, members, {pid: nodes[0] for pid, nodes in copies.items()})
    return [_led_by(entry, chosen[entry.pid]) for entry in entries if entry.replicas[0].node != chosen[entry.pid]]


def _led_by(entry: Entry, node: str) -> PutEntry:
    replicas = tuple(sorted(entry.replicas, key=lambda rid: rid.node != node))
    return PutEntry(msgspec.structs.replace(entry, ver=entry.ver + 1, replicas=replicas))
