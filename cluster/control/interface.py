"""What a gateway needs of control, whether that is in the same process or in another one.

Guarantees: each kind of request has its kind of answer. Leaves to others: carrying requests out (`server`), or to who
does (`remote`).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import overload

from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspacesLearnt,
    LearnKeyspaces,
    MoveTenant,
    ResolveTenant,
    TenantMoving,
    TenantResolved,
)
from cluster.control.messages import (
    AbortMove,
    AdmitNode,
    Admitted,
    Answer,
    ChangeNode,
    ClusterStatus,
    ClusterView,
    DrawIdWindow,
    DrawIncarnation,
    ForcePromote,
    ForcePromoted,
    IdWindow,
    Incarnation,
    MakePlan,
    NodeChanged,
    PlanView,
    Readiness,
    Ready,
    RebalanceStatus,
    RebalanceView,
    RemoveNode,
    Request,
    SetRebalance,
    StartPlan,
)
from kvstore.messages import MapUpdate


class Control(ABC):
    """Control, as the rest of a gateway sees it."""

    @property
    @abstractmethod
    def cluster_id(self) -> bytes:
        """The 8 bytes that name this cluster; known once started."""

    @abstractmethod
    async def start(self) -> None:
        """Be ready for requests; an OperatorError says why that cannot be."""

    @abstractmethod
    async def close(self) -> None:
        """Refuse what waits, and end. Again: nothing."""

    @abstractmethod
    async def wait_failed(self) -> None:
        """Return only by raising: what made control unable to go on (the process should end)."""

    @abstractmethod
    def subscribe(self, callback: Callable[[MapUpdate], None]) -> Callable[[], None]:
        """Call `callback` at once with the whole map, then with every change, in order; returns the way to stop it.

        A keyspace is known before it is placed: until then its partitions have no entries.
        """

    @abstractmethod
    async def carry_out(self, request: Request) -> Answer:
        """`ask`, for who does not know which request it is."""

    @overload
    async def ask(self, request: AdmitNode) -> Admitted: ...
    @overload
    async def ask(self, request: ClusterStatus) -> ClusterView: ...
    @overload
    async def ask(self, request: Readiness) -> Ready: ...
    @overload
    async def ask(self, request: ForcePromote) -> ForcePromoted: ...
    @overload
    async def ask(self, request: DrawIncarnation) -> Incarnation: ...
    @overload
    async def ask(self, request: DrawIdWindow) -> IdWindow: ...
    @overload
    async def ask(self, request: RemoveNode | ChangeNode) -> NodeChanged: ...
    @overload
    async def ask(self, request: MakePlan) -> PlanView: ...
    @overload
    async def ask(self, request: StartPlan | RebalanceStatus | SetRebalance | AbortMove) -> RebalanceView: ...
    @overload
    async def ask(self, request: CreateKeyspace) -> KeyspaceCreated: ...
    @overload
    async def ask(self, request: DeleteKeyspace) -> KeyspaceDeleted: ...
    @overload
    async def ask(self, request: ResolveTenant) -> TenantResolved: ...
    @overload
    async def ask(self, request: MoveTenant) -> TenantMoving: ...
    @overload
    async def ask(self, request: LearnKeyspaces) -> KeyspacesLearnt: ...

    async def ask(self, request: Request) -> Answer:
        """Have a request carried out; a refusal is raised as an error of `kvstore.errors`."""
        return await self.carry_out(request)
