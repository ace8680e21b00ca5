"""Routes: from a request's method and path to what answers it.

Guarantees: works on the raw path, so that a key is decoded once and by its own rules; what the contract does not have
is 404, or 405 with `Allow`. Leaves to others: answering (`key_routes`, `txn_routes`, `scan_routes`, `import_routes`,
`id_routes`, `cluster_routes`, `rebalance_routes`, `txn_operator_routes`, `keyspace_routes`, `balance_routes`), bytes on
the connection (`http_protocol`).
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from aiohttp import hdrs

from cluster.gateway.answer import Answer
from cluster.gateway.balance_routes import BalanceRoutes
from cluster.gateway.cluster_routes import ClusterRoutes
from cluster.gateway.conditions import parse_name, parse_query
from cluster.gateway.http_request import Request
from cluster.gateway.id_routes import IdRoutes
from cluster.gateway.import_routes import ImportRoutes
from cluster.gateway.key_routes import KeyRoutes, check_framing
from cluster.gateway.keyspace_news import KeyspaceNews
from cluster.gateway.keyspace_routes import KeyspaceRoutes
from cluster.gateway.rebalance_routes import RebalanceRoutes
from cluster.gateway.scan_routes import ScanRoutes
from cluster.gateway.txn_operator_routes import TxnOperatorRoutes
from cluster.gateway.txn_routes import TxnRoutes
from kvstore.errors import BadBody, MethodNotAllowed, NotFound, UnsupportedEncoding

DEFAULT_KEYSPACE = "default"

FixedHandler = Callable[[Request], Awaitable[Answer]]


class Routes:
    """The handler of all requests."""

    def __init__(
        self,
        keys: KeyRoutes,
        txns: TxnRoutes,
        scans: ScanRoutes,
        imports: ImportRoutes,
        ids: IdRoutes,
        cluster: ClusterRoutes,
        rebalance: RebalanceRoutes,
        operators: TxnOperatorRoutes,
        keyspaces: KeyspaceRoutes,
        balance: BalanceRoutes,
        news: KeyspaceNews,
    ) -> None:
        self._news = news
        self._keyspaces = keyspaces
        self._keys = keys
        self._txns = txns
        self._scans = scans
        self._imports = imports
        self._ids = ids
        self._rebalance = rebalance
        self._operators = operators
        self._balance = balance
        self._fixed: dict[str, dict[str, FixedHandler]] = {
            "/": {"GET": cluster.show_dashboard},
            "/healthz": {"GET": cluster.healthz},
            "/readyz": {"GET": cluster.readyz},
            "/metrics": {"GET": cluster.show_metrics},
            "/openapi.yaml": {"GET": cluster.show_openapi},
            "/v1/keyspaces": {"GET": keyspaces.list},
            "/v1/cluster": {"GET": cluster.cluster},
            "/v1/cluster/nodes": {"POST": cluster.admit},
            "/v1/cluster/force-promote": {"POST": cluster.force_promote},
            "/v1/cluster/verify": {"POST": cluster.verify},
            "/v1/cluster/transactions": {"GET": operators.prepared},
            "/v1/cluster/plan": {"POST": rebalance.plan},
            "/v1/cluster/rebalance": {"GET": rebalance.show, "POST": rebalance.start, "PUT": rebalance.limit},
            "/v1/cluster/rebalance/pause": {"POST": rebalance.pause},
            "/v1/cluster/rebalance/resume": {"POST": rebalance.resume},
        }

    async def handle(self, request: Request) -> Answer:
        """Answer one request; refusals are raised as `KvError`."""
        headers = request.headers
        if hdrs.CONTENT_ENCODING in headers:
            raise UnsupportedEncoding("send the body as it is, without Content-Encoding")
        target = request.target
        if target.startswith("/v1/kv/"):
            raw_key, mark, query = target[7:].partition("?")
            return await self._keys.one_key(request, DEFAULT_KEYSPACE, raw_key, query if mark else "")
        check_framing(request)
        path, _, query = _origin_form(target).partition("?")
        fixed = self._fixed.get(path)
        if fixed is not None:
            method = "GET" if request.method == "HEAD" else request.method
            handler = fixed.get(method)
            if handler is None:
                raise MethodNotAllowed((*fixed, "HEAD") if "GET" in fixed else tuple(fixed))
            if method == "GET" and request.has_body:
                raise BadBody(f"{request.method} takes no body")
            parse_query(query, ())
            return await handler(request)
        if not path.startswith("/v1/"):
            raise NotFound(f"there is nothing at {path[:200]!r}")
        return await self._below_v1(request, path[4:], query)

    async def _below_v1(self, request: Request, path: str, query: str) -> Answer:
        """Requests below `/v1/` that may also stand below `/v1/keyspaces/NAME/`."""
        if path == "ids":
            return await self._ids.draw(request, query)
        if path.startswith("cluster/nodes/"):
            return await self._rebalance.node(request, path[14:], query)
        if path.startswith("cluster/rebalance/moves/"):
            return await self._rebalance.move(request, path[24:], query)
        if path.startswith("cluster/transactions/") and path.endswith("/resolve"):
            return await self._operators.resolve(request, path[21:-8], query)
        if path.startswith("txn/"):
            return await self._txns.state(request, path[4:], query)
        keyspace = DEFAULT_KEYSPACE
        if path.startswith("keyspaces/"):
            name, slash, path = path[10:].partition("/")
            keyspace = parse_name("keyspace", name)
            if slash or request.method in ("GET", "HEAD"):
                await self._news.settle(keyspace)
            if not slash:
                return await self._keyspaces.one(request, keyspace, query)
            if path == "directory":
                return await self._keyspaces.directory(request, keyspace, query)
            if path.startswith("directory/"):
                return await self._keyspaces.tenant(request, keyspace, path[10:], query)
            if path == "balance":
                return await self._balance.show(request, keyspace, query)
        part, slash, rest = path.partition("/")
        if part == "kv" and slash:
            return await self._keys.one_key(request, keyspace, rest, query)
        if part == "locate" and slash:
            return await self._keys.locate(request, keyspace, rest, query)
        if path == "kv":
            return await self._scans.range(request, keyspace, query)
        if path == "batch":
            return await self._keys.batch(request, keyspace, query)
        if path == "import":
            return await self._imports.import_items(request, keyspace, query)
        if path == "txn":
            return await self._txns.transact(request, keyspace, query)
        raise NotFound(f"there is nothing at {request.target[:200]!r}")


def _origin_form(target: str) -> str:
    """The path and query of a target in absolute form (RFC 9112, section 3.2.2), or the target itself."""
    scheme, mark, rest = target.partition("://")
    if not mark or "/" in scheme:
        return target
    _, slash, path = rest.partition("/")
    return slash + path or "/"
