"""Commands on ranges of keys: `scan`, `export`, `delete-range`.

Guarantees: an item is printed as a line that `import` takes, a key in a form that no other key has; an export is whole
or not there; nothing is deleted without `--confirm`. Leaves to others: requests (`kvstore.client`), errors (`main`).
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import Progress, ProgressColumn, TextColumn, TimeElapsedColumn, TransferSpeedColumn

from cluster.cli.exits import ExitCode, complain, exit_code
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, KeyspaceOption, TimeoutOption
from kvstore.client import Client, SyncClient
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.items import line_of
from kvstore.client.urls import DEFAULT_KEYSPACE
from kvstore.errors import KvError

STANDARD_OUTPUT = "-"

PrefixOption = Annotated[
    str | None, typer.Option("--prefix", envvar="KVSTORE_PREFIX", metavar="P", help="Keys that begin with P.")
]
StartOption = Annotated[
    str | None, typer.Option("--start", envvar="KVSTORE_START", metavar="A", help="Keys from A on, A included.")
]
EndOption = Annotated[str | None, typer.Option("--end", envvar="KVSTORE_END", metavar="B", help="Keys before B.")]


def scan(
    prefix: PrefixOption = None,
    start: StartOption = None,
    end: EndOption = None,
    reverse: Annotated[
        bool, typer.Option("--reverse", envvar="KVSTORE_REVERSE", help="From the end of the range down.")
    ] = False,
    keys_only: Annotated[
        bool, typer.Option("--keys-only", envvar="KVSTORE_KEYS_ONLY", help="Keys alone, one a line.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option("--limit", envvar="KVSTORE_LIMIT", metavar="N", min=1, help="At most N items.")
    ] = None,
    count: Annotated[
        bool, typer.Option("--count", envvar="KVSTORE_COUNT", help="Only how many keys there are.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print keys and counts as JSON too.")
    ] = False,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Print the items of a range in the order of their keys, one JSON object a line, as import takes them.

    With --keys-only a line is a key as the shell's $'...' takes it: a backslash is doubled, and what is no printable
    text stands as the hexadecimal digits of its bytes.
    """
    if count:
        _refuse_beside_count({"--limit": limit is not None, "--reverse": reverse, "--keys-only": keys_only})
    with SyncClient(gateway, timeout_s=timeout) as client:
        if count:
            number = client.keyspace(keyspace).count(prefix=_raw(prefix), start=_raw(start), end=_raw(end))
            print(json.dumps({"count": number}) if as_json else number)
            return
        items = client.keyspace(keyspace).scan(
            prefix=_raw(prefix),
            start=_raw(start),
            end=_raw(end),
            reverse=reverse,
            keys_only=keys_only,
            limit=limit,
        )
        for item in items:
            line = shown_key(item.key) if keys_only and not as_json else line_of(item, keys_only=keys_only)
            sys.stdout.buffer.write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def shown_key(key: bytes) -> str:
    """A key on one line of text, which no other key has."""
    return "".join(_shown(character) for character in key.decode("utf-8", "surrogateescape"))


def _shown(character: str) -> str:
    if character == "\\":
        return "\\\\"
    if character.isprintable():
        return character
    return "".join(f"\\x{byte:02x}" for byte in character.encode("utf-8", "surrogateescape"))


def _raw(bound: str | None) -> bytes | None:
    return None if bound is None else os.fsencode(bound)


def _refuse_beside_count(given: Mapping[str, bool]) -> None:
    for name, is_given in given.items():
        if is_given:
            raise typer.BadParameter("not beside --count", param_hint=name)


def export(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help='Where to write; "-" is standard output.')],
    prefix: PrefixOption = None,
    start: StartOption = None,
    end: EndOption = None,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Write all items, or those of a range, as lines that import takes; FILE is there when it is whole."""
    bounds = {"prefix": _raw(prefix), "start": _raw(start), "end": _raw(end)}
    try:
        count = asyncio.run(_export(file, bounds, keyspace, gateway, timeout))
    except KvError as error:
        if not error.numbers.get("exported"):
            raise
        complain(f"after {error.numbers['exported']} records: {error.detail}")
        return exit_code(error)
    if file != STANDARD_OUTPUT:
        print(f"exported {count} records")
    return ExitCode.DONE


async def _export(file: str, bounds: Mapping[str, bytes | None], keyspace: str, gateway: str, timeout_s: float) -> int:
    with _progress(TransferSpeedColumn()) as progress:
        task = progress.add_task("export", total=None, shown="")

        def show(records: int, size_bytes: int) -> None:
            progress.update(task, completed=size_bytes, shown=f"{records} records")

        async with Client(gateway, timeout_s=timeout_s) as client:
            target = sys.stdout.buffer if file == STANDARD_OUTPUT else file
            return await client.keyspace(keyspace).export(target, **bounds, progress=show)


def delete_range(
    prefix: PrefixOption = None,
    start: StartOption = None,
    end: EndOption = None,
    confirm: Annotated[
        bool, typer.Option("--confirm", envvar="KVSTORE_CONFIRM", help="Without it nothing is deleted.")
    ] = False,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Delete all keys of a range."""
    if not (prefix or start or end):
        raise typer.BadParameter("one of them is needed", param_hint="--prefix, --start or --end")
    if not confirm:
        raise typer.BadParameter("needed to delete a range", param_hint="--confirm")
    try:
        with _progress() as progress, SyncClient(gateway, timeout_s=timeout) as client:
            task = progress.add_task("delete", total=None, shown="")
            deleted = client.keyspace(keyspace).delete_range(
                prefix=_raw(prefix),
                start=_raw(start),
                end=_raw(end),
                progress=lambda keys: progress.update(task, shown=f"{keys} keys"),
            )
    except KvError as error:
        if not error.numbers.get("deleted"):
            raise
        complain(f"after {error.numbers['deleted']} keys: {error.detail}")
        return exit_code(error)
    print(f"deleted {deleted} keys")
    return ExitCode.DONE


def _progress(*more: ProgressColumn) -> Progress:
    """On standard error, and only where that is a terminal."""
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), TextColumn("{task.fields[shown]}"), *more, TimeElapsedColumn())
    return Progress(*columns, console=console, disable=not console.is_terminal)
