"""Commands on keyspaces: `keyspaces`, and below it `create`, `describe`, `delete`, `tenants`, `move-tenant`.

Guarantees: nothing is deleted without its name said twice; with --json the answer stands on standard output as it is.
Leaves to others: what a keyspace may be (the gateway), requests (`kvstore.client`), errors (`main`).
"""

from __future__ import annotations

import json
import os
from enum import StrEnum
from typing import Annotated, Any, Literal

import typer
from rich.table import Table

from cluster.cli.console import plain_console, plain_table
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, TimeoutOption
from cluster.cli.ranges import shown_key
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.items import bytes_field

EVERYWHERE = "all"

JsonOption = Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the answer as it is.")]
NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="The keyspace's name.")]
TenantArgument = Annotated[
    str, typer.Argument(metavar="TENANT", help="The shard key of its keys, up to the first '/'.")
]
PartitionsOption = Annotated[
    int | None,
    typer.Option(
        "--partitions",
        envvar="KVSTORE_PARTITIONS",
        metavar="N",
        min=1,
        help="Partitions; with geo: in each zone. By default 64, with range one more than splits.",
    ),
]
ReplicasOption = Annotated[
    str | None,
    typer.Option(
        "--replicas", envvar="KVSTORE_REPLICAS", metavar="N|all", help="Copies of each partition; by default 2."
    ),
]
MinInSyncOption = Annotated[
    int | None,
    typer.Option(
        "--min-in-sync",
        envvar="KVSTORE_MIN_IN_SYNC",
        metavar="N",
        min=1,
        help="In-sync copies below which a partition refuses writes; by default 1.",
    ),
]
DefaultTtlOption = Annotated[
    float | None,
    typer.Option(
        "--default-ttl",
        envvar="KVSTORE_DEFAULT_TTL",
        metavar="SECONDS",
        help="Time to live of puts that name none.",
    ),
]
MaxValueBytesOption = Annotated[
    int | None,
    typer.Option(
        "--max-value-bytes",
        envvar="KVSTORE_MAX_VALUE_BYTES",
        metavar="N",
        min=1,
        help="Largest value; by default the gateway's.",
    ),
]
SplitOption = Annotated[
    list[str] | None,
    typer.Option(
        "--split",
        envvar="KVSTORE_SPLIT",
        metavar="KEY",
        help="With range: the first key of a partition; once for each but the first.",
    ),
]
RegionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--region",
        envvar="KVSTORE_REGION",
        metavar="REGION=ZONE",
        help="With geo: the zone of a region's keys; once for each.",
    ),
]
DefaultZoneOption = Annotated[
    str | None,
    typer.Option(
        "--default-zone",
        envvar="KVSTORE_DEFAULT_ZONE",
        metavar="ZONE",
        help="With geo: the zone of all other keys.",
    ),
]
keyspaces_app = typer.Typer(
    name="keyspaces",
    help="List keyspaces; make, describe and delete one; list and move its tenants.",
    invoke_without_command=True,
    rich_markup_mode=None,
)


class Strategy(StrEnum):
    CONSISTENT = "consistent"
    HASH = "hash"
    RANGE = "range"
    DIRECTORY = "directory"
    GEO = "geo"


@keyspaces_app.callback()
def keyspaces(
    context: typer.Context,
    as_json: JsonOption = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """List keyspaces, where no command on one is named."""
    if context.invoked_subcommand is not None:
        return
    with SyncClient(gateway, timeout_s=timeout) as client:
        found = client.keyspaces()
    if as_json:
        print(json.dumps(found, indent=2))
        return
    columns = ("name", "strategy", "partitions", "replicas", "min_in_sync", "default_ttl", "max_value_bytes")
    plain_console().print(_table(found, columns))


@keyspaces_app.command()
def create(
    name: NameArgument,
    strategy: Annotated[
        Strategy, typer.Option("--strategy", envvar="KVSTORE_STRATEGY", help="How keys find their partition.")
    ] = Strategy.CONSISTENT,
    partitions: PartitionsOption = None,
    replicas: ReplicasOption = None,
    min_in_sync: MinInSyncOption = None,
    default_ttl: DefaultTtlOption = None,
    max_value_bytes: MaxValueBytesOption = None,
    split: SplitOption = None,
    region: RegionOption = None,
    default_zone: DefaultZoneOption = None,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Make a keyspace, and print what it is; it cannot be changed afterwards."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        made = client.create_keyspace(
            name,
            strategy.value,
            partitions=partitions,
            replicas=_replicas(replicas),
            min_in_sync=min_in_sync,
            default_ttl_s=default_ttl,
            max_value_bytes=max_value_bytes,
            splits=[os.fsencode(one) for one in split or ()],
            regions=dict(map(_region, region)) if region else None,
            default_zone=default_zone,
        )
    print(json.dumps(made, indent=2))


@keyspaces_app.command()
def describe(
    name: NameArgument, gateway: GatewayOption = DEFAULT_GATEWAY, timeout: TimeoutOption = DEFAULT_TIMEOUT_S
) -> None:
    """Print what a keyspace is, and its partitions, as JSON."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        print(json.dumps(client.keyspace(name).describe(), indent=2))


@keyspaces_app.command()
def delete(
    name: NameArgument,
    confirm: Annotated[
        str, typer.Option("--confirm", metavar="NAME", help="The name once more; without it nothing is deleted.")
    ] = "",
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Delete a keyspace and all that is in it."""
    if confirm != name:
        raise typer.BadParameter(f"--confirm {name} is needed to delete all that is in it", param_hint="--confirm")
    with SyncClient(gateway, timeout_s=timeout) as client:
        client.delete_keyspace(name, confirm=confirm)


@keyspaces_app.command()
def tenants(
    name: NameArgument, gateway: GatewayOption = DEFAULT_GATEWAY, timeout: TimeoutOption = DEFAULT_TIMEOUT_S
) -> None:
    """Print each tenant of a keyspace with a directory, and the partition of its keys."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        for tenant, partition in client.keyspace(name).tenants():
            print(f"{partition}\t{shown_key(tenant)}")


@keyspaces_app.command("move-tenant")
def move_tenant(
    name: NameArgument,
    tenant: TenantArgument,
    to: Annotated[
        int | None,
        typer.Option(
            "--to", envvar="KVSTORE_TO", metavar="PARTITION", min=1, help="By default the least loaded other one."
        ),
    ] = None,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Begin to move a tenant's keys to another partition while they are read and written."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        moving = client.keyspace(name).move_tenant(os.fsencode(tenant), to)
    where = f"partition {moving['partition']}, transfer {moving['transfer']}"
    print(f"{shown_key(bytes_field(moving, 'tenant'))} is on its way to {where}")


def _replicas(text: str | None) -> int | Literal["all"] | None:
    if text is None:
        return None
    if text == EVERYWHERE:
        return "all"
    try:
        return int(text)
    except ValueError as error:
        raise typer.BadParameter("a whole number, or all", param_hint="--replicas") from error


def _region(text: str) -> tuple[str, str]:
    region, equals, zone = text.partition("=")
    if not (region and equals and zone):
        raise typer.BadParameter(f"{text!r} is not REGION=ZONE", param_hint="--region")
    return region, zone


def _table(rows: list[dict[str, Any]], columns: tuple[str, ...]) -> Table:
    table = plain_table([column.replace("_", " ") for column in columns], texts=("name", "strategy"))
    for row in rows:
        table.add_row(*(str(row.get(column, "")) for column in columns))
    return table
