"""Commands on single members: `drain`, `undrain`, `nodes remove`.

Guarantees: `drain` returns once the node leads nothing, so that it may be restarted without a failed request, and
`nodes remove` once it is no member any more, and shows until then how many copies it has and what they wait for; or
they end with the exit code of what did not come true in time. Leaves to others: every decision (control).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.progress import Progress

from cluster.cli.console import plain_console, progress_of
from cluster.cli.exits import ExitCode, complain
from cluster.cli.options import GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY

POLL_S = 0.2
REQUEST_S_MAX = 10.0
DRAIN_S = 60.0
REMOVE_S = 3600.0
NAMED_MAX = 5

NodeArgument = Annotated[str, typer.Argument(metavar="ID", help="The node's id.")]
nodes_app = typer.Typer(name="nodes", help="Change which nodes are members.", rich_markup_mode=None)


def drain(node: NodeArgument, gateway: GatewayOption = DEFAULT_GATEWAY, timeout: TimeoutOption = DRAIN_S) -> ExitCode:
    """Let others lead what a node leads, and wait until it leads nothing; its copies stay."""
    with SyncClient(gateway, timeout_s=min(timeout, REQUEST_S_MAX)) as client:
        client.operate("PATCH", f"nodes/{quote(node, safe='')}", {"draining": True})
        return _wait(client, node, timeout, lambda _, seen: f"{node} leads {seen['leads']} partitions" if seen else "")


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
        with progress_of(plain_console()) as progress:
            shown = _Removal(node, progress)
            return _wait(client, node, timeout, shown.take, is_over=lambda seen: not seen)


class _Removal:
    """A bar for the copies that a node has given up, and a line on standard error whenever they wait for something
    else than before."""

    def __init__(self, node: str, progress: Progress) -> None:
        self._node = node
        self._progress = progress
        self._bar = progress.add_task(f"copies of {node}", total=None, told="")
        self._most = 0
        self._hindrance = ""

    def take(self, view: dict[str, Any], seen: dict[str, Any]) -> str:
        """Show how far it has come; returns what is missing yet."""
        left = seen["leads"] + seen["follows"] if seen else 0
        self._most = max(self._most, left)
        moves = sum(self._node in (move["from"], move["to"]) for move in view["moves"])
        told = f"{left} left, {moves} moves" if seen else "removed"
        self._progress.update(self._bar, total=max(1, self._most), completed=max(1, self._most) - left, told=told)
        hindrance = hindrance_of(view, self._node)
        if hindrance != self._hindrance:
            self._hindrance = hindrance
            if hindrance:
                complain(hindrance)
        return f"{self._node} still has {left} copies"


def hindrance_of(view: dict[str, Any], node: str) -> str:
    """What keeps copies on a node until somebody does something about it; empty where nothing does."""
    up = {one["id"] for one in view["nodes"] if one["state"] != "down"}
    stuck = [one for one in view["partitions"] if node in one["replicas"] and not up.intersection(one["in_sync"])]
    if not stuck:
        return ""
    down = sorted({holder for one in stuck for holder in one["in_sync"]})
    pids = [str(one["id"]) for one in stuck]
    named = ", ".join(pids[:NAMED_MAX]) + (f" and {len(pids) - NAMED_MAX} more" if len(pids) > NAMED_MAX else "")
    return (
        f"{node} waits: no copy in sync is up of partition {named}; start {' or '.join(down)} again, or promote other "
        "copies by force (kvstore force-promote)"
    )


def _wait(
    client: SyncClient,
    node: str,
    timeout_s: float,
    take: Callable[[dict[str, Any], dict[str, Any]], str],
    is_over: Callable[[dict[str, Any]], bool] = lambda seen: not seen or not seen["leads"],
) -> ExitCode:
    """Look at a member until that is so, an empty document standing for one that is none any more.

    Args:
        take: gets each look at the cluster and at the member; says what is missing yet.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        view = client.status()
        seen: dict[str, Any] = next((one for one in view["nodes"] if one["id"] == node), {})
        missing = take(view, seen)
        if is_over(seen):
            return ExitCode.DONE
        if time.monotonic() + POLL_S > deadline:
            complain(f"after {timeout_s:g} s: {missing}")
            return ExitCode.UNAVAILABLE
        time.sleep(POLL_S)
