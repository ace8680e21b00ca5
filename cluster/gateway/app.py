"""The life of a gateway process: open the map, listen, serve, stop.

Guarantees: `ready http://HOST:PORT` is printed once, when it listens; SIGTERM and SIGINT let running requests finish
and end with exit code 0; a mistake of the operator's is one line and a non-zero code. Leaves to others: control, and
every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import socket
import sys
import time
from pathlib import Path

import structlog
import uvloop

from cluster.control.map_store import MapStore
from cluster.control.map_store.crashing import CrashingMapStore
from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.map_store.etcd import EtcdMapStore
from cluster.control.map_store.etcd_client import EtcdClient, endpoints_of
from cluster.control.messages import DrawIncarnation
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.gateway.breaker import State
from cluster.gateway.cluster_routes import ClusterRoutes
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.http_server import HttpServer, check_parser
from cluster.gateway.id_routes import IdRoutes
from cluster.gateway.id_source import IdSource
from cluster.gateway.ids import EPOCH_MS, worker_of
from cluster.gateway.import_routes import ImportRoutes
from cluster.gateway.key_routes import KeyRoutes
from cluster.gateway.metrics import Metrics
from cluster.gateway.rebalance_routes import RebalanceRoutes
from cluster.gateway.router import Router
from cluster.gateway.routes import Routes
from cluster.gateway.scan_routes import ScanRoutes
from cluster.gateway.scans import Scans
from cluster.gateway.service import KvService
from cluster.gateway.settings import GatewaySettings
from cluster.gateway.txn_operator_routes import TxnOperatorRoutes
from cluster.gateway.txn_operators import TxnOperators
from cluster.gateway.txn_routes import TxnRoutes
from cluster.gateway.verifier import Verifier
from cluster.txn.crashing import CrashingCalls
from cluster.txn.driver import Call, Transactions
from kvstore.crash_point import CrashPoint
from kvstore.daemon import bind_address, join_address, log_to_stderr, until_signal
from kvstore.errors import OperatorError
from kvstore.loop_lag import LoopLag
from kvstore.rpc.client import Identity

OPENAPI = Path(__file__).with_name("openapi.yaml")
GC_THRESHOLD = 50_000
BACKLOG = 1024
TXN_ANSWER_BYTES_MAX = 4 * 1024 * 1024


def run(settings: GatewaySettings) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code."""
    log_to_stderr()
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        uvloop.run(until_signal(lambda stop: serve_gateway(settings, stop)))
    except OperatorError as error:
        sys.stderr.write(f"kvstore: {error}\n")
        return 1
    except Exception as error:
        structlog.get_logger().error("the gateway cannot go on", exc_info=error)
        return 1
    return 0


async def serve_gateway(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        OperatorError: the settings ask for what is not there, or the address or the data directory does not fit.
    """
    check_parser()
    if settings.workers != 1:
        raise OperatorError("several workers are not built yet; run with one")
    async with contextlib.AsyncExitStack() as stack:
        listening = _bind(settings)
        stack.callback(listening.close)
        control = ControlServer(_map_store(settings), _control_settings(settings))
        stack.push_async_callback(control.close)
        await control.start()

        async def draw_incarnation() -> int:
            return (await control.ask(DrawIncarnation())).number

        incarnation = await draw_incarnation()
        router = Router(control.cluster_id)
        dispatcher = Dispatcher(
            router,
            Identity(control.cluster_id, "gateway", "gateway"),
            incarnation=incarnation,
            draw_incarnation=draw_incarnation,
            timeout_s=settings.request_timeout_s,
            max_value_bytes=settings.max_value_bytes,
            rng=random.Random(),
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
            call=_call(settings, dispatcher.links.call),
        )
        stack.push_async_callback(transactions.close)
        stack.callback(control.subscribe(transactions.take))
        ids = IdSource(worker_of(incarnation), control.ask, now_ms=_ids_clock_ms, timeout_s=settings.request_timeout_s)
        stack.push_async_callback(ids.close)
        metrics = Metrics()
        lane = FastLane(dispatcher, router, max_value_bytes=settings.max_value_bytes)
        routes = _routes(settings, dispatcher, router, transactions, control, ids, metrics)
        server = HttpServer(routes.handle, settings, metrics.observe, lane)
        metrics.add_gauge("kvstore_gateway_connections", "Open client connections.", lambda: server.connections_count)
        metrics.add_gauge(
            "kvstore_gateway_in_flight_bytes",
            "Bytes of bodies and unsent answers.",
            lambda: server.budget.used,
        )
        lag = LoopLag()
        measuring = asyncio.create_task(lag.measure())
        stack.callback(measuring.cancel)
        metrics.add_gauge(
            "kvstore_gateway_loop_lag_seconds", "Worst lag of the event loop in 20 s.", lambda: lag.worst_s
        )
        await _serve_http(server, listening, control, stop)


def _map_store(settings: GatewaySettings) -> MapStore:
    store = _open_map_store(settings)
    if not settings.crash_at:
        return store
    structlog.get_logger().warning("crash_point", at=settings.crash_at)
    return CrashingMapStore(store, CrashPoint(settings.crash_at))


def _call(settings: GatewaySettings, call: Call) -> Call:
    return CrashingCalls(call, CrashPoint(settings.crash_at)) if settings.crash_at else call


def _open_map_store(settings: GatewaySettings) -> MapStore:
    if settings.store:
        return EtcdMapStore(EtcdClient(endpoints_of(settings.store)))
    assert settings.data is not None, "checked by the settings"
    return EmbeddedMapStore(settings.data)


def _control_settings(settings: GatewaySettings) -> ControlSettings:
    return ControlSettings(
        initial_nodes=settings.initial_nodes,
        partitions=settings.partitions,
        replicas=settings.replicas,
        min_in_sync=settings.min_in_sync,
        replace_after_s=settings.replace_after_s,
        manual_rebalance=settings.manual_rebalance,
        moves_per_node=settings.moves_per_node,
    )


def _routes(
    settings: GatewaySettings,
    dispatcher: Dispatcher,
    router: Router,
    transactions: Transactions,
    control: ControlServer,
    ids: IdSource,
    metrics: Metrics,
) -> Routes:
    service = KvService(
        dispatcher,
        router,
        transactions,
        max_value_bytes=settings.max_value_bytes,
        batch_answer_bytes_max=settings.batch_answer_bytes_max,
    )
    keys = KeyRoutes(service, max_value_bytes=settings.max_value_bytes, batch_bytes_max=settings.batch_bytes_max)
    imports = ImportRoutes(service, max_value_bytes=settings.max_value_bytes, patience_s=settings.import_patience_s)
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
    )
    verifier = Verifier(router, dispatcher.links)
    operators = TxnOperators(router, dispatcher.links)
    cluster = ClusterRoutes(control, verifier, operators, metrics, openapi=OPENAPI.read_bytes(), breakers=breakers)
    txns = TxnRoutes(service, max_value_bytes=settings.max_value_bytes)
    rebalance, in_doubt = RebalanceRoutes(control), TxnOperatorRoutes(operators)
    return Routes(keys, txns, scans, imports, IdRoutes(ids), cluster, rebalance, in_doubt)


def _ids_clock_ms() -> int:
    return time.time_ns() // 1_000_000 - EPOCH_MS


async def _serve_http(
    server: HttpServer, listening: socket.socket, control: ControlServer, stop: asyncio.Event
) -> None:
    """Listen until `stop` is set or control fails, then stop in order."""
    listener = await asyncio.get_running_loop().create_server(server, sock=listening, backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    sys.stdout.write(f"ready http://{join_address(host, port)}\n")
    sys.stdout.flush()
    waiting = [asyncio.create_task(stop.wait()), asyncio.create_task(control.wait_failed())]
    try:
        done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in waiting:
            task.cancel()
        listener.close()
        await server.stop()


def _bind(settings: GatewaySettings) -> socket.socket:
    host, port = bind_address(settings.listen, settings.insecure_bind)
    try:
        return socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise OperatorError(f"cannot listen on {settings.listen}: {reason}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET
