"""A gateway put together: open the map, listen, serve, stop.

Guarantees: `ready http://HOST:PORT` is printed once, when it serves; the stop lets running requests finish. Leaves to
others: its end (`life`), control, several workers (`supervise`), and every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from pathlib import Path

from cluster.control.interface import Control
from cluster.control.messages import DrawIncarnation
from cluster.gateway.balance import Balance
from cluster.gateway.balance_routes import BalanceRoutes
from cluster.gateway.breaker import State
from cluster.gateway.cluster_routes import ClusterRoutes, Scrape
from cluster.gateway.counts import Fold
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.fast_pages import FastPages
from cluster.gateway.http_server import HttpServer, check_parser
from cluster.gateway.id_routes import IdRoutes, Ids
from cluster.gateway.id_source import ids_of
from cluster.gateway.import_routes import ImportRoutes
from cluster.gateway.key_routes import KeyRoutes
from cluster.gateway.keyspace_news import KeyspaceNews
from cluster.gateway.keyspace_routes import KeyspaceRoutes
from cluster.gateway.life import first_of, run_process, say_ready, unless, until_set
from cluster.gateway.listening import BACKLOG, bind, url_of
from cluster.gateway.metrics import LAG, STORE_UP, Metrics
from cluster.gateway.own_control import own_control
from cluster.gateway.rebalance_routes import RebalanceRoutes
from cluster.gateway.router import Router
from cluster.gateway.routes import Routes
from cluster.gateway.scan_routes import ScanRoutes
from cluster.gateway.scans import Scans
from cluster.gateway.service import KvService
from cluster.gateway.settings import GatewaySettings
from cluster.gateway.supervise import supervise
from cluster.gateway.txn_operator_routes import TxnOperatorRoutes
from cluster.gateway.txn_operators import TxnOperators
from cluster.gateway.txn_routes import TxnRoutes
from cluster.gateway.verifier import Verifier
from cluster.txn.crashing import CrashingCalls
from cluster.txn.driver import Call, Transactions
from kvstore.crash_point import CrashPoint
from kvstore.loop_lag import LoopLag
from kvstore.rpc.client import Identity

OPENAPI = Path(__file__).with_name("openapi.yaml")
TXN_ANSWER_BYTES_MAX = 4 * 1024 * 1024


def run(settings: GatewaySettings) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code."""
    return run_process(lambda stop: serve_gateway(settings, stop))


async def serve_gateway(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set, in this process or in those of several workers.

    Raises:
        OperatorError: the settings ask for what is not there, or the address or the data directory does not fit.
        ChildFailed: a worker ended before it served.
    """
    check_parser()
    if settings.workers > 1:
        await supervise(settings, stop)
        return
    async with contextlib.AsyncExitStack() as stack:
        listening = bind(settings)
        stack.callback(listening.close)
        control = own_control(settings)
        stack.push_async_callback(control.close)
        await unless(stop, control.start())
        metrics = Metrics()
        metrics.add_gauge(*STORE_UP, lambda: float(control.is_store_up))
        await serve(settings, control, listening, metrics, metrics, stop)


async def serve(
    settings: GatewaySettings,
    control: Control,
    listening: socket.socket,
    metrics: Metrics,
    scrape: Scrape,
    stop: asyncio.Event,
    ids: Ids | None = None,
) -> None:
    """Serve HTTP until `stop` is set or control fails.

    Args:
        control: started.
        metrics: counts what is served here.
        scrape: tells who asks for metrics.
        ids: where they come from, where not from this process.
    """
    async with contextlib.AsyncExitStack() as stack:

        async def draw_incarnation() -> int:
            return (await control.ask(DrawIncarnation())).number

        incarnation = await unless(stop, draw_incarnation())
        router = Router(control.cluster_id)
        dispatcher = Dispatcher(
            router,
            Identity(control.cluster_id, "gateway", "gateway"),
            incarnation=incarnation,
            draw_incarnation=draw_incarnation,
            timeout_s=settings.request_timeout_s,
            max_value_bytes=settings.max_value_bytes,
            rng=random.Random(),
            ask=control.ask,
        )
        stack.push_async_callback(dispatcher.close)
        stack.callback(control.subscribe(dispatcher.take))
        transactions = Transactions(
            dispatcher.links,
            router,
            incarnation=incarnation,
            timeout_s=settings.request_timeout_s,
            answer_bytes_max=TXN_ANSWER_BYTES_MAX,
            rng=random.Random(),
            tenants=dispatcher.tenants,
            call=_call(settings, dispatcher.links.call),
        )
        stack.push_async_callback(transactions.close)
        stack.callback(control.subscribe(transactions.take))
        if ids is None:
            ids = own_ids = ids_of(control, incarnation, settings.request_timeout_s)
            stack.push_async_callback(own_ids.close)
        lane = FastLane(dispatcher, router, metrics.observe_all, max_value_bytes=settings.max_value_bytes)
        routes = _routes(settings, dispatcher, router, transactions, control, ids, metrics, scrape)
        pages = FastPages(
            dispatcher, router, cluster_id=control.cluster_id, page_bytes_max=settings.batch_answer_bytes_max
        )
        server = HttpServer(routes.handle, settings, metrics.observe, lane, pages)
        metrics.add_gauge("kvstore_gateway_connections", "Open client connections.", lambda: server.connections_count)
        metrics.add_gauge(
            "kvstore_gateway_in_flight_bytes",
            "Bytes of bodies and unsent answers.",
            lambda: server.budget.used,
        )
        lag = LoopLag()
        measuring = asyncio.create_task(lag.measure())
        stack.callback(measuring.cancel)
        metrics.add_gauge(*LAG, lambda: lag.worst_s, Fold.GREATEST)
        await _serve_http(server, listening, control, stop)


def _call(settings: GatewaySettings, call: Call) -> Call:
    return CrashingCalls(call, CrashPoint(settings.crash_at)) if settings.crash_at else call


def _routes(
    settings: GatewaySettings,
    dispatcher: Dispatcher,
    router: Router,
    transactions: Transactions,
    control: Control,
    ids: Ids,
    metrics: Metrics,
    scrape: Scrape,
) -> Routes:
    service = KvService(
        dispatcher,
        router,
        transactions,
        max_value_bytes=settings.max_value_bytes,
        batch_answer_bytes_max=settings.batch_answer_bytes_max,
        zone=settings.zone,
    )
    keys = KeyRoutes(service, max_value_bytes=settings.max_value_bytes, batch_bytes_max=settings.batch_bytes_max)
    imports = ImportRoutes(service, patience_s=settings.import_patience_s)
    scans = ScanRoutes(
        Scans(dispatcher, router, page_bytes_max=settings.batch_answer_bytes_max),
        service,
        cluster_id=control.cluster_id,
        patience_s=settings.import_patience_s,
    )
    breakers = dispatcher.links.breakers
    metrics.add_gauges(
        "kvstore_gateway_breaker_open",
        "1 while a node is not called, or only to see whether it answers.",
        "node",
        lambda: {node: float(state is not State.CLOSED) for node, state in breakers().items()},
        Fold.GREATEST,
    )
    verifier = Verifier(router, dispatcher.links)
    operators = TxnOperators(router, dispatcher.links)
    cluster = ClusterRoutes(control, verifier, operators, scrape, openapi=OPENAPI.read_bytes(), breakers=breakers)
    txns = TxnRoutes(service, max_value_bytes=settings.max_value_bytes)
    rebalance, in_doubt = RebalanceRoutes(control), TxnOperatorRoutes(operators)
    keyspaces = KeyspaceRoutes(control, router, max_value_bytes=settings.max_value_bytes)
    balance = BalanceRoutes(Balance(router, dispatcher.links))
    news = KeyspaceNews(control.ask, router)
    return Routes(keys, txns, scans, imports, IdRoutes(ids), cluster, rebalance, in_doubt, keyspaces, balance, news)


async def _serve_http(server: HttpServer, listening: socket.socket, control: Control, stop: asyncio.Event) -> None:
    """Listen until `stop` is set or control fails, then stop in order."""
    listener = await asyncio.get_running_loop().create_server(server, sock=listening, backlog=BACKLOG)
    say_ready(url_of(listening))
    try:
        await first_of(until_set(stop), control.wait_failed())
    finally:
        listener.close()
        await server.stop()
