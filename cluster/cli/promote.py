"""The command `force-promote`: the last resort where all in-sync copies of a partition are dead.

Guarantees: nothing is done without the nodes' names after `--confirmed-stopped`; what was promoted and what was not is
printed partition by partition. Leaves to others: every decision (control).
"""

from __future__ import annotations

from typing import Annotated

import typer

from cluster.cli.exits import ExitCode, complain
from cluster.cli.options import DEFAULT_TIMEOUT_S, GatewayOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY


def force_promote(
    confirmed_stopped: Annotated[
        list[str],
        typer.Option(
            "--confirmed-stopped",
            envvar="KVSTORE_CONFIRMED_STOPPED",
            metavar="NODE",
            help="A node with an in-sync copy, of which you know that it does not run; once for each.",
        ),
    ],
    partition: Annotated[int | None, typer.Argument(metavar="PARTITION", help="The partition's number.")] = None,
    all_of: Annotated[
        str,
        typer.Option(
            "--all-of", envvar="KVSTORE_ALL_OF", metavar="NODE", help="All whose last in-sync copy was on that node."
        ),
    ] = "",
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = DEFAULT_TIMEOUT_S,
) -> ExitCode:
    """Let a copy lead that may lack acknowledged writes, because every copy in sync is dead. THEY ARE LOST THEN."""
    with SyncClient(gateway, timeout_s=timeout) as client:
        answer = client.force_promote(partition=partition, all_of=all_of, confirmed_stopped=confirmed_stopped)
    for one in answer["promoted"]:
        print(f"partition {one['partition']}: {one['leader']} is to lead; promoted by force {one['unclean_count']} x")
    for txn in answer["may_be_torn"]:
        complain(f"transaction {txn} was in doubt, and its decision may be lost: it is aborted now")
    for one in answer["refused"]:
        complain(f"partition {one['partition']}: {one['detail']}")
    return ExitCode.FAILED if answer["refused"] else ExitCode.DONE
