"""When keys change their partition: ranges that are split and merged by themselves, and tenants that are moved.

Guarantees: of each keyspace one transfer goes on at a time; none begins while moves are paused, nor where copies move
or are missing; what is handed is switched by whichever control sees it first. A new partition is on the nodes that its
placement says, led by the one to which least was written lately. Leaves to others: the steps in the map (`reshapes`),
the point of a split and bringing keys over (the leaders), where copies should be (`placement`). Sans-IO. PROTOCOL
"Transfer".
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, field

from cluster.cluster_map import RESHAPED, ClusterMap, Reshape
from cluster.control.events import AllocatePids, AskCopies, AskSplit, Effect, Note, Propose, Refuse, Reply, SplitTold
from cluster.control.keyspace_messages import MoveTenant, TenantMoving
from cluster.control.map_store import Outcome
from cluster.control.moving import Scene
from cluster.control.planning import assignment, members_of
from cluster.control.proposals import Proposals
from cluster.control.reshapes import DIRECTORY, RANGE, abort, begin, begin_split, is_free, retire, segments, switch
from cluster.control.settings import ControlSettings
from cluster.control.write_load import WriteLoad, leaders_report
from cluster.placement.of_keyspace import placement_of
from kvstore.errors import BadParameter, Conflict, KvError, NotFound
from kvstore.map_values import Entry, KeyspaceInfo, Rid, TransferState

# A partition is split for its load when it has more than this share of what each node should have.
HOT_SHARE = 1.2
HOT_S = 3.0
CALM_S = 8.0
FUTILE_S = 60.0
# Merged are neighbours that together reach this share of the size, or the load, at which one is split.
SMALL_SHARE = 0.25
STEP_S = 5.0
LEADERLESS_S = 300.0
# For longer than tokens and decisions are kept: until then a partition without keys answers for those it had.
RETIRE_S = 330.0


@dataclass
class _Split:
    """A split that is prepared: its point is asked for, then a uid is drawn and copies are made."""

    source: int
    by: str
    until_s: float
    at: bytes = b""
    pid: int = 0
    nodes: tuple[str, ...] = ()
    made: dict[str, Rid] = field(default_factory=dict)
    is_proposed: bool = False


class Reshaping:
    """Args: proposals: takes what is proposed."""

    def __init__(self, settings: ControlSettings, proposals: Proposals) -> None:
        self._settings = settings
        self._proposals = proposals
        self._load = WriteLoad()
        self._splits: dict[str, _Split] = {}
        self._spare: dict[str, int] = {}
        self._hot_since: dict[int, float] = {}
        self._calm_from: dict[int, float] = {}
        self._idle_since: dict[int, float] = {}
        self._proposed: set[int] = set()
        self._seen: ClusterMap | None = None
        self._entries: list[Entry] = []
        self._now_s = 0.0

    # ---- requests -----------------------------------------------------------------------------------------------

    def move_tenant(self, ask: int, request: MoveTenant, scene: Scene) -> list[Effect]:
        """Begin to move a tenant; refused as `messages` says."""
        try:
            source, target = self._tenants_way(request, scene)
        except KvError as error:
            return [Refuse(ask, error)]
        transfer, change = begin(source, target, tenant=request.tenant)

        def settled(outcomes: Sequence[Outcome], _cluster: ClusterMap) -> list[Effect]:
            if Outcome.CONFLICT in outcomes:
                return [Refuse(ask, Conflict("the partitions changed at the same time: ask again"))]
            return [Reply(ask, TenantMoving(target.pid, transfer.id))]

        return [self._proposals.propose([change], settled, ask=ask)]

    def _tenants_way(self, request: MoveTenant, scene: Scene) -> tuple[Entry, Entry]:
        cluster = scene.cluster
        keyspace = cluster.keyspaces.get(request.keyspace)
        if keyspace is None or keyspace.is_deleted:
            raise NotFound(f"there is no keyspace {request.keyspace!r}")
        if keyspace.strategy != DIRECTORY:
            raise BadParameter(f"keyspace: {keyspace.name!r} is not of the strategy directory, so it has no tenants")
        tenant = cluster.tenants.get((keyspace.name, request.tenant))
        if tenant is None or tenant.pid not in keyspace.pids:
            raise NotFound(f"keyspace {keyspace.name!r} has no tenant {request.tenant.decode('utf-8', 'replace')!r}")
        wanted = request.partition
        if wanted is not None and wanted not in keyspace.pids:
            raise BadParameter(f"partition: {wanted} is no partition of keyspace {keyspace.name!r}")
        if wanted == tenant.pid:
            raise Conflict(f"the tenant is in partition {wanted} already")
        source = cluster.entries.get(tenant.pid)
        others = [pid for pid in keyspace.pids if pid != tenant.pid] if wanted is None else [wanted]
        free = [entry for pid in others if (entry := cluster.entries.get(pid)) is not None and is_free(entry, cluster)]
        if source is None or not is_free(source, cluster) or not free:
            raise Conflict("keys or copies of the partition are on their way already, or it is not led: ask again")
        return source, min(free, key=lambda entry: (_size_bytes(entry, scene), entry.pid))

    # ---- events -------------------------------------------------------------------------------------------------

    def told(self, event: SplitTold, scene: Scene) -> list[Effect]:
        """A leader says where its partition is to be split, if anywhere."""
        split = next((one for one in self._splits.values() if one.source == event.pid and not one.at), None)
        if split is None:
            return []
        name = scene.cluster.entries[event.pid].keyspace
        if event.key is None or not _owns_both(event.pid, event.key, scene.cluster.keyspaces[name]):
            del self._splits[name]
            self._calm_from[event.pid] = self._now_s + FUTILE_S
            fields: dict[str, str | int] = {"partition": event.pid, "reason": event.reason or "it lies elsewhere"}
            return [Note("not_split", fields)]
        split.at = event.key
        spare = self._spare.get(name)
        if spare is None:
            return [AllocatePids(1, keyspace=name)]
        return self._ask_copies(name, split, spare, scene)

    def allocated(self, name: str, pid: int, scene: Scene) -> list[Effect]:
        """A uid was drawn for a new partition of that keyspace."""
        self._spare[name] = pid
        split = self._splits.get(name)
        return [] if split is None or split.pid else self._ask_copies(name, split, pid, scene)

    def _ask_copies(self, name: str, split: _Split, pid: int, scene: Scene) -> list[Effect]:
        keyspace = scene.cluster.keyspaces[name]
        members = members_of(scene.cluster, scene.gone)
        if not members or not _owns_both(split.source, split.at, keyspace):
            del self._splits[name]
            return []
        copies, pids = keyspace.replicas or len(members), (*keyspace.pids, pid)
        placed = placement_of(keyspace).place(pids, members, copies, assignment(keyspace, scene.cluster))
        split.pid, split.nodes = pid, tuple(self._load.least_first(placed[pid]))
        if not split.nodes or not set(split.nodes) <= set(scene.hosts):
            del self._splits[name]
            return []
        return [AskCopies(node, scene.hosts[node].connection, (pid,)) for node in split.nodes]

    def made(self, node: str, rids: Sequence[tuple[int, Rid]], scene: Scene) -> list[Effect]:
        """A node made copies."""
        effects: list[Effect] = []
        for name, split in self._splits.items():
            split.made.update((node, rid) for pid, rid in rids if pid == split.pid and node in split.nodes)
            if split.nodes and len(split.made) == len(split.nodes) and not split.is_proposed:
                effects += self._begin(name, split, scene.cluster)
        return effects

    def _begin(self, name: str, split: _Split, cluster: ClusterMap) -> list[Effect]:
        keyspace, source = cluster.keyspaces[name], cluster.entries[split.source]
        if not is_free(source, cluster) or not _owns_both(split.source, split.at, keyspace):
            split.until_s = self._now_s
            return []
        split.is_proposed = True
        end = next(last for _, last, pid in segments(keyspace) if pid == split.source)
        copies = [split.made[node] for node in split.nodes]
        _, change = begin_split(source, keyspace, split.pid, copies, split.at, end)

        def settled(_outcomes: Sequence[Outcome], after: ClusterMap) -> list[Effect]:
            self._splits.pop(name, None)
            if split.pid in after.entries:
                self._spare.pop(name, None)
            return []

        fields: dict[str, str | int] = {"keyspace": name, "partition": split.source, "new": split.pid, "by": split.by}
        return [Note("split", fields), self._proposals.propose([change], settled)]

    # ---- what is under way --------------------------------------------------------------------------------------

    def advance(self, cluster: ClusterMap, now_s: float) -> list[Effect]:
        """Switch what is handed."""
        if cluster is self._seen:
            return []
        self._seen, self._now_s = cluster, now_s
        changing = {one.name for one in cluster.keyspaces.values() if one.strategy in RESHAPED}
        self._entries = [entry for entry in cluster.entries.values() if entry.keyspace in changing]
        self._note_changes()
        changes = [(entry.pid, switch(entry, cluster)) for entry in self._entries]
        return [self._propose(pid, change) for pid, change in changes if change is not None and self._may_propose(pid)]

    def _may_propose(self, pid: int) -> bool:
        return pid not in self._proposed

    def _propose(self, pid: int, change: Reshape) -> Propose:
        self._proposed.add(pid)

        def settled(_outcomes: Sequence[Outcome], _cluster: ClusterMap) -> list[Effect]:
            self._proposed.discard(pid)
            return []

        return self._proposals.propose([change], settled)

    def tick(self, scene: Scene, now_s: float) -> list[Effect]:
        """Look after what is under way, and begin what is due; several times a second."""
        self._now_s = now_s
        self._load.tick(self._entries, scene.status, now_s)
        self._splits = {name: one for name, one in self._splits.items() if one.is_proposed or now_s < one.until_s}
        effects: list[Effect] = []
        for pid, change in self._tidied(scene):
            if self._may_propose(pid):
                effects.append(self._propose(pid, change))
        if scene.cluster.rebalance.is_paused or self._settings.manual_rebalance:
            return effects
        for keyspace in scene.cluster.keyspaces.values():
            if keyspace.strategy == RANGE and self._is_still(keyspace, scene):
                effects += self._split_one(keyspace, scene) or self._merge_two(keyspace, scene)
        return effects

    def _note_changes(self) -> None:
        """A partition whose keys just changed is left alone for a while."""
        for entry in self._entries:
            if entry.transfer is not None or entry.pid not in self._calm_from:
                self._calm_from[entry.pid] = max(self._now_s + CALM_S, self._calm_from.get(entry.pid, 0.0))

    def _tidied(self, scene: Scene) -> Iterator[tuple[int, Reshape]]:
        """Transfers whose target has had no leader for long are called off, and partitions that had their time go."""
        cluster = scene.cluster
        seen, self._idle_since = self._idle_since, {}
        for entry in self._entries:
            transfer = entry.transfer
            if transfer is not None and transfer.source == entry.pid and transfer.state is TransferState.COPYING:
                target = cluster.entries.get(transfer.target)
                change, wait_s = abort(entry, cluster), LEADERLESS_S
                is_idle = target is None or target.leader is None
            else:
                keyspace = cluster.keyspaces.get(entry.keyspace)
                change, wait_s = None, RETIRE_S
                is_idle = bool(entry.replicas) and keyspace is not None and entry.pid not in keyspace.pids
                report = leaders_report(entry, scene.status)
                is_idle = is_idle and is_free(entry, cluster) and report is not None and not report.open_txns
                if is_idle:
                    change = retire(entry)
            if is_idle and change is not None:
                since_s = self._idle_since[entry.pid] = seen.get(entry.pid, self._now_s)
                if self._now_s - since_s >= wait_s:
                    yield entry.pid, change

    def _is_still(self, keyspace: KeyspaceInfo, scene: Scene) -> bool:
        entries = [scene.cluster.entries.get(pid) for pid in keyspace.pids]
        is_changing = keyspace.name in self._splits or any(one is None or one.transfer is not None for one in entries)
        return bool(entries) and not is_changing

    # ---- splits -------------------------------------------------------------------------------------------------

    def _split_one(self, keyspace: KeyspaceInfo, scene: Scene) -> list[Effect]:
        """Ask for the point of the split that is most wanted."""
        if len(keyspace.pids) >= self._settings.partitions_max:
            return []
        wanted = [(self._wants_split(pid, keyspace, scene), pid) for pid in keyspace.pids]
        by, pid = next(((by, pid) for by, pid in wanted if by), ("", 0))
        entry = scene.cluster.entries[pid] if pid else None
        if entry is None or entry.leader is None or not is_free(entry, scene.cluster):
            return []
        host = scene.hosts.get(entry.leader.node)
        if host is None:
            return []
        self._splits[keyspace.name] = _Split(pid, by, self._now_s + STEP_S)
        start, end = next((first, last) for first, last, owner in segments(keyspace) if owner == pid)
        return [AskSplit(entry.leader.node, host.connection, pid, entry.ver, by, start, end)]

    def _wants_split(self, pid: int, keyspace: KeyspaceInfo, scene: Scene) -> str:
        """Why a partition is to be split now: its `load` or its `size`; empty where it is not."""
        rate, fair = self._load.of((pid,)), self._load.of(keyspace.pids) / max(1, len(scene.hosts))
        is_hot = rate >= self._settings.split_writes_per_s and rate > HOT_SHARE * fair
        since_s = self._hot_since.setdefault(pid, self._now_s) if is_hot else self._now_s
        if not is_hot:
            self._hot_since.pop(pid, None)
        if self._now_s < self._calm_from.get(pid, 0.0):
            return ""
        if is_hot and self._now_s - since_s >= HOT_S:
            return "load"
        return "size" if _size_bytes(scene.cluster.entries[pid], scene) >= self._settings.split_bytes else ""

    # ---- merges -------------------------------------------------------------------------------------------------

    def _merge_two(self, keyspace: KeyspaceInfo, scene: Scene) -> list[Effect]:
        """Begin to merge the first two neighbours that are small and calm: the smaller one goes."""
        if len(keyspace.pids) <= keyspace.least_partitions:
            return []
        for first, second in itertools.pairwise(segments(keyspace)):
            entries = [scene.cluster.entries[one[2]] for one in (first, second)]
            if not self._may_merge(entries, scene):
                continue
            source, target = sorted(entries, key=lambda entry: _size_bytes(entry, scene))
            start, end = next((low, high) for low, high, pid in (first, second) if pid == source.pid)
            _, change = begin(source, target, start, end)
            fields: dict[str, str | int] = {"keyspace": keyspace.name, "partition": source.pid, "into": target.pid}
            return [Note("merge", fields), self._propose(source.pid, change)] if self._may_propose(source.pid) else []
        return []

    def _may_merge(self, entries: Collection[Entry], scene: Scene) -> bool:
        settings = self._settings
        if not all(is_free(entry, scene.cluster) and leaders_report(entry, scene.status) for entry in entries):
            return False
        rest_s = max(0.0, settings.merge_after_s - CALM_S)
        is_calm = all(self._now_s >= self._calm_from.get(entry.pid, 0.0) + rest_s for entry in entries)
        is_small = sum(_size_bytes(entry, scene) for entry in entries) <= SMALL_SHARE * settings.split_bytes
        rate = self._load.of(entry.pid for entry in entries)
        return is_calm and is_small and rate <= SMALL_SHARE * settings.split_writes_per_s


def _size_bytes(entry: Entry, scene: Scene) -> int:
    report = leaders_report(entry, scene.status)
    return 0 if report is None else report.size_bytes


def _owns_both(pid: int, at: bytes, keyspace: KeyspaceInfo) -> bool:
    """Whether the partition's range can be cut there, so that both parts may have keys. The keyspace may have been
    deleted meanwhile, and made again in any way."""
    return pid in keyspace.pids and any(
        pid == one and first < at and (not last or at < last) for first, last, one in segments(keyspace)
    )
