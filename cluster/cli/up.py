"""The command `up`: a whole cluster on this machine, as separate processes.

Guarantees: one gateway and N nodes run until Ctrl-C, SIGTERM or SIGHUP, then stop in order (the gateway first, so that
requests under way still find their nodes), and no process is left, not even when this one is killed. A process that
ends by itself is started again on its data. Every node whose data is there is among the N. One data directory has one
`up` at a time. Leaves to others: single
processes (`children`).
"""

from __future__ import annotations

import asyncio
import fcntl
import os
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from cluster.children import Child, ChildFailed, command_of
from cluster.cli.exits import ExitCode, complain
from kvstore.client import Client
from kvstore.errors import KvError, OperatorError
from kvstore.rpc.client import parse_address

POLL_S = 0.1
PATIENCE_S = 30.0
NODES_MAX = 64
WORKERS_MAX = 8
CPUS_PER_WORKER = 4
PARTITIONS_PER_NODE = 4
PARTITIONS_MIN = 12
ANY_HOST = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}


@dataclass(frozen=True, slots=True)
class _Plan:
    nodes: list[str]
    workers: int
    data: Path
    listen: str
    insecure_bind: bool


def up(
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes",
            envvar="KVSTORE_NODES",
            metavar="N",
            min=1,
            max=NODES_MAX,
            help="Nodes to run; those whose data is there count.",
        ),
    ] = 3,
    data: Annotated[
        Path, typer.Option("--data", envvar="KVSTORE_DATA", metavar="DIR", help="Directory of all data.")
    ] = Path("data"),
    listen: Annotated[
        str, typer.Option("--listen", envvar="KVSTORE_LISTEN", metavar="HOST:PORT", help="Where HTTP is served.")
    ] = "127.0.0.1:8000",
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers",
            envvar="KVSTORE_WORKERS",
            metavar="N",
            min=1,
            max=256,
            help="HTTP processes of the gateway; by default one for every four CPUs, at most eight.",
        ),
    ] = None,
    insecure_bind: Annotated[
        bool,
        typer.Option(
            "--insecure-bind",
            envvar="KVSTORE_INSECURE_BIND",
            help="Allow an address that is not a loopback one: there is no authentication yet.",
        ),
    ] = False,
) -> int:
    """Run a gateway and N nodes on this machine, until Ctrl-C."""
    with _locked(data):
        names = names_to_start(data, nodes)
        # An address to advertise is one process's own; the children of this one have several.
        os.environ.pop("KVSTORE_ADVERTISE", None)
        os.environ.setdefault("KVSTORE_PARTITIONS", str(default_partitions(nodes)))
        return asyncio.run(_run(_Plan(names, workers or default_workers(_cpus()), data, listen, insecure_bind)))


def default_workers(cpus: int) -> int:
    """How many workers the gateway gets on a machine with so many CPUs.

    The nodes run there too, and have at least as much to do for a request as the gateway; and more than one worker
    makes a process more, for control. So each stands for four CPUs, and with less than eight there is only one.
    """
    return max(1, min(WORKERS_MAX, cpus // CPUS_PER_WORKER))


def default_partitions(nodes: int) -> int:
    """How many partitions the keyspace `default` gets when it is made by so many nodes on one machine.

    What is written at one time to a partition is one row of its log, and a row costs more than a write: the fewer there
    are the faster are writes. There is one machine to be spread over, and as many nodes as its CPUs keep busy.
    """
    return max(PARTITIONS_MIN, nodes * PARTITIONS_PER_NODE)


def names_to_start(data: Path, nodes: int) -> list[str]:
    """The nodes whose data is there, and new ones up to so many.

    Raises:
        OperatorError: there is data of more.
    """
    names = [f"n{number}" for number in range(1, NODES_MAX + 1)]
    held = [name for name in names if (data / name).is_dir()]
    if len(held) > nodes:
        raise OperatorError(
            f"{data} holds the data of {len(held)} nodes, --nodes is {nodes}; to have fewer, remove nodes "
            "('kvstore nodes remove ID') and then their directories"
        )
    new = [name for name in names if name not in held]
    return sorted([*held, *new[: nodes - len(held)]], key=names.index)


def _cpus() -> int:
    """Those that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def _locked(data: Path) -> Iterator[None]:
    try:
        data.mkdir(parents=True, exist_ok=True)
        handle = (data / "up.lock").open("w")
    except OSError as error:
        raise OperatorError(f"cannot use {data} as data directory: {error.strerror}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise OperatorError(f"the data directory {data} is in use by another 'kvstore up'") from error
        yield


async def _run(plan: _Plan) -> int:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        loop.add_signal_handler(number, stop.set)
    children: list[Child] = []
    cluster = asyncio.create_task(_start(plan, children))
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({cluster, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if stop.is_set():
            return ExitCode.DONE
        cluster.result()
        await stopped
        return ExitCode.DONE
    except ChildFailed as failure:
        # A process that ends on its own account has told why in a line of its own.
        if failure.returncode <= 0:
            complain(str(failure))
        return failure.returncode if failure.returncode > 0 else ExitCode.FAILED
    finally:
        for task in (cluster, stopped):
            task.cancel()
        await asyncio.gather(cluster, stopped, return_exceptions=True)
        for child in children[:1]:
            await child.stop()
        await asyncio.gather(*(child.stop() for child in children[1:]))


async def _start(plan: _Plan, children: list[Child]) -> None:
    gateway = Child("gateway", lambda: _gateway_command(plan, gateway.address), complain)
    children.append(gateway)
    url = _reachable(await gateway.ready())
    for name in plan.nodes:
        children.append(Child(name, partial(_node_command, plan, name, url), complain, may_leave=True))
    await asyncio.gather(*(child.ready() for child in children[1:]))
    await _wait_until_ready(url)
    print(f"ready {url}", flush=True)
    print(_to_try(url), flush=True)


def _gateway_command(plan: _Plan, address: str) -> list[str]:
    # Started again, the gateway takes the port it had, which the nodes and clients know.
    listen = address.partition("://")[2] or plan.listen
    bind = ["--insecure-bind"] if plan.insecure_bind else []
    return command_of(
        *("gateway", "--listen", listen, "--data", str(plan.data / "gateway")),
        *("--initial-nodes", str(len(plan.nodes)), "--workers", str(plan.workers), *bind),
    )


def _node_command(plan: _Plan, name: str, gateway: str) -> list[str]:
    # The system chooses the port at each start: a fixed one may be taken by then, and a node announces itself anew.
    data = str(plan.data / name)
    return command_of("node", "--id", name, "--listen", "127.0.0.1:0", "--data", data, "--gateway", gateway)


def _reachable(url: str) -> str:
    """The address under which this machine reaches a gateway that listens on `url`."""
    host, port = parse_address(url.partition("://")[2])
    host = ANY_HOST.get(host, f"[{host}]" if ":" in host else host)
    return f"http://{host}:{port}"


async def _wait_until_ready(url: str) -> None:
    loop = asyncio.get_running_loop()
    complaint_at = loop.time() + PATIENCE_S
    async with Client(url) as client:
        while True:
            try:
                readiness = await client.ready()
                reason = readiness.reason
            except KvError as error:
                readiness, reason = None, error.detail
            if readiness is not None and readiness.ready:
                return
            if loop.time() > complaint_at:
                complain(f"still not ready: {reason}")
                complaint_at = loop.time() + PATIENCE_S
            await asyncio.sleep(POLL_S)


def _to_try(url: str) -> str:
    return "\n".join(
        (
            "Try, in another shell:",
            f"  curl -i -X PUT --data-binary hello {url}/v1/kv/greeting",
            f"  curl -i {url}/v1/kv/greeting",
            f"  curl {url}/v1/cluster",
            "Ctrl-C stops everything.",
        )
    )
