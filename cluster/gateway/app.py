"""The life of a gateway process: open the map, listen, serve, stop.

Guarantees: `ready http://HOST:PORT` is printed once, when it listens; SIGTERM and SIGINT let running requests finish
and end with exit code 0; a mistake of the operator's is one line and a non-zero code. Leaves to others: control, and
every request.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import random
import signal
import socket
import sys
from pathlib import Path

import structlog
import uvloop

from cluster.control.map_store.embedded import EmbeddedMapStore
from cluster.control.server import ControlServer
from cluster.control.settings import ControlSettings
from cluster.gateway.cluster_routes import ClusterRoutes
from cluster.gateway.dispatch import Dispatcher
from cluster.gateway.http_server import HttpServer, check_parser
from cluster.gateway.key_routes import KeyRoutes
from cluster.gateway.metrics import Metrics
from cluster.gateway.router import Router
from cluster.gateway.routes import Routes
from cluster.gateway.service import KvService
from cluster.gateway.settings import GatewaySettings
from kvstore.errors import OperatorError
from kvstore.rpc.client import Identity, parse_address

OPENAPI = Path(__file__).with_name("openapi.yaml")
GC_THRESHOLD = 50_000
BACKLOG = 1024


def run(settings: GatewaySettings) -> int:
    """Run a gateway until SIGTERM or SIGINT; returns the exit code."""
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
    )
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    try:
        uvloop.run(_until_signal(settings))
    except OperatorError as error:
        sys.stderr.write(f"kvstore: {error}\n")
        return 1
    except Exception as error:
        structlog.get_logger().error("the gateway cannot go on", exc_info=error)
        return 1
    return 0


async def _until_signal(settings: GatewaySettings) -> None:
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve_gateway(settings, stop)


async def serve_gateway(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        OperatorError: the settings ask for what is not there, or the address or the data directory does not fit.
    """
    check_parser()
    if settings.workers != 1:
        raise OperatorError("several workers are not built yet; run with one")
    if settings.store:
        raise OperatorError("a map store outside the gateway is not built yet; leave out --store")
    async with contextlib.AsyncExitStack() as stack:
        listening = _bind(settings)
        stack.callback(listening.close)
        control = ControlServer(EmbeddedMapStore(settings.data), _control_settings(settings))
        stack.push_async_callback(control.close)
        await control.start()
        router = Router(control.cluster_id)
        dispatcher = Dispatcher(
            router,
            Identity(control.cluster_id, "gateway", "gateway"),
            timeout_s=settings.request_timeout_s,
            max_value_bytes=settings.max_value_bytes,
            rng=random.Random(),
        )
        stack.push_async_callback(dispatcher.close)
        stack.callback(control.subscribe(dispatcher.take))
        metrics = Metrics()
        routes = _routes(settings, dispatcher, router, control, metrics)
        server = HttpServer(routes.handle, settings, metrics.observe)
        metrics.add_gauge("kvstore_gateway_connections", "Open client connections.", lambda: server.connections_count)
        metrics.add_gauge(
            "kvstore_gateway_in_flight_bytes",
            "Bytes of bodies and unsent answers.",
            lambda: server.budget.used,
        )
        await _serve_http(server, listening, control, stop)


def _control_settings(settings: GatewaySettings) -> ControlSettings:
    return ControlSettings(
        initial_nodes=settings.initial_nodes,
        partitions=settings.partitions,
        replicas=settings.replicas,
        min_in_sync=settings.min_in_sync,
    )


def _routes(
    settings: GatewaySettings, dispatcher: Dispatcher, router: Router, control: ControlServer, metrics: Metrics
) -> Routes:
    service = KvService(
        dispatcher,
        router,
        max_value_bytes=settings.max_value_bytes,
        batch_answer_bytes_max=settings.batch_answer_bytes_max,
    )
    keys = KeyRoutes(service, max_value_bytes=settings.max_value_bytes, batch_bytes_max=settings.batch_bytes_max)
    return Routes(keys, ClusterRoutes(control, metrics, openapi=OPENAPI.read_bytes()))


async def _serve_http(
    server: HttpServer, listening: socket.socket, control: ControlServer, stop: asyncio.Event
) -> None:
    """Listen until `stop` is set or control fails, then stop in order."""
    listener = await asyncio.get_running_loop().create_server(server, sock=listening, backlog=BACKLOG)
    host, port = listening.getsockname()[:2]
    sys.stdout.write(f"ready http://{f'[{host}]' if ':' in host else host}:{port}\n")
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
    try:
        host, port = parse_address(settings.listen)
    except ValueError as error:
        raise OperatorError(f"listen: {error}") from error
    if not settings.insecure_bind and not _is_loopback(host):
        raise OperatorError(
            f"{host} is not a loopback address and there is no authentication yet; say --insecure-bind to allow it"
        )
    try:
        return socket.create_server((host, port), family=_family(host), backlog=BACKLOG)
    except OSError as error:
        reason = (error.strerror or str(error)).partition(" (while")[0]
        raise OperatorError(f"cannot listen on {settings.listen}: {reason}") from error


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _is_loopback(host: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"
