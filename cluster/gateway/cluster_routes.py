"""Requests on the cluster and on this process: its state, its members, health, metrics, the contract.

Guarantees: what control refuses is told as control says it. Leaves to others: which request it is (`routes`), every
decision (control).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol, overload

import msgspec
from msgspec import UNSET, UnsetType

from cluster.control.messages import (
    AdmitNode,
    Admitted,
    ClusterStatus,
    ClusterView,
    ForcePromote,
    ForcePromoted,
    NodeView,
    Readiness,
    Ready,
)
from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.breaker import State
from cluster.gateway.dashboard import DASHBOARD
from cluster.gateway.documents import decoded_json
from cluster.gateway.http_request import Request
from cluster.gateway.metrics import CONTENT_TYPE as METRICS_TYPE
from cluster.gateway.txn_operators import TxnOperators
from cluster.gateway.verifier import Verifier
from cluster.gateway.verify_answer import told
from cluster.txn.transaction import txn_id
from kvstore.errors import BadBody, BadParameter, NoLeader

PARTITION_MAX = (1 << 53) - 1


class Control(Protocol):
    """What the routes ask of control; a refusal is raised as `KvError`."""

    @overload
    async def ask(self, request: AdmitNode) -> Admitted: ...
    @overload
    async def ask(self, request: ClusterStatus) -> ClusterView: ...
    @overload
    async def ask(self, request: Readiness) -> Ready: ...
    @overload
    async def ask(self, request: ForcePromote) -> ForcePromoted: ...


class Scrape(Protocol):
    """Who tells what was counted."""

    async def text(self) -> bytes:
        """As Prometheus reads it."""


class PromotedByForce(ForcePromoted, frozen=True):
    """What control did, and the transactions in doubt whose decision may be lost with what was given up: they are
    aborted now, though a client may have been told that one is committed."""

    may_be_torn: tuple[str, ...]


class SeenNode(NodeView, frozen=True):
    """A member as control knows it, and the state of the breaker that this gateway has before it."""

    breaker: str


class _NodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    address: str
    zone: str = "default"
    weight: float = 1.0


class _PromotionBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    confirmed_stopped: tuple[str, ...]
    # A float, for JSON knows only one kind of number: 5.0 is 5.
    partition: float | UnsetType = UNSET
    all_of: str = ""


_NODE = msgspec.json.Decoder(_NodeBody)
_PROMOTION = msgspec.json.Decoder(_PromotionBody)
_JSON = msgspec.json.Encoder()


class ClusterRoutes:
    """Args:
    openapi: the text served at `/openapi.yaml`.
    breakers: tells the state of the breaker before each node, by node.
    """

    def __init__(
        self,
        control: Control,
        verifier: Verifier,
        operators: TxnOperators,
        metrics: Scrape,
        *,
        openapi: bytes,
        breakers: Callable[[], Mapping[str, State]],
    ) -> None:
        self._control = control
        self._verifier = verifier
        self._operators = operators
        self._breakers = breakers
        self._metrics = metrics
        self._openapi = openapi

    async def cluster(self, request: Request) -> Answer:
        """The state of the cluster."""
        request.operation = "cluster"
        view = await self._control.ask(ClusterStatus())
        states = self._breakers()
        nodes = tuple(
            SeenNode(**msgspec.structs.asdict(node), breaker=states.get(node.id, State.CLOSED).value)
            for node in view.nodes
        )
        return json_answer(200, _JSON.encode(msgspec.structs.replace(view, nodes=nodes)))

    async def admit(self, request: Request) -> Answer:
        """Make a node a member."""
        request.operation = "admit"
        node = await decoded_json(request, _NODE)
        admitted = await self._control.ask(AdmitNode(node.id, node.address, node.zone, node.weight))
        return json_answer(201 if admitted.created else 200, _JSON.encode({"id": node.id}))

    async def force_promote(self, request: Request) -> Answer:
        """Let copies lead that may lack acknowledged writes."""
        request.operation = "force_promote"
        body = await decoded_json(request, _PROMOTION)
        partition = None if body.partition is UNSET else _partition(body.partition)
        # Asked before: a copy that leads lets go what it knows nothing of.
        in_doubt = await self._operators.prepared()
        done = await self._control.ask(ForcePromote(partition, body.all_of, body.confirmed_stopped))
        pids = {one.partition for one in done.promoted}
        torn = tuple(dict.fromkeys(txn_id(one.txn) for one in in_doubt.txns if one.txn.primary in pids))
        return json_answer(200, _JSON.encode(PromotedByForce(done.promoted, done.refused, torn)))

    async def verify(self, request: Request) -> Answer:
        """Compare the copies of every partition."""
        request.operation = "verify"
        if request.has_body:
            raise BadBody("this request takes no body")
        return json_answer(200, _JSON.encode(told(await self._verifier.verify())))

    async def readyz(self, request: Request) -> Answer:
        """Whether every partition has a reachable leader."""
        request.operation = "health"
        ready = await self._control.ask(Readiness())
        if not ready.ready:
            raise NoLeader(ready.reason)
        return _text("ready\n")

    async def healthz(self, request: Request) -> Answer:
        """That the process lives."""
        request.operation = "health"
        return _text("ok\n")

    async def show_dashboard(self, _request: Request) -> Answer:
        """How the cluster is, for a browser, and where to go from here."""
        return DASHBOARD

    async def show_metrics(self, request: Request) -> Answer:
        """What this gateway counted, for Prometheus."""
        request.operation = "metrics"
        return Answer(200, f"Content-Type: {METRICS_TYPE}\r\n", await self._metrics.text())

    async def show_openapi(self, _request: Request) -> Answer:
        """The contract."""
        return Answer(200, "Content-Type: application/yaml\r\n", self._openapi)


def _partition(number: float) -> int:
    if not 1 <= number <= PARTITION_MAX or not number.is_integer():
        raise BadParameter(f"partition: a whole number from 1 to {PARTITION_MAX}")
    return int(number)


def _text(text: str) -> Answer:
    return Answer(200, "Content-Type: text/plain; charset=utf-8\r\n", text.encode())
