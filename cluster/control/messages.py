"""What workers ask control, and what it answers.

Guarantees: frozen values of checked types, so that a worker in another process may send the same ones. Refusals are
errors of `kvstore.errors`. The cluster map itself travels as `kvstore.messages.MapUpdate`. Leaves to others: carrying
out a request (`controller`), the HTTP around it. Sans-IO.
"""

from __future__ import annotations

import msgspec

from cluster.control.control_message import ControlMessage
from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceAnswer,
    KeyspaceRequest,
    MoveTenant,
)


class AdmitNode(ControlMessage, frozen=True, tag=True):
    """Make a node a member, or take note of a known one's new address, zone or weight. Answer: `Admitted`.

    Refused with BadParameter (names the field), Conflict (the id is taken, the node belongs to another cluster, its
    disk is older than the one that was admitted) or Overloaded (no answer in time: try again).
    """

    id: str
    address: str
    zone: str = "default"
    weight: float = 1.0


class ClusterStatus(ControlMessage, frozen=True, tag=True):
    """Asks how the cluster is. Answer: `ClusterView`."""


class Readiness(ControlMessage, frozen=True, tag=True):
    """Asks whether every partition has a reachable leader that serves. Answer: `Ready`."""


class ForcePromote(ControlMessage, frozen=True, tag=True):
    """Let a copy lead that was not in sync, because all that were are dead: a `partition`, or every one whose last
    in-sync copy was on the node `all_of`. Answer: `ForcePromoted`.

    Acknowledged writes may be lost. `confirmed_stopped` names the nodes of which the asker knows that they do not run:
    one that is only cut off may still be serving. Refused with BadParameter, NotFound, or Conflict when nothing may be
    promoted.
    """

    partition: int | None = None
    all_of: str = ""
    confirmed_stopped: tuple[str, ...] = ()


class DrawIncarnation(ControlMessage, frozen=True, tag=True):
    """Asks for a number that no worker had before, higher than all. Answer: `Incarnation`, once the store answers."""


class DrawIdWindow(ControlMessage, frozen=True, tag=True):
    """Asks for a window of time in which no other process makes ids with this worker number. Answer: `IdWindow`, once
    it is durable.

    `not_before_ms`: the asker's clock, or the end of the window that it has; `is_first`: its process had none yet, and
    this one is to lie behind all that any had. Times are in milliseconds since the epoch of ids.
    """

    worker: int
    not_before_ms: int
    is_first: bool = False


class RemoveNode(ControlMessage, frozen=True, tag=True):
    """Let a node give up all it leads and holds, and then be no member any more. Answer: `NodeChanged`, before any of
    that is done.

    `force`: it is dead, and not waited for. Refused with NotFound, or Conflict where copies would fall below what is
    asked for, or the node is connected (with `force`), or away (without), or has a copy in sync of a partition of which
    none is on another node that is connected (with).
    """

    id: str
    force: bool = False


class ChangeNode(ControlMessage, frozen=True, tag=True):
    """Change a member's zone or weight, or whether it is to lead nothing for now (`draining`; False also calls off a
    removal that goes on); None leaves a thing as it is. Answer: `NodeChanged`. Refused with NotFound or BadParameter.
    """

    id: str
    zone: str | None = None
    weight: float | None = None
    draining: bool | None = None


class Newcomer(ControlMessage, frozen=True):
    """A node that may join, in a plan."""

    id: str
    zone: str = "default"
    weight: float = 1.0


class MakePlan(ControlMessage, frozen=True, tag=True):
    """Asks what would move with these nodes more and those less. Answer: `PlanView`; refused with BadParameter."""

    add: tuple[Newcomer, ...] = ()
    remove: tuple[str, ...] = ()


class StartPlan(ControlMessage, frozen=True, tag=True):
    """Begin the moves of exactly that plan, if that is what would be planned now. Answer: `RebalanceView`.

    Refused with NotFound, or Conflict, which says what changed since.
    """

    plan: str


class RebalanceStatus(ControlMessage, frozen=True, tag=True):
    """Asks how moves go. Answer: `RebalanceView`."""


class SetRebalance(ControlMessage, frozen=True, tag=True):
    """Pause moves or go on, or bound their bytes per second at each node (0: no bound). Answer: `RebalanceView`."""

    paused: bool | None = None
    max_bytes_per_second: int | None = None


class AbortMove(ControlMessage, frozen=True, tag=True):
    """Undo a move, and pause all others, for else it would be planned again. Answer: `RebalanceView`.

    Refused with NotFound, or Conflict where it is past its switch: then it only goes forward.
    """

    move: int


Request = (
    AdmitNode
    | ClusterStatus
    | Readiness
    | ForcePromote
    | DrawIncarnation
    | DrawIdWindow
    | RemoveNode
    | ChangeNode
    | MakePlan
    | StartPlan
    | RebalanceStatus
    | SetRebalance
    | AbortMove
    | KeyspaceRequest
)

# Those that change the map. Who has no answer to one does not know whether it did.
ChangeRequest = (
    AdmitNode
    | RemoveNode
    | ChangeNode
    | ForcePromote
    | StartPlan
    | SetRebalance
    | AbortMove
    | CreateKeyspace
    | DeleteKeyspace
    | MoveTenant
)


class Admitted(ControlMessage, frozen=True):
    """The node is a member and its membership is durable; `created` says that it was none before."""

    created: bool


class Ready(ControlMessage, frozen=True):
    """`reason` is a sentence that says what is missing; empty when ready."""

    ready: bool
    reason: str


class Promoted(ControlMessage, frozen=True):
    """A partition that was given to `leader`, in the entry as it now stands."""

    partition: int
    leader: str | None
    epoch: int
    unclean_count: int


class Unpromoted(ControlMessage, frozen=True):
    """A partition that was left as it is; `detail` is a sentence that says why."""

    partition: int
    detail: str


class ForcePromoted(ControlMessage, frozen=True):
    """What became of `ForcePromote`, partition by partition."""

    promoted: tuple[Promoted, ...]
    refused: tuple[Unpromoted, ...]


class Incarnation(ControlMessage, frozen=True):
    number: int


class IdWindow(ControlMessage, frozen=True):
    """The milliseconds from `from_ms` on, before `until_ms`, are the asker's for ids with this worker number."""

    worker: int
    from_ms: int
    until_ms: int


class NodeView(ControlMessage, frozen=True):
    """A member as an operator sees it; `state` is `up`, `down` or `draining`, `keys` and `bytes` count all copies it
    holds."""

    id: str
    address: str
    zone: str
    weight: float
    state: str
    leads: int
    follows: int
    keys: int
    size_bytes: int = msgspec.field(name="bytes")


class PartitionView(ControlMessage, frozen=True):
    """A placed partition; leader, in_sync and replicas are node ids, `replicas` with those that are being added;
    `unclean_count` says how often it was promoted by force and may have lost acknowledged writes."""

    id: int
    keyspace: str
    epoch: int
    leader: str | None
    in_sync: tuple[str, ...]
    replicas: tuple[str, ...]
    unclean_count: int = 0


class MoveView(ControlMessage, frozen=True):
    """A move that goes on, or waits; `step` is one of `control.moving`. `keys` and `bytes` are those of the copy that
    moves, `keys_done` and `bytes_done` what its target has; `eta_s` is None where it is not known."""

    id: int
    partition: int
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    step: str = ""
    keys_done: int = 0
    keys: int = 0
    bytes_done: int = 0
    size_bytes: int = msgspec.field(name="bytes", default=0)
    bytes_per_second: int = 0
    eta_s: float | None = None


class ClusterView(ControlMessage, frozen=True):
    """The body of `GET /v1/cluster` (`to_builtins` and JSON encoding give the API's field names).

    `state`: `unavailable`, `degraded`, `rebalancing` or `healthy`, the first that fits.
    """

    state: str
    map_version: int
    nodes: tuple[NodeView, ...]
    partitions: tuple[PartitionView, ...]
    moves: tuple[MoveView, ...] = ()


class TransferView(ControlMessage, frozen=True):
    """Keys that go from one partition to another: a range, or those of a `tenant`. `state` is that of the transfer as
    the source sees it, until both have deleted what is not theirs."""

    id: int
    keyspace: str
    source: int = msgspec.field(name="from")
    target: int = msgspec.field(name="to")
    state: str = ""
    tenant: str | None = None


class RebalanceView(ControlMessage, frozen=True):
    """The body of `GET /v1/cluster/rebalance`. `state`: `paused`, `running` (moves go on or wait) or `idle`; the sums
    are over the moves that are not over. `manual`: nothing moves by itself."""

    state: str
    max_bytes_per_second: int
    keys_done: int
    keys: int
    bytes_done: int
    size_bytes: int = msgspec.field(name="bytes")
    bytes_per_second: int = 0
    eta_s: float | None = None
    moves: tuple[MoveView, ...] = ()
    transfers: tuple[TransferView, ...] = ()
    manual: bool = False


class PlannedMove(ControlMessage, frozen=True):
    """A copy that would go from one node to another, and what is in it."""

    partition: int
    keyspace: str
    source: str = msgspec.field(name="from")
    target: str = msgspec.field(name="to")
    keys: int = 0
    size_bytes: int = msgspec.field(name="bytes", default=0)


class NodeBalance(ControlMessage, frozen=True):
    """How a node stands before and after a plan; `most_after` is how many copies it may have then."""

    node: str
    copies_before: int
    copies_after: int
    leads_before: int
    leads_after: int
    share_after: float
    most_after: int


class PlanView(ControlMessage, frozen=True):
    """What would move. `id` is what `StartPlan` takes."""

    id: str
    map_version: int
    partitions: int
    keys: int
    size_bytes: int = msgspec.field(name="bytes")
    moves: tuple[PlannedMove, ...] = ()
    balance: tuple[NodeBalance, ...] = ()


class NodeChanged(ControlMessage, frozen=True):
    """A member as the map has it now."""

    id: str
    zone: str
    weight: float
    standing: str


Answer = (
    Admitted
    | ClusterView
    | Ready
    | ForcePromoted
    | Incarnation
    | IdWindow
    | RebalanceView
    | PlanView
    | NodeChanged
    | KeyspaceAnswer
)
