"""Which copies of placed partitions are missing, and how they are replaced.

Guarantees: a partition never gets a second copy on a node, and never more that count than its keyspace asks for; a copy
in the in-sync set is never dropped, and no copy moves. A copy gives way at once if its own node reports it as lost, and
if its node has been away for too long, or a move gave it up, then only when the in-sync set has all copies without it:
until then it is `removing`, does not count, and counts again if its node is there and another copy is not. The same
events give the same choices. A copy whose node is down for a while is not missing, for it comes back. Leaves to others:
who is away for too long (`absences`), making copies (nodes), filling them and taking them into the in-sync set (their
leader), a partition whose in-sync copies are all lost (an operator), the first placement (`placing`). Sans-IO. PROTOCOL
"Control".

Of a reference keyspace each node is to have a copy: one that joins gets it, and one that leaves gives it up, as soon as
all others have theirs and another one leads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from cluster.cluster_map import ClusterMap, PutEntry
from cluster.placement import Member
from cluster.placement.of_keyspace import District, districts
from cluster.placement.substitutes import find_substitutes
from kvstore.map_values import Entry, KeyspaceInfo, NodeInfo, Rid, Standing

SCAN_S = 1.0
ASKED_MAX = 1000


@dataclass(frozen=True, slots=True)
class Host:
    """A connected member; `lost` names copies that the map gives it and that it does not have: (partition, store)."""

    connection: int
    lost: frozenset[tuple[int, bytes]] = frozenset()


Hosts = Mapping[str, Host]


@dataclass(frozen=True, slots=True)
class _Asked:
    node: str
    connection: int


@dataclass(frozen=True, slots=True)
class _Made:
    rid: Rid
    connection: int


@dataclass(frozen=True, slots=True)
class _Standing:
    """What does not count as a copy: those that are `lost`, those on nodes that are `gone`, and on nodes that leave
    those of partitions that every node is to have. `members` are the nodes that copies belong on."""

    lost: frozenset[tuple[int, Rid]]
    gone: frozenset[str]
    members: Sequence[Member]
    leaving: frozenset[str]
    everywhere: frozenset[str]

    def kept(self, entry: Entry) -> Sequence[Rid]:
        """The copies that exist."""
        copies = (*entry.replicas, *entry.adding)
        return [rid for rid in copies if (entry.pid, rid) not in self.lost] if self.lost else copies

    def counted(self, entry: Entry) -> Sequence[Rid]:
        """The copies that are reckoned with."""
        kept = self.kept(entry)
        if not self.gone and not entry.removing and not self.leaving:
            return kept
        return [rid for rid in kept if rid not in entry.removing and not self.gives_up(rid, entry)]

    def gives_up(self, rid: Rid, entry: Entry) -> bool:
        """Whether that copy is to be there no longer than others need to take its place."""
        return rid.node in self.gone or (rid.node in self.leaving and entry.keyspace in self.everywhere)

    def may_leave(self, rid: Rid, entry: Entry) -> bool:
        """Whether a copy that is given up may be marked so: another one is to lead."""
        return rid.node in self.gone or rid != entry.replicas[0]

    def is_repairable(self, entry: Entry) -> bool:
        """Whether the partition has a leader that can fill a copy, and none in its in-sync set any more that does not
        count: until its leader has shrunk that, the node could not get another copy."""
        if entry.leader is None:
            return False
        return not any(rid.node in self.gone or (entry.pid, rid) in self.lost for rid in entry.in_sync)


class Repair:
    """The copies that are asked for, and those that were made and stand in no entry yet; at most one a partition."""

    def __init__(self) -> None:
        self._asked: dict[int, _Asked] = {}
        self._made: dict[int, _Made] = {}
        self._proposed: set[int] = set()
        self._next_scan_s = 0.0
        self._gone: frozenset[str] = frozenset()
        self._quiet: tuple[ClusterMap, Hosts] | None = None

    def tick(
        self, cluster: ClusterMap, hosts: Hosts, now_s: float, gone: frozenset[str] = frozenset()
    ) -> tuple[Mapping[str, tuple[int, ...]], list[PutEntry]]:
        """Look for what is missing, at most once in `SCAN_S`, and not where nothing changed since nothing was.

        Args:
            cluster: the map as it stands.
            hosts: the connected members, by node.
            now_s: a clock that never goes back.
            gone: the nodes that have been away for too long.

        Returns:
            For nodes the partitions of which to ask them for a copy, and what to propose; the caller says by `made`,
            `failed` and `settled` what became of both.
        """
        if now_s < self._next_scan_s or (self._quiet == (cluster, hosts) and gone == self._gone):
            return {}, []
        self._next_scan_s = now_s + SCAN_S
        self._gone = gone
        self._forget_gone(hosts)
        changes = self._changes(cluster.entries, cluster, hosts)
        asks = self._ask(cluster, hosts)
        if not asks and not changes:
            self._quiet = (cluster, hosts)
        return asks, changes

    def made(
        self, node: str, connection: int, rids: Iterable[tuple[int, Rid]], cluster: ClusterMap, hosts: Hosts
    ) -> list[PutEntry]:
        """A node made copies: what to propose now. Those that were not asked of it on this connection do not count."""
        self._quiet = None
        mine = []
        for pid, rid in rids:
            if self._asked.get(pid) == _Asked(node, connection):
                del self._asked[pid]
                if rid.node == node:
                    self._made[pid] = _Made(rid, connection)
                    mine.append(pid)
        return self._changes(mine, cluster, hosts)

    def failed(self, node: str, connection: int, pids: Iterable[int]) -> None:
        """A node did not make these copies: a later scan asks again, perhaps another one."""
        for pid in pids:
            if self._asked.get(pid) == _Asked(node, connection):
                del self._asked[pid]
        self._quiet = None

    def settled(self, pids: Iterable[int]) -> None:
        """What was proposed for these partitions met the store, whichever way."""
        self._proposed.difference_update(pids)
        self._quiet = None

    # ---- what entries should say --------------------------------------------------------------------------------

    def _standing(self, cluster: ClusterMap, hosts: Hosts) -> _Standing:
        gone = self._gone - hosts.keys()
        nodes = cluster.nodes.values()
        return _Standing(
            lost=frozenset((pid, Rid(node, store)) for node, host in hosts.items() for pid, store in host.lost),
            gone=gone,
            members=[Member(one.id, one.zone, one.weight) for one in nodes if one.may_host and one.id not in gone],
            leaving=frozenset(one.id for one in nodes if not one.may_host),
            everywhere=frozenset(name for name, one in cluster.keyspaces.items() if not one.replicas),
        )

    def _changes(self, pids: Iterable[int], cluster: ClusterMap, hosts: Hosts) -> list[PutEntry]:
        standing = self._standing(cluster, hosts)
        wanted = {one.name: one.replicas or len(standing.members) for one in cluster.keyspaces.values()}
        changes = []
        for pid in pids:
            entry = cluster.entries[pid]
            is_given_up = standing.leaving and entry.keyspace in standing.everywhere
            may_change = standing.lost or standing.gone or entry.removing or pid in self._made or is_given_up
            if pid in self._proposed or not may_change or not standing.is_repairable(entry):
                continue
            changed = self._changed(entry, standing, wanted[entry.keyspace], hosts)
            if changed is not None:
                self._proposed.add(pid)
                changes.append(PutEntry(changed))
        return changes

    def _changed(self, entry: Entry, standing: _Standing, replicas: int, hosts: Hosts) -> Entry | None:
        """The entry without what is lost or was given up, and with the copy that was made, None where it may stay."""
        kept, counted = standing.kept(entry), list(standing.counted(entry))
        added = self._take_made(entry, kept, replicas - len(counted), standing)
        counted += added
        counted += _returning(entry, kept, replicas - len(counted), hosts, standing)
        removing = tuple(rid for rid in entry.removing if rid in kept and rid not in counted)
        surplus = max(0, len(kept) + len(added) - len(removing) - replicas)
        given_up = (rid for rid in kept if standing.gives_up(rid, entry) and standing.may_leave(rid, entry))
        removing += tuple(rid for rid in given_up if rid not in removing)[:surplus]
        if sum(rid in counted for rid in entry.in_sync) >= replicas:
            kept = [rid for rid in kept if rid not in removing or rid in entry.in_sync]
            removing = tuple(rid for rid in removing if rid in kept)
        is_moving = entry.moving in kept and bool(removing or entry.moving not in entry.in_sync)
        changed = msgspec.structs.replace(
            entry,
            replicas=tuple(rid for rid in entry.replicas if rid in kept),
            adding=(*(rid for rid in entry.adding if rid in kept), *added),
            removing=removing,
            moving=entry.moving if is_moving else None,
        )
        return None if changed == entry else msgspec.structs.replace(changed, ver=entry.ver + 1)

    def _take_made(self, entry: Entry, kept: Sequence[Rid], short: int, standing: _Standing) -> Sequence[Rid]:
        """The copy that was made for this partition, where it is still needed."""
        made = self._made.get(entry.pid)
        if made is None:
            return ()
        is_needed = short > 0 and all(rid.node != made.rid.node for rid in kept)
        if is_needed and (entry.pid, made.rid) not in standing.lost:
            return (made.rid,)
        del self._made[entry.pid]
        return ()

    # ---- where copies are missing -------------------------------------------------------------------------------

    def _ask(self, cluster: ClusterMap, hosts: Hosts) -> Mapping[str, tuple[int, ...]]:
        standing = self._standing(cluster, hosts)
        asks: dict[str, list[int]] = {}
        for keyspace in cluster.whole_keyspaces:
            able = [node for node in hosts if _may_take(cluster.nodes[node], keyspace)]
            for district in districts(keyspace, standing.members):
                missing = dict(self._missing(district, cluster, standing, hosts))
                if not missing or not district.members:
                    continue
                chosen = find_substitutes(
                    missing,
                    district.members,
                    able,
                    self._loads(district, cluster, standing),
                    len(district.pids),
                    district.copies,
                    ASKED_MAX - len(self._asked),
                )
                for pid, node in chosen.items():
                    self._asked[pid] = _Asked(node, hosts[node].connection)
                    asks.setdefault(node, []).append(pid)
        return {node: tuple(pids) for node, pids in asks.items()}

    def _missing(
        self, district: District, cluster: ClusterMap, standing: _Standing, hosts: Hosts
    ) -> Iterator[tuple[int, Collection[str]]]:
        """The partitions that lack a copy, each with the nodes that have one, even if that does not count."""
        for pid in district.pids:
            entry = cluster.entries.get(pid)
            if entry is None or pid in self._asked or pid in self._made or not standing.is_repairable(entry):
                continue
            kept = standing.kept(entry)
            short = district.copies - len(standing.counted(entry))
            if short > len(_returning(entry, kept, short, hosts, standing)):
                yield pid, {rid.node for rid in kept}

    def _loads(self, district: District, cluster: ClusterMap, standing: _Standing) -> Counter[str]:
        """How many copies of these partitions each node has, or will."""
        loads: Counter[str] = Counter()
        for pid in district.pids:
            entry = cluster.entries.get(pid)
            loads.update(rid.node for rid in (() if entry is None else standing.counted(entry)))
            if pid in self._asked:
                loads[self._asked[pid].node] += 1
            if pid in self._made:
                loads[self._made[pid].rid.node] += 1
        return loads

    def _forget_gone(self, hosts: Hosts) -> None:
        """A process that is gone makes nothing more, and what one made may be lost with its disk."""
        standing = {(node, host.connection) for node, host in hosts.items()}
        self._asked = {pid: asked for pid, asked in self._asked.items() if (asked.node, asked.connection) in standing}
        self._made = {pid: made for pid, made in self._made.items() if (made.rid.node, made.connection) in standing}


def _returning(entry: Entry, kept: Sequence[Rid], short: int, hosts: Hosts, standing: _Standing) -> Sequence[Rid]:
    """Copies that were to be given up, whose nodes are back, and that are needed after all."""
    back = [rid for rid in entry.removing if rid in kept and rid.node in hosts and not standing.gives_up(rid, entry)]
    return back[: max(0, short)]


def _may_take(node: NodeInfo, keyspace: KeyspaceInfo) -> bool:
    """Whether a copy of that keyspace may be made on it now: where each node is to have one, a drained one too."""
    return node.standing is Standing.MEMBER or (node.may_host and not keyspace.replicas)
