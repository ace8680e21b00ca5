"""A worker of a gateway: HTTP and routing, in a process of its own.

Guarantees: it serves as a gateway of one process does, by the map and the answers of its gateway's control; it ends
when that is gone. Leaves to others: its life and its socket (`supervise`), serving (`app`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from pathlib import Path

from cluster.control.remote import RemoteControl
from cluster.gateway.app import serve
from cluster.gateway.life import run_process
from cluster.gateway.metrics import Metrics
from cluster.gateway.settings import GatewaySettings
from cluster.gateway.worker_metrics import WorkerMetrics


def run_worker(settings: GatewaySettings, name: str, listening: int, control: Path) -> int:
    """Run a worker until SIGTERM or SIGINT; returns the exit code.

    Args:
        settings: its own, see `GatewaySettings.of_worker`.
        listening: the open file of the socket where its clients connect.
        control: the socket where control is reached.
    """
    return run_process(
        lambda stop: serve_worker(settings, name, socket.socket(fileno=listening), control, stop), worker=name
    )


async def serve_worker(
    settings: GatewaySettings, name: str, listening: socket.socket, path: Path, stop: asyncio.Event
) -> None:
    """Serve until `stop` is set; raises `ControlLost` when control is gone."""
    async with contextlib.AsyncExitStack() as stack:
        stack.callback(listening.close)
        control = RemoteControl(path, name, settings.request_timeout_s)
        stack.push_async_callback(control.close)
        await control.start()
        metrics = Metrics()
        whole = WorkerMetrics(metrics, control, name)
        # Its last word holds what the stop let it finish.
        stack.callback(whole.tell)
        telling = asyncio.create_task(whole.keep_telling())
        stack.callback(telling.cancel)
        await serve(settings, control, listening, metrics, whole, stop, control)
