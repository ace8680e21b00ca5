"""What workers ask control about keyspaces, and what it answers.

Guarantees: as `messages`. Leaves to others: what a keyspace is (`kvstore.map_values`), carrying a request out
(`keyspaces`, `tenants`). Sans-IO.
"""

from __future__ import annotations

from cluster.control.control_message import ControlMessage
from kvstore.map_values import KeyspaceInfo


class CreateKeyspace(ControlMessage, frozen=True, tag=True):
    """Make a keyspace. Answer: `KeyspaceCreated`, once the map has it; its partitions are placed after that.

    `replicas` is 0 where each node is to have a copy. Of strategy `range` the number of partitions is that of `bounds`,
    the first keys of all partitions but the first, and one more; `partitions` says nothing there. Of `geo` it is per
    zone. Refused with BadParameter, which names the field of the HTTP API, or Conflict where there is another one of
    that name.
    """

    name: str
    strategy: str
    partitions: int = 64
    replicas: int = 2
    min_in_sync: int = 1
    default_ttl_ms: int = 0
    max_value_bytes: int = 0
    bounds: tuple[bytes, ...] = ()
    regions: tuple[tuple[bytes, str], ...] = ()
    default_zone: str = ""


class DeleteKeyspace(ControlMessage, frozen=True, tag=True):
    """Make an end of a keyspace and all that is in it. Answer: `KeyspaceDeleted`, once the map says so; nodes are told
    and delete their copies after that. Refused with NotFound, or Conflict: the default one stays."""

    name: str


class ResolveTenant(ControlMessage, frozen=True, tag=True):
    """Asks which partition of a `directory` keyspace has a tenant's keys. Answer: `TenantResolved`, of the map as it
    stood at some time after the question.

    `assign`: where none has, the least loaded one is to have them from now on. Refused with NotFound, or Conflict where
    the keyspace is of another strategy.
    """

    keyspace: str
    tenant: bytes
    assign: bool = False


class MoveTenant(ControlMessage, frozen=True, tag=True):
    """Move a tenant's keys to another partition of its keyspace, the least loaded one where none is named. Answer:
    `TenantMoving`."""

    keyspace: str
    tenant: bytes
    partition: int | None = None


class LearnKeyspaces(ControlMessage, frozen=True, tag=True):
    """Asks for news of the keyspaces there are. Answer: `KeyspacesLearnt`, before which every subscriber was told the
    map as it stood at some time after the question."""


KeyspaceRequest = CreateKeyspace | DeleteKeyspace | ResolveTenant | MoveTenant | LearnKeyspaces


class KeyspaceCreated(ControlMessage, frozen=True):
    """The keyspace as the map has it; `created` is False where the very same one was there."""

    keyspace: KeyspaceInfo
    created: bool


class KeyspaceDeleted(ControlMessage, frozen=True):
    """The map has it no more."""


class TenantResolved(ControlMessage, frozen=True):
    """The partition of a tenant's keys; None where there is none, and so none of its keys."""

    pid: int | None


class TenantMoving(ControlMessage, frozen=True):
    """The partition to which the keys go, and the number of the transfer that takes them there."""

    partition: int
    transfer: int


class KeyspacesLearnt(ControlMessage, frozen=True):
    """The news have been told."""


KeyspaceAnswer = KeyspaceCreated | KeyspaceDeleted | TenantResolved | TenantMoving | KeyspacesLearnt
