"""A control without a cluster behind it: answers what the routes ask, and remembers what was asked."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

from cluster.control.id_windows import IdWindows
from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceAnswer,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspaceRequest,
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
    ChangeNode,
    ClusterStatus,
    ClusterView,
    DrawIdWindow,
    ForcePromote,
    ForcePromoted,
    IdWindow,
    MakePlan,
    NodeChanged,
    PlanView,
    Promoted,
    Ready,
    RebalanceStatus,
    RebalanceView,
    RemoveNode,
    Request,
    SetRebalance,
    StartPlan,
)
from kvstore.map_values import KeyspaceInfo


async def _of_default(request: KeyspaceRequest) -> KeyspaceAnswer:
    """There is no keyspace but the default one, and nobody has a tenant."""
    if isinstance(request, CreateKeyspace):
        return KeyspaceCreated(KeyspaceInfo(request.name, request.strategy, (1,), 2, 1), False)
    if isinstance(request, DeleteKeyspace):
        return KeyspaceDeleted()
    if isinstance(request, ResolveTenant):
        return TenantResolved(None)
    return TenantMoving(1, 7)


@dataclass
class MemoryControl:
    """Answers what the routes ask of control."""

    view: ClusterView = field(default_factory=lambda: ClusterView("healthy", 7, (), ()))
    ready: Ready = field(default_factory=lambda: Ready(True, ""))
    admitted: list[AdmitNode] = field(default_factory=list)
    asked: list[KeyspaceRequest] = field(default_factory=list)
    of_keyspaces: Callable[[KeyspaceRequest], Awaitable[KeyspaceAnswer]] = _of_default
    steered: list[Request] = field(default_factory=list)
    id_windows: IdWindows = field(default_factory=IdWindows)
    drawn: list[IdWindow] = field(default_factory=list)
    may_draw: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self.may_draw.set()

    async def ask(self, request: Request) -> Any:
        if isinstance(request, CreateKeyspace | DeleteKeyspace | ResolveTenant | MoveTenant):
            self.asked.append(request)
            return await self.of_keyspaces(request)
        if isinstance(request, LearnKeyspaces):
            return KeyspacesLearnt()
        if isinstance(request, AdmitNode):
            is_new = request.id not in {one.id for one in self.admitted}
            self.admitted.append(request)
            return Admitted(is_new)
        if isinstance(request, DrawIdWindow):
            await self.may_draw.wait()
            self.id_windows, window = self.id_windows.drawn(request)
            self.drawn.append(window)
            return window
        if isinstance(request, ForcePromote):
            return ForcePromoted((Promoted(1, "n2", 3, 1),), ())
        if isinstance(request, RemoveNode | ChangeNode):
            return NodeChanged(request.id, "z", 1.0, "leaving")
        if isinstance(request, MakePlan):
            return PlanView("1234", 7, 0, 0, 0)
        if isinstance(request, StartPlan | RebalanceStatus | SetRebalance | AbortMove):
            self.steered.append(request)
            return RebalanceView("idle", 0, 0, 0, 0, 0)
        return self.view if isinstance(request, ClusterStatus) else self.ready
