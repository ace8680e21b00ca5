"""A gateway of several workers: control, ids and the address are here, HTTP is theirs.

Guarantees: `ready` is said when all workers serve; a worker that ends is started again, on the socket that it had,
where those who connected meanwhile wait; at the stop workers end first, so that what they serve still finds control,
and whatever happens to this process none of them is left. Leaves to others: serving (`worker`), keeping a process
(`children`), what workers say to control (`control.worker_port`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import tempfile
from collections.abc import Sequence
from pathlib import Path

import structlog

from cluster.children import Child, command_of
from cluster.control.messages import DrawIncarnation
from cluster.control.worker_port import WorkerPort
from cluster.gateway.counts import Fold, GatewayTally
from cluster.gateway.id_source import ids_of
from cluster.gateway.life import first_of, say_ready, unless, until_set
from cluster.gateway.listening import bind_shared, url_of
from cluster.gateway.metrics import LAG, STORE_UP, Metrics
from cluster.gateway.own_control import own_control
from cluster.gateway.settings import GatewaySettings
from kvstore.loop_lag import LoopLag

# Beyond what running requests may take: for the end of a worker's connections and of its process.
STOP_RESERVE_S = 5.0
CONTROL = "control"


async def supervise(settings: GatewaySettings, stop: asyncio.Event) -> None:
    """Have `settings.workers` workers serve until `stop` is set.

    Raises:
        OperatorError: the address or the data directory does not fit.
        ChildFailed: a worker ended before it served.
    """
    async with contextlib.AsyncExitStack() as stack:
        sockets = [stack.enter_context(one) for one in bind_shared(settings)]
        url = url_of(sockets[0])
        control = own_control(settings)
        stack.push_async_callback(control.close)
        await unless(stop, control.start())
        incarnation = (await unless(stop, control.ask(DrawIncarnation()))).number
        ids = ids_of(control, incarnation, settings.request_timeout_s)
        stack.push_async_callback(ids.close)
        metrics, lag = Metrics(), LoopLag()
        metrics.add_gauge(*LAG, lambda: lag.worst_s, Fold.GREATEST)
        metrics.add_gauge(*STORE_UP, lambda: float(control.is_store_up))
        measuring = asyncio.create_task(lag.measure())
        stack.callback(measuring.cancel)
        # Nobody but this user enters it.
        path = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="kvstore-"))) / CONTROL
        port = WorkerPort(control, GatewayTally(lambda: metrics.counts(CONTROL)), ids)
        stack.push_async_callback(port.close)
        await port.listen(path)
        workers = [_worker(settings, number, one, path) for number, one in enumerate(sockets, 1)]
        stack.push_async_callback(_stop, workers, sockets)
        await first_of(until_set(stop), control.wait_failed(), _serve(workers, url))


def _worker(settings: GatewaySettings, number: int, listening: socket.socket, control: Path) -> Child:
    command = command_of(
        *("gateway-worker", "--name", str(number), "--listening", str(listening.fileno()), "--control", str(control)),
        *("--settings", settings.of_worker().model_dump_json()),
    )
    return Child(
        f"worker {number}",
        lambda: command,
        lambda reason: structlog.get_logger().warning("worker_ended", reason=reason),
        settings.stop_timeout_s + STOP_RESERVE_S,
        pass_fds=(listening.fileno(),),
    )


async def _serve(workers: Sequence[Child], url: str) -> None:
    """Say when all workers serve; ends only by raising."""
    await asyncio.gather(*(worker.ready() for worker in workers))
    say_ready(url)
    await asyncio.get_running_loop().create_future()


async def _stop(workers: Sequence[Child], sockets: Sequence[socket.socket]) -> None:
    # Each worker has its own; who connects from now on is to be refused, not to wait for a worker that ends.
    for one in sockets:
        one.close()
    await asyncio.gather(*(worker.stop() for worker in workers))
