"""Commands on single members: `drain`, `undrain`, `nodes remove`.

Guarantees: `drain` returns once the node leads nothing, so that it may be restarted without a failed request, and
`nodes remove` once it is no member any more; or they end with the exit code of what did not come true in time. Leaves
to others: every decision (control).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import typer

from cluster.cli.exits import ExitCode, complain
from cluster.cli.options import GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY

POLL_S = 0.2
REQUEST_S_MAX = 10.0
DRAIN_S = 60.0
REMOVE_S = 3600.0

NodeArgument = Annotated[str, typer.Argument(metavar="ID", help="The node's id.")]
nodes_app = typer.Typer(name="nodes", help="Change which nodes are members.", rich_markup_mode=None)


def drain(node: NodeArgument, gateway: GatewayOption = DEFAULT_GATEWAY, timeout: TimeoutOption = DRAIN_S) -> ExitCode:
    """Let others lead what a node leads, and wait until it leads nothing; its copies stay."""
    with SyncClient(gateway, timeout_s=min(timeout, REQUEST_S_MAX)) as client:
        client.operate("PATCH", f"nodes/{quote(node, safe='')}", {"draining": True})
        return _wait(client, node, timeout, lambda seen: f"{node} leads {seen['leads']} partitions" if seen else "")


def undrain(node: NodeArgument, gateway: GatewayOption = DEFAULT_GATEWAY, timeout: TimeoutOption = 10.0) -> None:
    """Let a node lead again; calls off a removal that goes on."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        client.operate("PATCH", f"nodes/{quote(node, safe='')}", {"draining": False})


@nodes_app.callback()
def _nodes() -> None:
    """Change which nodes are members."""


@nodes_app.command("remove")
def remove(
    node: NodeArgument,
    force: Annotated[
        bool, typer.Option("--force", envvar="KVSTORE_FORCE", help="It is dead: do not wait for it.")
    ] = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = REMOVE_S,
) -> ExitCode:
    """Move all that a node leads and holds to others, and wait until it is no member any more; its process ends."""
    with SyncClient(gateway, timeout_s=min(timeout, REQUEST_S_MAX)) as client:
        client.operate("DELETE", f"nodes/{quote(node, safe='')}{'?force=true' if force else ''}")
        return _wait(
            client,
            node,
            timeout,
            lambda seen: f"{node} still has {seen['leads'] + seen['follows']} copies" if seen else "",
            is_over=lambda seen: not seen,
        )


def _wait(
    client: SyncClient,
    node: str,
    timeout_s: float,
    missing: Callable[[dict[str, Any]], str],
    is_over: Callable[[dict[str, Any]], bool] = lambda seen: not seen or not seen["leads"],
) -> ExitCode:
    """Look at a member until that is so, an empty document standing for one that is none any more."""
    deadline = time.monotonic() + timeout_s
    while True:
        seen: dict[str, Any] = next((one for one in client.status()["nodes"] if one["id"] == node), {})
        if is_over(seen):
            return ExitCode.DONE
        if time.monotonic() + POLL_S > deadline:
            complain(f"after {timeout_s:g} s: {missing(seen)}")
            return ExitCode.UNAVAILABLE
        time.sleep(POLL_S)
