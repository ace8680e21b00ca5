"""Requests on where copies stand: plans, moves, and members that are changed, drained and removed.

Guarantees: what control refuses is told as control says it; nothing in a body or a path is taken that the contract does
not name. Leaves to others: which request it is (`routes`), every decision (control).
"""

from __future__ import annotations

import re
from typing import Protocol, overload

import msgspec
from msgspec import UNSET, UnsetType

from cluster.control.messages import (
    AbortMove,
    ChangeNode,
    MakePlan,
    Newcomer,
    NodeChanged,
    PlanView,
    RebalanceStatus,
    RebalanceView,
    RemoveNode,
    SetRebalance,
    StartPlan,
)
from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.conditions import parse_name, parse_query
from cluster.gateway.documents import check_no_body, decoded_json
from cluster.gateway.http_request import Request
from cluster.gateway.item_fields import or_none
from kvstore.errors import BadParameter, MethodNotAllowed, NotFound

RATE_MAX = 1 << 40
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)


class Control(Protocol):
    """What the routes ask of control; a refusal is raised as `KvError`."""

    @overload
    async def ask(self, request: RemoveNode | ChangeNode) -> NodeChanged: ...
    @overload
    async def ask(self, request: MakePlan) -> PlanView: ...
    @overload
    async def ask(self, request: StartPlan | RebalanceStatus | SetRebalance | AbortMove) -> RebalanceView: ...


class _Newcomer(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    zone: str = "default"
    weight: float = 1.0


class _PlanBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    add: tuple[_Newcomer, ...] = ()
    remove: tuple[str, ...] = ()


class _StartBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    plan: str


class _LimitBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    # A float, for JSON knows only one kind of number: 5000.0 is 5000.
    max_bytes_per_second: float


class _NodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    zone: str | UnsetType = UNSET
    weight: float | UnsetType = UNSET
    draining: bool | UnsetType = UNSET


_PLAN = msgspec.json.Decoder(_PlanBody)
_START = msgspec.json.Decoder(_StartBody)
_LIMIT = msgspec.json.Decoder(_LimitBody)
_NODE = msgspec.json.Decoder(_NodeBody)
_JSON = msgspec.json.Encoder()


class RebalanceRoutes:
    """Args: control: who decides."""

    def __init__(self, control: Control) -> None:
        self._control = control

    async def plan(self, request: Request) -> Answer:
        """What would move; changes nothing."""
        request.operation = "plan"
        body = await decoded_json(request, _PLAN)
        add = tuple(Newcomer(one.id, one.zone, one.weight) for one in body.add)
        return json_answer(200, _JSON.encode(await self._control.ask(MakePlan(add, body.remove))))

    async def show(self, request: Request) -> Answer:
        """How moves go."""
        return await self._told(request, RebalanceStatus())

    async def start(self, request: Request) -> Answer:
        """Begin the moves of a plan."""
        body = await decoded_json(request, _START)
        return await self._told(request, StartPlan(body.plan))

    async def limit(self, request: Request) -> Answer:
        """Bound the bytes per second of moves."""
        body = await decoded_json(request, _LIMIT)
        rate = body.max_bytes_per_second
        if not 0 <= rate <= RATE_MAX or not rate.is_integer():
            raise BadParameter(f"max_bytes_per_second: a whole number from 0 (no bound) to {RATE_MAX}")
        return await self._told(request, SetRebalance(max_bytes_per_second=int(rate)))

    async def pause(self, request: Request) -> Answer:
        """Stop moves where they stand."""
        check_no_body(request)
        return await self._told(request, SetRebalance(paused=True))

    async def resume(self, request: Request) -> Answer:
        """Let moves go on."""
        check_no_body(request)
        return await self._told(request, SetRebalance(paused=False))

    async def move(self, request: Request, number: str, query: str) -> Answer:
        """Undo a move."""
        if request.method != "DELETE":
            raise MethodNotAllowed(("DELETE",))
        parse_query(query, ())
        check_no_body(request)
        if not _NUMBER.fullmatch(number):
            raise NotFound("there is no such move")
        return await self._told(request, AbortMove(int(number)))

    async def node(self, request: Request, raw_id: str, query: str) -> Answer:
        """Remove a member, or change it."""
        if request.method not in ("DELETE", "PATCH"):
            raise MethodNotAllowed(("DELETE", "PATCH"))
        request.operation = "change_node"
        node = parse_name("node", raw_id)
        if request.method == "DELETE":
            force = parse_query(query, ("force",)).get("force", "false")
            if force not in ("true", "false"):
                raise BadParameter("force: true or false")
            check_no_body(request)
            return json_answer(202, _JSON.encode(await self._control.ask(RemoveNode(node, force == "true"))))
        parse_query(query, ())
        body = await decoded_json(request, _NODE)
        asked = ChangeNode(node, or_none(body.zone), or_none(body.weight), or_none(body.draining))
        return json_answer(200, _JSON.encode(await self._control.ask(asked)))

    async def _told(self, request: Request, asked: StartPlan | RebalanceStatus | SetRebalance | AbortMove) -> Answer:
        request.operation = "rebalance"
        return json_answer(200, _JSON.encode(await self._control.ask(asked)))
