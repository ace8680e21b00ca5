"""The command `verify`: whether the copies of every partition are equal.

Guarantees: nothing is changed; the exit code is that of a failure where copies differ, and every difference is printed.
Leaves to others: comparing (the nodes).
"""

from __future__ import annotations

import base64
import json
from typing import Annotated, Any

import typer

from cluster.cli.exits import ExitCode, complain
from cluster.cli.options import GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY


def verify(
    as_json: Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the answer as it is.")] = False,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = 600.0,
) -> ExitCode:
    """Compare the copies of every partition, and name keys that differ."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        answer = client.verify()
    if as_json:
        print(json.dumps(answer, indent=2))
    else:
        _print(answer)
    return ExitCode.DONE if answer["ok"] else ExitCode.FAILED


def _print(answer: dict[str, Any]) -> None:
    for one in answer["left_out"]:
        complain(f"partition {one['partition']}: not compared, for not in sync: {', '.join(one['copies'])}")
    for one in answer["differences"]:
        copies, parts = ", ".join(one["copies"]), ", ".join(one["parts"])
        print(f"partition {one['partition']}: the copies on {copies} differ in {parts}")
        for key in one["keys"]:
            etags = ", ".join(f"{etag or 'absent'} on {node}" for node, etag in key["etags"].items())
            print(f"  {_name(key)!r}: {etags}")
        if one["more"]:
            print("  and more")
    count = len(answer["differences"])
    print(f"{answer['partitions']} partitions compared, {count} with a difference" if count else _equal(answer))


def _equal(answer: dict[str, Any]) -> str:
    return f"{answer['partitions']} partitions compared, all copies equal"


def _name(key: dict[str, Any]) -> str | bytes:
    return str(key["key"]) if "key" in key else base64.b64decode(key["key_b64"])
