"""Commands that are one process of a cluster: `gateway`, each worker of one that has several, and `node`.

Guarantees: an option that is not given leaves its setting to the environment, then to its default; a process that was
started for another one ends with it. Leaves to others: the processes themselves.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from kvstore.errors import OperatorError

PR_SET_PDEATHSIG = 1

WithParentOption = Annotated[int | None, typer.Option("--with-parent", hidden=True, metavar="PID")]
DataOption = Annotated[
    Path | None, typer.Option("--data", envvar="KVSTORE_DATA", metavar="DIR", help="Directory of its data.")
]
InsecureBindOption = Annotated[
    bool | None,
    typer.Option(
        "--insecure-bind",
        envvar="KVSTORE_INSECURE_BIND",
        help="Allow an address that is not a loopback one: there is no authentication yet.",
    ),
]


def gateway(
    listen: Annotated[
        str | None, typer.Option("--listen", envvar="KVSTORE_LISTEN", metavar="HOST:PORT", help="Where HTTP is served.")
    ] = None,
    data: DataOption = None,
    store: Annotated[
        str | None,
        typer.Option(
            "--store",
            envvar="KVSTORE_STORE",
            metavar="URL",
            help="Keep the cluster map in etcd: etcd://HOST:PORT[,HOST:PORT].",
        ),
    ] = None,
    zone: Annotated[
        str | None,
        typer.Option("--zone", envvar="KVSTORE_ZONE", metavar="Z", help="Send stale reads to copies there first."),
    ] = None,
    workers: Annotated[
        int | None, typer.Option("--workers", envvar="KVSTORE_WORKERS", metavar="N", help="HTTP processes.")
    ] = None,
    initial_nodes: Annotated[
        int | None,
        typer.Option(
            "--initial-nodes",
            envvar="KVSTORE_INITIAL_NODES",
            metavar="N",
            help="Place the partitions when N nodes have joined.",
        ),
    ] = None,
    manual_rebalance: Annotated[
        bool | None,
        typer.Option(
            "--manual-rebalance",
            envvar="KVSTORE_MANUAL_REBALANCE",
            help="Move copies only when a plan is started, or a node removed.",
        ),
    ] = None,
    insecure_bind: InsecureBindOption = None,
    with_parent: WithParentOption = None,
) -> int:
    """Serve HTTP, and keep the cluster map in DIR or, with other gateways, in etcd."""
    _end_with(with_parent)
    # Imported here: a `kvstore get` should not wait for a server's modules.
    from cluster.gateway.app import run
    from cluster.gateway.settings import GatewaySettings

    return run(
        GatewaySettings(
            **_given(
                listen=listen,
                data=data,
                store=store,
                zone=zone,
                workers=workers,
                initial_nodes=initial_nodes,
                manual_rebalance=manual_rebalance,
                insecure_bind=insecure_bind,
            )
        )
    )


def gateway_worker(
    settings: Annotated[str, typer.Option("--settings", hidden=True)],
    name: Annotated[str, typer.Option("--name", hidden=True)],
    listening: Annotated[int, typer.Option("--listening", hidden=True)],
    control: Annotated[Path, typer.Option("--control", hidden=True)],
    with_parent: WithParentOption = None,
) -> int:
    """Serve HTTP for the gateway that starts this."""
    _end_with(with_parent)
    from cluster.gateway.settings import GatewaySettings
    from cluster.gateway.worker import run_worker

    return run_worker(GatewaySettings(**json.loads(settings)), name, listening, control)


def node(
    node_id: Annotated[
        str | None, typer.Option("--id", envvar="KVSTORE_ID", metavar="ID", help="Its name in the cluster.")
    ] = None,
    listen: Annotated[
        str | None, typer.Option("--listen", envvar="KVSTORE_LISTEN", metavar="HOST:PORT", help="Where RPC is served.")
    ] = None,
    advertise: Annotated[
        str | None,
        typer.Option(
            "--advertise",
            envvar="KVSTORE_ADVERTISE",
            metavar="HOST:PORT",
            help="Where the others reach it, when that is not where it listens.",
        ),
    ] = None,
    data: DataOption = None,
    gateway: Annotated[
        str | None, typer.Option("--gateway", envvar="KVSTORE_GATEWAY", metavar="URL[,URL]", help="Whom to join.")
    ] = None,
    zone: Annotated[
        str | None, typer.Option("--zone", envvar="KVSTORE_ZONE", metavar="Z", help="Copies go to distinct zones.")
    ] = None,
    weight: Annotated[
        float | None, typer.Option("--weight", envvar="KVSTORE_WEIGHT", metavar="W", help="Its share of the copies.")
    ] = None,
    insecure_bind: InsecureBindOption = None,
    with_parent: WithParentOption = None,
) -> int:
    """Store partitions in DIR; joins the cluster of the gateway by itself."""
    _end_with(with_parent)
    # Imported here: a `kvstore get` should not wait for a server's modules.
    from kvstore.node import run
    from kvstore.settings import NodeSettings

    return run(
        NodeSettings(
            **_given(
                id=node_id,
                listen=listen,
                advertise=advertise,
                data=data,
                gateway=gateway,
                zone=zone,
                weight=weight,
                insecure_bind=insecure_bind,
            )
        )
    )


def _given(**options: Any) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def _end_with(parent: int | None) -> None:
    """Have the kernel end this process when its parent `parent` ends, however that happens."""
    if parent is None:
        return
    if not sys.platform.startswith("linux"):
        raise OperatorError("--with-parent needs Linux")
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        raise OperatorError(f"the parent process {parent} is gone")
