"""Making keyspaces, and making an end of them.

Guarantees: of two that ask for one name at the same time, by whichever control, one makes it, and both are answered by
what then stands; no partition's uid is used twice; what is deleted leaves an entry without copies for each of its
partitions, placed or not, in the same change, so that nothing can be placed or written there any more. Leaves to
others: what may be asked for (`keyspace_rules`), the first placement (`placing`), deleting copies (nodes). Sans-IO.
PROTOCOL "Keyspaces and layout".
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cluster.cluster_map import ClusterMap, PutKeyspace, Reshape
from cluster.control.events import AllocatePids, Effect, LookAtStore, Note, PidsAllocated, Refuse, Reply
from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspacesLearnt,
    LearnKeyspaces,
)
from cluster.control.keyspace_rules import check_keyspace, check_zones, is_same, partition_count, record_of
from cluster.control.map_store import Outcome
from cluster.control.proposals import Proposals
from cluster.control.reshapes import tombstone
from cluster.control.settings import ControlSettings
from kvstore.errors import BadParameter, Conflict, KvError, NotFound
from kvstore.map_values import Entry, KeyspaceInfo

DEFAULT_KEYSPACE = "default"
DEFAULT_STRATEGY = "consistent"


class Keyspaces:
    """Args:
    proposals: takes what is proposed.
    settings: what the default keyspace is to be.
    """

    def __init__(self, proposals: Proposals, settings: ControlSettings) -> None:
        self._proposals = proposals
        self._default = CreateKeyspace(
            name=DEFAULT_KEYSPACE,
            strategy=DEFAULT_STRATEGY,
            partitions=settings.partitions,
            replicas=settings.replicas,
            min_in_sync=settings.min_in_sync,
        )
        self._is_making_default = False
        self._asked: dict[int, CreateKeyspace | DeleteKeyspace | LearnKeyspaces] = {}

    def make_default(self, cluster: ClusterMap) -> list[Effect]:
        """Make the default keyspace of a cluster that has none."""
        if DEFAULT_KEYSPACE in cluster.keyspaces or not cluster.cluster_id or self._is_making_default:
            return []
        self._is_making_default = True
        return [AllocatePids(partition_count(self._default))]

    def ask(self, ask: int, request: CreateKeyspace | DeleteKeyspace | LearnKeyspaces) -> list[Effect]:
        """Somebody asks to make or delete one, or which there are: it is looked what there is."""
        try:
            if isinstance(request, CreateKeyspace):
                check_keyspace(request)
            elif isinstance(request, DeleteKeyspace) and request.name == DEFAULT_KEYSPACE:
                raise Conflict("the keyspace default cannot be deleted")
        except KvError as error:
            return [Refuse(ask, error)]
        self._asked[ask] = request
        return [LookAtStore(ask)]

    def looked(self, ask: int, cluster: ClusterMap) -> list[Effect]:
        """What the store says is known now."""
        request = self._asked.pop(ask, None)
        if isinstance(request, DeleteKeyspace):
            return self._delete(ask, request, cluster)
        if isinstance(request, LearnKeyspaces):
            return [Reply(ask, KeyspacesLearnt())]
        if request is None:
            return []
        answer = _answer_by(request, ask, cluster)
        if answer is not None:
            return [answer]
        try:
            check_zones(request, cluster)
        except BadParameter as error:
            return [Refuse(ask, error)]
        self._asked[ask] = request
        return [AllocatePids(partition_count(request), ask)]

    def forget(self, ask: int) -> None:
        """Nobody waits for the answer any more."""
        self._asked.pop(ask, None)

    def allocated(self, event: PidsAllocated, cluster: ClusterMap) -> list[Effect]:
        """There are uids for the partitions of one that is being made."""
        if event.ask is None:
            keyspace = record_of(self._default, event.first)
            return [self._proposals.propose([PutKeyspace(keyspace, None)], lambda *_: [])]
        request = self._asked.pop(event.ask, None)
        if not isinstance(request, CreateKeyspace):
            return []
        return self._create(event.ask, request, event.first, cluster)

    def _create(self, ask: int, request: CreateKeyspace, first_pid: int, cluster: ClusterMap) -> list[Effect]:
        answer = _answer_by(request, ask, cluster)
        if answer is not None:
            return [answer]
        known, keyspace = cluster.keyspaces.get(request.name), record_of(request, first_pid)

        def settled(outcomes: Sequence[Outcome], after: ClusterMap) -> list[Effect]:
            if Outcome.LANDED not in outcomes and after.keyspaces.get(request.name) != keyspace:
                # Not with these uids: it may have landed unseen, and been deleted since.
                self._asked[ask] = request
                return [LookAtStore(ask)]
            fields: dict[str, str | int] = {"keyspace": keyspace.name, "strategy": keyspace.strategy}
            made = Note("keyspace_created", fields | {"partitions": len(keyspace.pids)})
            return [made, Reply(ask, KeyspaceCreated(keyspace, True))]

        return [self._proposals.propose([PutKeyspace(keyspace, known)], settled, ask=ask)]

    def _delete(self, ask: int, request: DeleteKeyspace, cluster: ClusterMap) -> list[Effect]:
        known = cluster.keyspaces.get(request.name)
        if known is None or known.is_deleted:
            return [Refuse(ask, NotFound(f"there is no keyspace {request.name!r}"))]

        def settled(outcomes: Sequence[Outcome], after: ClusterMap) -> list[Effect]:
            stands = after.keyspaces[request.name]
            if Outcome.CONFLICT in outcomes and set(stands.pids).intersection(known.pids):
                return self._delete(ask, request, after)
            return [Note("keyspace_deleted", {"keyspace": request.name}), Reply(ask, KeyspaceDeleted())]

        return [self._proposals.propose([_deletion(known, cluster)], settled, ask=ask)]


def _answer_by(request: CreateKeyspace, ask: int, cluster: ClusterMap) -> Reply | Refuse | None:
    """What is answered where there is a keyspace of that name."""
    known = cluster.keyspaces.get(request.name)
    if known is None or known.is_deleted:
        return None
    if is_same(request, known):
        return Reply(ask, KeyspaceCreated(known, False))
    return Refuse(ask, Conflict(f"there is another keyspace {request.name!r}: delete it first, or choose another name"))


def _deletion(keyspace: KeyspaceInfo, cluster: ClusterMap) -> Reshape:
    """The change after which there is no such keyspace. A transfer may have made partitions that are not in its record
    yet."""
    entries = {pid: Entry(pid, keyspace.name, 0, 0, None, (), ()) for pid in keyspace.pids}
    entries |= {entry.pid: entry for entry in cluster.living.values() if entry.keyspace == keyspace.name}
    over = msgspec.structs.replace(keyspace, pids=(), bounds=(), zones=(), layout=keyspace.layout + 1)
    return Reshape(tuple(tombstone(entry) for _, entry in sorted(entries.items())), over, keyspace)
