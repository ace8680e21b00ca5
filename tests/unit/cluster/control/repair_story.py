"""Repair among nodes that join, leave and lose disks, and a map that changes when told to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import msgspec

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.control.repair import SCAN_S, Host, Repair
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid

Asks = Mapping[str, Sequence[int]]


def rid(node: str, pid: int = 1, made: int = 1) -> Rid:
    return Rid(node, f"{node}/{pid}/{made}".encode().ljust(16, b"."))


def led(pid: int, replicas: Iterable[str], in_sync: Iterable[str] | None = None, adding: Iterable[str] = ()) -> Entry:
    """An entry led by the first of its replicas; all of them are in sync unless said otherwise."""
    copies = tuple(rid(node, pid) for node in replicas)
    synced = copies if in_sync is None else tuple(rid(node, pid) for node in in_sync)
    return Entry(pid, "default", 5, 2, copies[0], synced, copies, tuple(rid(node, pid) for node in adding))


class Story:
    """Repair among connected nodes and a map that changes when told to."""

    def __init__(self, *entries: Entry, replicas: int = 2, zones: Mapping[str, str] | None = None) -> None:
        self.repair = Repair()
        self.hosts: dict[str, Host] = {}
        self.now_s = 0.0
        self.zones = zones or {}
        pids = tuple(entry.pid for entry in entries)
        keyspace = KeyspaceInfo("default", "consistent", pids, replicas, 1)
        self.cluster = ClusterMap(b"cluster1", 9, {}, {"default": keyspace}, {entry.pid: entry for entry in entries})
        for entry in entries:
            for copy in (*entry.replicas, *entry.adding):
                self.join(copy.node)

    def join(self, *nodes: str, weight: float = 1.0) -> None:
        """Nodes connect, each on a connection of its own."""
        for node in nodes:
            info = NodeInfo(node, "127.0.0.1:1", self.zones.get(node, "default"), weight, 1)
            members = {**self.cluster.nodes, node: info}
            self.cluster = ClusterMap(b"cluster1", 9, members, self.cluster.keyspaces, self.cluster.entries)
            known = self.hosts.pop(node, None)
            self.hosts[node] = Host(1 if known is None else known.connection + 1)

    def leave(self, node: str) -> None:
        del self.hosts[node]

    def lose(self, *copies: tuple[int, Rid]) -> None:
        """The nodes of these copies report them as lost."""
        for pid, copy in copies:
            host = self.hosts[copy.node]
            self.hosts[copy.node] = Host(host.connection, host.lost | {(pid, copy.store)})

    def tick(self) -> tuple[Asks, list[PutEntry]]:
        self.now_s += SCAN_S
        return self.repair.tick(self.cluster, self.hosts, self.now_s)

    def made(self, node: str, *copies: tuple[int, Rid], connection: int = 1) -> list[PutEntry]:
        return self.repair.made(node, connection, copies, self.cluster, self.hosts)

    def store(self, changes: Iterable[PutEntry]) -> None:
        """Proposals meet the map."""
        self.cluster, _ = self.cluster.changed(list(changes))
        self.repair.settled([change.entry.pid for change in changes])

    def put(self, entry: Entry) -> None:
        """Somebody else changed an entry."""
        changed = msgspec.structs.replace(entry, ver=self.cluster.entries[entry.pid].ver + 1)
        self.cluster, _ = self.cluster.changed([PutEntry(changed)])

    def answer_all(self, asks: Asks) -> None:
        """Nodes make what they are asked for, and the map takes it."""
        for node, pids in asks.items():
            connection = self.hosts[node].connection
            self.store(self.made(node, *((pid, rid(node, pid)) for pid in pids), connection=connection))


NOTHING: tuple[Asks, list[PutEntry]] = ({}, [])
