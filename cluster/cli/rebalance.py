"""Commands on where copies stand: `plan` and `rebalance`.

Guarantees: `plan` changes nothing; `rebalance` changes what its options ask for and then shows how moves go, once or
until they are over. Leaves to others: every decision (control).
"""

from __future__ import annotations

import json
import time
from typing import Annotated, Any

import typer
from rich.progress import TaskID
from rich.table import Table

from cluster.cli.console import plain_console, plain_table, progress_of
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY

WATCH_S = 0.5
JsonOption = Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the answer as it is.")]


def plan(
    add: Annotated[
        list[str] | None,
        typer.Option("--add", envvar="KVSTORE_ADD", metavar="ID[:ZONE[:WEIGHT]]", help="A node that would join."),
    ] = None,
    remove: Annotated[
        list[str] | None,
        typer.Option("--remove", envvar="KVSTORE_REMOVE", metavar="ID", help="A node that would be removed."),
    ] = None,
    as_json: JsonOption = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Show which copies would move, with some nodes more and some less; nothing is changed."""
    asked = {"add": [_newcomer(one) for one in add or []], "remove": remove or []}
    with SyncClient(gateway, timeout_s=timeout) as client:
        made = client.operate("POST", "plan", asked)
    if as_json:
        print(json.dumps(made, indent=2))
        return
    console = plain_console()
    console.print(_table(made["moves"], ("partition", "keyspace", "from", "to", "keys", "bytes")))
    console.print(
        _table(
            made["balance"],
            ("node", "copies_before", "copies_after", "most_after", "leads_before", "leads_after", "share_after"),
        )
    )
    console.print(
        f"plan {made['id']}: {len(made['moves'])} copies of {made['partitions']} partitions would move, "
        f"{made['keys']} keys, {made['bytes']} bytes",
        soft_wrap=True,
    )


def _newcomer(text: str) -> dict[str, Any]:
    node, _, rest = text.partition(":")
    zone, _, weight = rest.partition(":")
    try:
        weighs = {"weight": float(weight)} if weight else {}
    except ValueError as error:
        raise typer.BadParameter(f"--add {text}: the weight is a number") from error
    return {"id": node, **({"zone": zone} if zone else {}), **weighs}


def rebalance(
    watch: Annotated[
        bool, typer.Option("--watch", envvar="KVSTORE_WATCH", help="Go on showing it until no move is left.")
    ] = False,
    start: Annotated[
        str, typer.Option("--start", envvar="KVSTORE_START", metavar="PLAN", help="Begin the moves of that plan.")
    ] = "",
    pause: Annotated[
        bool, typer.Option("--pause", envvar="KVSTORE_PAUSE", help="Stop moves where they stand.")
    ] = False,
    resume: Annotated[bool, typer.Option("--resume", envvar="KVSTORE_RESUME", help="Let moves go on.")] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            "--max-bytes-per-second",
            envvar="KVSTORE_MAX_BYTES_PER_SECOND",
            metavar="N",
            min=0,
            help="Bound what each node sends of copies; 0 for no bound.",
        ),
    ] = None,
    abort: Annotated[
        int | None,
        typer.Option("--abort", envvar="KVSTORE_ABORT", metavar="MOVE", help="Undo that move, and pause all others."),
    ] = None,
    as_json: JsonOption = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Show how copies move, and steer it."""
    if pause and resume:
        raise typer.BadParameter("--pause and --resume exclude each other")
    with SyncClient(gateway, timeout_s=timeout) as client:
        if limit is not None:
            client.operate("PUT", "rebalance", {"max_bytes_per_second": limit})
        if abort is not None:
            client.operate("DELETE", f"rebalance/moves/{abort}")
        if pause or resume:
            client.operate("POST", f"rebalance/{'pause' if pause else 'resume'}")
        view = client.operate("POST", "rebalance", {"plan": start}) if start else client.operate("GET", "rebalance")
        if watch and not as_json:
            _watch(client, view)
            return
    if as_json:
        print(json.dumps(view, indent=2))
        return
    console = plain_console()
    console.print(_sum_of(view), soft_wrap=True)
    columns = ("id", "partition", "from", "to", "step", "keys_done", "keys", "bytes_done", "bytes", "eta_s")
    if view["moves"]:
        console.print(_table(view["moves"], columns))
    if view["transfers"]:
        rows = [{"tenant": None, **one} for one in view["transfers"]]
        console.print(_table(rows, ("id", "keyspace", "from", "to", "state", "tenant")))


def _watch(client: SyncClient, view: dict[str, Any]) -> None:
    """A bar for all moves and one for each that has begun, until none is left."""
    with progress_of(plain_console()) as progress:
        everything = progress.add_task("all moves", total=None, told="")
        bars: dict[int, TaskID] = {}
        seen: dict[int, int] = {}
        while view["moves"]:
            begun = {move["id"]: move for move in view["moves"] if move["step"] != "planned"}
            for number in [number for number in bars if number not in begun]:
                progress.remove_task(bars.pop(number))
            for number, move in begun.items():
                name = f"{number}: partition {move['partition']}, {move['from']} to {move['to']}"
                if number not in bars:
                    bars[number] = progress.add_task(name, total=None, told="")
                told = f"{move['step']}, {_rate(move)}"
                progress.update(bars[number], total=max(1, move["bytes"]), completed=move["bytes_done"], told=told)
            seen |= {move["id"]: move["bytes"] for move in view["moves"]}
            left = sum(move["bytes"] - move["bytes_done"] for move in view["moves"])
            total = max(1, sum(seen.values()))
            progress.update(everything, total=total, completed=total - left, told=_sum_of(view))
            time.sleep(WATCH_S)
            view = client.operate("GET", "rebalance")
        progress.update(everything, total=1, completed=1, told=_sum_of(view))


def _sum_of(view: dict[str, Any]) -> str:
    bound = view["max_bytes_per_second"]
    told = f"{view['state']}, {len(view['moves'])} moves, {view['bytes_done']} of {view['bytes']} bytes, {_rate(view)}"
    return f"{told}, at most {bound} bytes/s a node" if bound else told


def _rate(view: dict[str, Any]) -> str:
    eta = "" if view["eta_s"] is None else f", {view['eta_s']:.0f} s left"
    return f"{view['bytes_per_second']} bytes/s{eta}"


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    texts = {name for name in columns if any(isinstance(row[name], str) for row in rows)}
    table = plain_table([name.replace("_", " ") for name in columns], texts)
    for row in rows:
        table.add_row(*("" if row[column] is None else str(row[column]) for column in columns))
    return table
