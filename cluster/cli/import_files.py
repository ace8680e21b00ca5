"""The command `import`; with `--files DIR` every file of a tree becomes a key.

Guarantees: the key is the path relative to DIR, the value the file's bytes; what was not imported is named, one line
each, and the counts stand at the end. Leaves to others: the work itself (`importer`), `import FILE` (`import_items`).
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

from cluster.cli.exits import ExitCode, complain, exit_code
from cluster.cli.import_items import import_items
from cluster.cli.importer import Counts, Failed, Found, Importer, Skipped, find_files
from cluster.cli.options import DEFAULT_TIMEOUT_S, VALUE_BYTES_MAX, GatewayOption, KeyspaceOption, TimeoutOption
from kvstore.client import Client
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.urls import DEFAULT_KEYSPACE


def import_command(
    file: Annotated[
        str | None,
        typer.Argument(metavar="FILE|-", help="Items to import: NDJSON, or MessagePack where it ends in .msgpack."),
    ] = None,
    files: Annotated[
        Path | None,
        typer.Option(
            "--files", envvar="KVSTORE_FILES", metavar="DIR", exists=True, file_okay=False, help="The tree to import."
        ),
    ] = None,
    max_value_bytes: Annotated[
        int,
        typer.Option(
            "--max-value-bytes",
            envvar="KVSTORE_MAX_VALUE_BYTES",
            metavar="N",
            min=1,
            max=VALUE_BYTES_MAX,
            help="Skip larger files.",
        ),
    ] = 1024 * 1024,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Import the items of FILE, however long that takes, or put every file of DIR under its relative path."""
    if (file is None) == (files is None):
        raise typer.BadParameter("one of both is needed", param_hint="FILE or --files DIR")
    if file is not None:
        return import_items(file, keyspace, gateway)
    assert files is not None
    counts = asyncio.run(_import(files, max_value_bytes, keyspace, gateway, timeout))
    print(
        f"imported {counts.imported} files ({counts.imported_bytes} bytes), skipped {counts.skipped}, "
        f"failed {counts.failed}, unknown {counts.unknown}"
    )
    return _code(counts)


async def _import(root: Path, value_bytes_max: int, keyspace: str, gateway: str, timeout_s: float) -> Counts:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("import")
        async with Client(gateway, timeout_s=timeout_s) as client:
            importer = Importer(
                client.keyspace(keyspace),
                value_bytes_max=value_bytes_max,
                timeout_s=timeout_s,
                complain=complain,
                advance=lambda size: progress.advance(task, size),
            )
            found: list[Found] = []
            for entry in find_files(root, value_bytes_max):
                if isinstance(entry, Skipped):
                    importer.skip(entry.path, entry.reason)
                elif isinstance(entry, Failed):
                    importer.fail(entry.path, entry.reason)
                else:
                    found.append(entry)
            progress.update(task, total=sum(file.size for file in found))
            return await importer.run(found)


def _code(counts: Counts) -> ExitCode:
    if counts.unknown:
        return ExitCode.OUTCOME_UNKNOWN
    if counts.halted is not None:
        return exit_code(counts.halted)
    return ExitCode.FAILED if counts.failed else ExitCode.DONE
