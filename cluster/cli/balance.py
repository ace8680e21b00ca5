"""The command `balance`: how a keyspace is spread, and what is to be said of its shard key.

Guarantees: nothing is changed; a node that did not answer is named on standard error, and the exit code says so. Leaves
to others: what is told (the gateway).
"""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.cli.console import plain_console, plain_table
from cluster.cli.exits import ExitCode, complain
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY

SHOWN_PARTITIONS = 10


def balance(
    keyspace: Annotated[str, typer.Argument(metavar="NAME", help="The keyspace's name.")] = "default",
    every: Annotated[
        bool, typer.Option("--all", envvar="KVSTORE_ALL", help="All partitions, not only the hottest and largest.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the answer as it is.")] = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Print how keys and load are spread over partitions and nodes, and whether the shard key is a bad one."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        view = client.balance(keyspace)
    if as_json:
        print(json.dumps(view, indent=2))
    else:
        _print(view, every)
    if view["missing"]:
        complain(f"no answer from {', '.join(view['missing'])}: what is there is not counted")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE


def _print(view: dict[str, Any], every: bool) -> None:
    console = plain_console(soft_wrap=True)
    console.print(
        f"{view['keyspace']} ({view['strategy']}): {view['keys']} keys, {view['bytes']} bytes, "
        f"{view['reads_per_second']} reads/s, {view['writes_per_second']} writes/s"
    )
    console.print()
    console.print(_nodes(view["nodes"]))
    console.print()
    partitions = view["partitions"] if every else _foremost(view)
    console.print(_partitions(partitions))
    if len(partitions) < len(view["partitions"]):
        console.print(f"and {len(view['partitions']) - len(partitions)} more (--all)")
    if view["hottest_keys"]:
        console.print()
        console.print(_keys(view["hottest_keys"]))
    for word in view["words"]:
        console.print()
        console.print(word["text"])


def _foremost(view: dict[str, Any]) -> list[dict[str, Any]]:
    """The hottest partitions, then the largest, as many as are shown."""
    order = {pid: place for place, pid in enumerate(view["hottest_partitions"])}
    last = len(order)
    ranked = sorted(view["partitions"], key=lambda one: (order.get(one["partition"], last), -(one["keys"] or 0)))
    return ranked[:SHOWN_PARTITIONS]


def _nodes(nodes: Sequence[dict[str, Any]]) -> Table:
    numbers_of = ("leads", "copies", "keys", "bytes", "reads/s", "writes/s", "of keys", "of load", "even")
    table = plain_table(("node", *numbers_of))
    for one in nodes:
        numbers = (one[name] for name in ("leads", "copies", "keys", "bytes", "reads_per_second", "writes_per_second"))
        shares = (one[name] for name in ("keys_share", "load_share", "even_share"))
        table.add_row(one["node"], *map(str, numbers), *map(_percent, shares))
    return table


def _partitions(partitions: Sequence[dict[str, Any]]) -> Table:
    table = plain_table(("partition", "leader", "keys", "bytes", "reads/s", "writes/s"))
    for one in partitions:
        table.add_row(*("-" if value is None else str(value) for value in one.values()))
    return table


def _keys(keys: Sequence[dict[str, Any]]) -> Table:
    table = plain_table(("ops/s, at least", "partition", "key"), texts=("key",))
    for one in keys:
        name = one["key"] if "key" in one else repr(base64.b64decode(one["key_b64"]))
        table.add_row(str(one["operations_per_second"]), str(one["partition"]), _printable(name))
    return table


def _printable(text: str) -> str:
    """Text of a key that does nothing to a terminal."""
    return "".join(letter if letter.isprintable() else repr(letter)[1:-1] for letter in text)


def _percent(share: float | None) -> str:
    return "-" if share is None else f"{share:.1%}"
