"""Commands on keys: `get`, `put`, `delete`, `batch`.

Guarantees: keys and values pass byte for byte, and nothing but the answer stands on standard output. Leaves to others:
requests (`kvstore.client`), errors (`main`).
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from cluster.cli.exits import ExitCode, worst
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, KeyArgument, KeyspaceOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.urls import DEFAULT_KEYSPACE

IfMatchOption = Annotated[
    str | None,
    typer.Option("--if-match", envvar="KVSTORE_IF_MATCH", metavar="ETAG", help="Only this version ('*': any)."),
]


def get(
    key: KeyArgument,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Write the value of a key to standard output, as it is."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        value = client.keyspace(keyspace).get(os.fsencode(key))
    sys.stdout.buffer.write(value.data)
    sys.stdout.buffer.flush()


def put(
    key: KeyArgument,
    value: Annotated[
        str | None, typer.Argument(metavar="VALUE", help="The value; without it, all of standard input.")
    ] = None,
    content_type: Annotated[
        str | None,
        typer.Option(
            "--content-type",
            envvar="KVSTORE_CONTENT_TYPE",
            metavar="TYPE",
            help="Media type of the value; by default application/octet-stream.",
        ),
    ] = None,
    ttl: Annotated[
        float | None,
        typer.Option("--ttl", envvar="KVSTORE_TTL", metavar="SECONDS", min=0.001, help="Gone after this long."),
    ] = None,
    if_match: IfMatchOption = None,
    if_absent: Annotated[
        bool, typer.Option("--if-absent", envvar="KVSTORE_IF_ABSENT", help="Only when there is no such key.")
    ] = False,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Write a key; done when it is on disk on all in-sync copies."""
    data = sys.stdin.buffer.read() if value is None else os.fsencode(value)
    with SyncClient(gateway, timeout_s=timeout) as client:
        client.keyspace(keyspace).put(
            os.fsencode(key),
            data,
            content_type=content_type,
            ttl_s=ttl,
            if_match=if_match,
            if_none_match="*" if if_absent else None,
        )


def delete(
    key: KeyArgument,
    if_match: IfMatchOption = None,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> None:
    """Delete a key, whether or not it is there."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        client.keyspace(keyspace).delete(os.fsencode(key), if_match=if_match)


def batch(
    file: Annotated[str, typer.Argument(metavar="FILE|-", help='JSON: {"ops":[…]}; "-" is standard input.')],
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Carry out independent operations and print their results as JSON."""
    document = document_of(file)
    with SyncClient(gateway, timeout_s=timeout) as client:
        answer = client.keyspace(keyspace).batch_document(document)
    print(answer.decode())
    return worst([_code_of(int(result["status"])) for result in json.loads(answer)["results"]])


def document_of(file: str) -> bytes:
    """What stands in a file, or for `-` in standard input."""
    if file == "-":
        return sys.stdin.buffer.read()
    try:
        return Path(file).read_bytes()
    except OSError as error:
        raise typer.BadParameter(f"{file}: {error.strerror}", param_hint="FILE") from error


def _code_of(status: int) -> ExitCode:
    if status < 400:
        return ExitCode.DONE
    if status in {404, 409, 412}:
        return ExitCode.FAILED
    if status == 504:
        return ExitCode.OUTCOME_UNKNOWN
    return ExitCode.UNAVAILABLE if status >= 500 or status == 429 else ExitCode.USAGE
