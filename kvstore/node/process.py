"""The life of a node process: open, listen, join, serve, stop.

Guarantees: the boot counter is raised durably before anything is said; `ready tcp://HOST:PORT` is printed once, when
control has admitted the node; SIGTERM, or its removal from the cluster, saves what is there and ends with exit code 0;
a mistake of the operator's is one line and a non-zero code. Leaves to others: everything in between.
"""

from __future__ import annotations

import asyncio
import os
import random
import sys
from collections.abc import Callable

import msgspec
import structlog
import uvloop

from kvstore.clock import SystemClock
from kvstore.crash_point import CrashPoint
from kvstore.daemon import bind_address, join_address, log_to_stderr, spare_the_loaded, tell, until_signal
from kvstore.errors import OperatorError
from kvstore.node.crash_steps import CrashingEngine
from kvstore.node.http import http_fallback
from kvstore.node.join import join, stay_joined
from kvstore.node.metrics import NodeMetrics
from kvstore.node.open_files import connections_that_fit
from kvstore.node.service import Service
from kvstore.node.shell import Shell
from kvstore.node_state import NODE_ROW, NodeState, load_node_state
from kvstore.partitions import Partitions
from kvstore.replication.pace import Pace
from kvstore.replication.retention import Retention
from kvstore.rpc.server import Server
from kvstore.settings import NodeSettings
from kvstore.storage.data_dir import DataDir
from kvstore.storage.engine import Batch, Engine, EngineError, MapFull, Table
from kvstore.storage.lmdb_engine import LmdbEngine

TRUNCATE_S = 0.1
LOG_SHARE_OF_MAP = 8
LAST_WORD_S = 0.2

log = structlog.get_logger("node")


class Retired(OperatorError):
    """This node is no member of its cluster any more."""


def run(settings: NodeSettings) -> int:
    """Run a node until SIGTERM or SIGINT; returns the exit code."""
    log_to_stderr()
    sys.setswitchinterval(settings.switch_interval_s)
    spare_the_loaded()
    try:
        uvloop.run(until_signal(lambda stop: serve_node(settings, stop)))
    except Retired as end:
        tell(str(end))
        return 0
    except OperatorError as error:
        tell(str(error))
        return 1
    return 0


async def serve_node(settings: NodeSettings, stop: asyncio.Event) -> None:
    """Serve until `stop` is set.

    Raises:
        OperatorError: the data directory, the address or the gateway does not fit.
    """
    host, port = bind_address(settings.listen, settings.insecure_bind)
    data_dir = DataDir(settings.data)
    try:
        engine = _open_engine(settings)
        try:
            await _serve(settings, engine, host, port, stop)
        finally:
            engine.close()
    finally:
        data_dir.close()


def _open_engine(settings: NodeSettings) -> Engine:
    engine = LmdbEngine(settings.data, settings.map_size_bytes)
    if not settings.crash_at:
        return engine
    log.warning("crash_point", at=settings.crash_at)
    return CrashingEngine(engine, CrashPoint(settings.crash_at), settings.id)


async def _serve(settings: NodeSettings, engine: Engine, host: str, port: int, stop: asyncio.Event) -> None:
    state = raise_boot(engine, settings.id)
    if state.is_retired:
        raise Retired(
            f"node {settings.id} was removed from its cluster; it may join again once {settings.data} is empty"
        )
    partitions = Partitions(state, lambda: os.urandom(16), settings.pending_bytes_max)
    partitions.filling.use(Pace(int(settings.backfill_yields_s * 1000), settings.backfill_bytes_per_s))
    partitions.usage = engine.usage()
    view = engine.snapshot()
    loaded = partitions.load(view)
    view.close()
    admitted, retired = asyncio.Event(), asyncio.Event()
    service = Service(admitted.set, retired.set, os.urandom(8), is_new=not state.cluster_id)
    shell = Shell(engine, partitions, SystemClock(), NodeMetrics(partitions), service.handle)
    try:
        service.bind(shell)
        shell.perform(loaded)
        server = Server(
            service.handle,
            cluster_id=lambda: None,
            on_closed=service.closed,
            fallback=http_fallback(lambda: service.is_admitted, lambda: shell.metrics.text()),
            connections_max=connections_that_fit(),
        )
        address = join_address(host, await server.listen(host, port))
        tasks = [
            asyncio.create_task(_enter(settings, address, admitted, shell)),
            asyncio.create_task(shell.metrics.lag.measure()),
            asyncio.create_task(_every(settings.tick_s, shell.tick)),
            asyncio.create_task(_every(settings.report_s, shell.send_report)),
            asyncio.create_task(_every(TRUNCATE_S, lambda: _truncate(shell, settings))),
            asyncio.create_task(_wait(stop)),
            asyncio.create_task(_leave(retired, settings.id)),
        ]
        try:
            await _until_one_ends(tasks, stop)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            await server.close()
            await service.scanner.close()
            await service.split_finder.close()
    finally:
        # Before the engine is closed, in any case: its writer may be at work as soon as there is a shell.
        await shell.close()


def raise_boot(engine: Engine, node_id: str) -> NodeState:
    """Count this start durably.

    Raises:
        OperatorError: the data directory is another node's, or cannot be written.
    """
    view = engine.snapshot()
    state = load_node_state(view)
    view.close()
    if state is None:
        state = NodeState(node_id, b"", 0, 1)
    if state.node_id != node_id:
        raise OperatorError(f"the data directory belongs to node {state.node_id}, not to {node_id}")
    state = msgspec.structs.replace(state, boot=state.boot + 1)
    batch = Batch()
    batch.put(Table.META, NODE_ROW, msgspec.msgpack.encode(state))
    try:
        engine.commit(batch)
    except (EngineError, MapFull) as error:
        raise OperatorError(f"cannot write to the data directory: {error}") from error
    return state


async def _enter(settings: NodeSettings, address: str, admitted: asyncio.Event, shell: Shell) -> None:
    """Ask to be admitted, say so when it happened, then stay."""
    advertised, rng = settings.advertise or address, random.Random()
    try:
        await join(settings, advertised, rng)
    except OperatorError:
        if not shell.partitions.state.is_retired:
            raise
        # Control has said itself that this node was removed, and so it ends: not by the refusal that goes with that.
        await asyncio.Event().wait()
    staying = asyncio.create_task(stay_joined(settings, advertised, rng, lambda: shell.controls.current is not None))
    try:
        await admitted.wait()
        sys.stdout.write(f"ready tcp://{address}\n")
        sys.stdout.flush()
        await staying
    finally:
        staying.cancel()


async def _every(seconds: float, action: Callable[[], None]) -> None:
    while True:
        await asyncio.sleep(seconds)
        action()


async def _wait(stop: asyncio.Event) -> None:
    await stop.wait()


async def _leave(retired: asyncio.Event, node: str) -> None:
    await retired.wait()
    # So that the answer to control leaves before the connection ends.
    await asyncio.sleep(LAST_WORD_S)
    raise Retired(f"node {node} was removed from its cluster and ends")


async def _until_one_ends(tasks: list[asyncio.Task[None]], stop: asyncio.Event) -> None:
    done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if not stop.is_set():
        for task in done:
            task.result()


def _truncate(shell: Shell, settings: NodeSettings) -> None:
    copies = sum(1 for _ in shell.partitions) or 1
    share_bytes = settings.map_size_bytes // LOG_SHARE_OF_MAP // copies
    retention = Retention(int(settings.log_retention_s * 1000), min(settings.log_retention_bytes, share_bytes))
    shell.perform(shell.partitions.truncation.advance(shell.view(), shell.now(), retention))
    shell.schedule()
