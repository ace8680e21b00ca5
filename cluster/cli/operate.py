"""Commands that look at the cluster: `status` and `wait`.

Guarantees: neither changes anything. Leaves to others: what the state means (the gateway).
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.cli.console import plain_console, plain_table
from cluster.cli.exits import ExitCode, complain
from cluster.cli.gateways import answering
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, GatewaysOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.errors import KvError

POLL_S = 0.2


def status(
    as_json: Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the answer as it is.")] = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Print the state of the cluster and of its nodes."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        view = client.status()
    if as_json:
        print(json.dumps(view, indent=2))
        return
    leaderless = [str(partition["id"]) for partition in view["partitions"] if partition["leader"] is None]
    console = plain_console()
    console.print(f"{view['state']}, map version {view['map_version']}, {len(view['partitions'])} partitions")
    if leaderless:
        console.print(f"without a leader: {', '.join(leaderless)}", soft_wrap=True)
    unclean = [f"{one['id']} ({one['unclean_count']} x)" for one in view["partitions"] if one["unclean_count"]]
    if unclean:
        console.print(f"promoted by force, so that writes may be lost: {', '.join(unclean)}", soft_wrap=True)
    console.print(_nodes_table(view["nodes"]))


def _nodes_table(nodes: list[dict[str, Any]]) -> Table:
    columns = ("state", "address", "zone", "weight", "leads", "follows", "keys", "bytes")
    table = plain_table(("node", *columns), texts=("node", "state", "address", "zone"))
    for node in nodes:
        table.add_row(*(str(node[column]) for column in ("id", *columns)))
    return table


def wait(
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", envvar="KVSTORE_NODES", metavar="N", min=0, help="Until N nodes are there, drained ones too."
        ),
    ] = 0,
    healthy: Annotated[
        bool,
        typer.Option("--healthy", envvar="KVSTORE_HEALTHY", help="Until the state is healthy, and no move is to come."),
    ] = False,
    gateways: GatewaysOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = 60.0,
) -> ExitCode:
    """Wait until every partition has a reachable leader, and for what the options ask."""
    deadline = time.monotonic() + timeout
    while missing := _missing(gateways, min(timeout, 5.0), nodes, healthy):
        if time.monotonic() + POLL_S > deadline:
            complain(f"after {timeout:g} s: {missing}")
            return ExitCode.UNAVAILABLE
        time.sleep(POLL_S)
    return ExitCode.DONE


def _missing(gateways: str, timeout_s: float, nodes: int, healthy: bool) -> str:
    try:
        with SyncClient(answering(gateways), timeout_s=timeout_s) as client:
            readiness = client.ready()
            if not readiness.ready:
                return f"not ready: {readiness.reason}"
            view = client.status()
            up = sum(node["state"] != "down" for node in view["nodes"])
            if up < nodes:
                return f"{up} of {nodes} nodes are up"
            return _unrest(client, view) if healthy else ""
    except KvError as error:
        return error.detail


def _unrest(client: SyncClient, view: dict[str, Any]) -> str:
    """Why the cluster is not healthy, or will not stay so: a node that has just joined holds nothing until, seconds
    later, control plans moves to it, and meanwhile nothing is amiss."""
    if view["state"] == "healthy":
        if moves := _moves_to_come(client, view["nodes"]):
            return f"copies that are about to move: {moves}"
        # A plan has no moves that began since the first look.
        view = client.status()
    return "" if view["state"] == "healthy" else f"the state is {view['state']}"


def _moves_to_come(client: SyncClient, nodes: list[dict[str, Any]]) -> int:
    """How many moves control will begin by itself, as things are."""
    steered = client.operate("GET", "rebalance")
    if steered["manual"] or steered["state"] == "paused":
        return 0
    up = {node["id"] for node in nodes if node["state"] == "up"}
    return sum(move["to"] in up for move in client.operate("POST", "plan", {})["moves"])
