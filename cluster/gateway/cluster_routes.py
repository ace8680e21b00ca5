"""Requests on the cluster and on this process: its state, its members, health, metrics, the contract.

Guarantees: what control refuses is told as control says it. Leaves to others: which request it is (`routes`), every
decision (control).
"""

from __future__ import annotations

from typing import Protocol, overload

import msgspec
from aiohttp import hdrs

from cluster.control.messages import AdmitNode, Admitted, ClusterStatus, ClusterView, Readiness, Ready
from cluster.gateway.answer import Answer, json_answer
from cluster.gateway.bodies import Format, form_of
from cluster.gateway.http_request import Request
from cluster.gateway.metrics import CONTENT_TYPE as METRICS_TYPE
from cluster.gateway.metrics import Metrics
from kvstore.errors import BadBody, BodyTooLarge, NoLeader, UnsupportedMediaType

NODE_BODY_BYTES_MAX = 64 * 1024
WELCOME = (
    b"kvstore: a sharded, replicated key-value store.\n\n"
    b"  curl -X PUT --data-binary hello http://HOST/v1/kv/greeting\n"
    b"  curl http://HOST/v1/kv/greeting\n\n"
    b"/openapi.yaml describes every request, /v1/cluster the cluster, /metrics what this gateway counts.\n"
)


class Control(Protocol):
    """What the routes ask of control; a refusal is raised as `KvError`."""

    @overload
    async def ask(self, request: AdmitNode) -> Admitted: ...
    @overload
    async def ask(self, request: ClusterStatus) -> ClusterView: ...
    @overload
    async def ask(self, request: Readiness) -> Ready: ...


class _NodeBody(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    id: str
    address: str
    zone: str = "default"
    weight: float = 1.0


_NODE = msgspec.json.Decoder(_NodeBody)
_JSON = msgspec.json.Encoder()


class ClusterRoutes:
    """Args:
    openapi: the text served at `/openapi.yaml`.
    """

    def __init__(self, control: Control, metrics: Metrics, *, openapi: bytes) -> None:
        self._control = control
        self._metrics = metrics
        self._openapi = openapi

    async def cluster(self, request: Request) -> Answer:
        """The state of the cluster."""
        request.operation = "cluster"
        return json_answer(200, _JSON.encode(await self._control.ask(ClusterStatus())))

    async def admit(self, request: Request) -> Answer:
        """Make a node a member."""
        request.operation = "admit"
        if form_of(request.headers.get(hdrs.CONTENT_TYPE, "")) is not Format.JSON:
            raise UnsupportedMediaType("a node is described in JSON")
        body = await request.read_body(NODE_BODY_BYTES_MAX, BodyTooLarge)
        try:
            node = _NODE.decode(body)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadBody(str(error)) from error
        admitted = await self._control.ask(AdmitNode(node.id, node.address, node.zone, node.weight))
        return json_answer(201 if admitted.created else 200, _JSON.encode({"id": node.id}))

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

    async def welcome(self, _request: Request) -> Answer:
        """Where to go from here."""
        return Answer(200, "Content-Type: text/plain; charset=utf-8\r\n", WELCOME)

    async def show_metrics(self, request: Request) -> Answer:
        """What this process counted, for Prometheus."""
        request.operation = "metrics"
        return Answer(200, f"Content-Type: {METRICS_TYPE}\r\n", self._metrics.render())

    async def show_openapi(self, _request: Request) -> Answer:
        """The contract."""
        return Answer(200, "Content-Type: application/yaml\r\n", self._openapi)


def _text(text: str) -> Answer:
    return Answer(200, "Content-Type: text/plain; charset=utf-8\r\n", text.encode())
