"""The command `txn`: a transaction from a document, and what an operator does about those that do not end.

Guarantees: the answer stands on standard output as it came, whichever branch was taken; a conflict is exit code 1, an
unknown outcome 4; an outcome is never forced without being named. Leaves to others: requests (`kvstore.client`), errors
(`main`).
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Annotated, Any
from urllib.parse import quote

import typer
from rich.table import Table

from cluster.cli.console import plain_console, plain_table
from cluster.cli.exits import ExitCode, complain
from cluster.cli.keys import document_of
from cluster.cli.options import GatewayOption, KeyspaceOption, TimeoutOption
from kvstore.client import SyncClient
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.urls import DEFAULT_KEYSPACE
from kvstore.errors import NotFound

LIST, RESOLVE = "list", "resolve"
# Before it says that partitions have no leaders a gateway waits, here longer than for any other request.
TXN_S = 30.0


class Outcome(StrEnum):
    ABORT = "abort"
    COMMIT = "commit"


class Branch(StrEnum):
    THEN = "then"
    ELSE = "else"


def txn(
    what: Annotated[
        str,
        typer.Argument(
            metavar="FILE|-|list|resolve",
            help='JSON: {"if":[…],"then":[…],"else":[…]}; "-" is standard input. "list": what is prepared; '
            '"resolve": end one of them. A file of such a name is ./list.',
        ),
    ],
    txn_id: Annotated[str | None, typer.Argument(metavar="ID", help="resolve: the transaction's id.")] = None,
    outcome: Annotated[
        Outcome | None,
        typer.Option(
            "--outcome",
            envvar="KVSTORE_OUTCOME",
            help="resolve: stand in for a partition that is lost for good; without it, that partition decides.",
        ),
    ] = None,
    branch: Annotated[
        Branch | None,
        typer.Option("--branch", envvar="KVSTORE_BRANCH", help="resolve: which one a commit carries out."),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", envvar="KVSTORE_JSON", help="list: print the answer as it is.")
    ] = False,
    keyspace: KeyspaceOption = DEFAULT_KEYSPACE,
    gateway: GatewayOption = DEFAULT_GATEWAY,
    timeout: TimeoutOption = TXN_S,
) -> ExitCode:
    """Carry out a transaction and print its answer; or list and resolve those that are prepared."""
    if (what == RESOLVE) != (txn_id is not None):
        raise typer.BadParameter("goes with resolve, and resolve with an id", param_hint="ID")
    if what != RESOLVE and (outcome or branch):
        raise typer.BadParameter("goes with resolve", param_hint="--outcome, --branch")
    if (outcome is Outcome.COMMIT) != (branch is not None):
        raise typer.BadParameter("goes with --outcome commit, and that with a branch", param_hint="--branch")
    if what == LIST:
        return _list(gateway, timeout, as_json)
    if txn_id is not None:
        return _resolve(gateway, timeout, txn_id, outcome, branch)
    document = document_of(what)
    with SyncClient(gateway, timeout_s=timeout) as client:
        print(client.keyspace(keyspace).txn_document(document).decode())
    return ExitCode.DONE


def _list(gateway: str, timeout_s: float, as_json: bool) -> ExitCode:
    with SyncClient(gateway, timeout_s=timeout_s) as client:
        view = client.operate("GET", "transactions")
    if as_json:
        print(json.dumps(view, indent=2))
    else:
        plain_console(soft_wrap=True).print(_table(view["prepared"]))
    return _tell_missing(view)


def _resolve(gateway: str, timeout_s: float, txn_id: str, outcome: Outcome | None, branch: Branch | None) -> ExitCode:
    asked = {name: choice.value for name, choice in (("outcome", outcome), ("branch", branch)) if choice is not None}
    with SyncClient(gateway, timeout_s=timeout_s) as client:
        try:
            answer = client.operate("POST", f"transactions/{quote(txn_id, safe='')}/resolve", asked, once=True)
        except NotFound as error:
            complain(error.detail)
            return ExitCode.FAILED
    print(json.dumps(answer))
    return _tell_missing(answer)


def _tell_missing(answer: dict[str, Any]) -> ExitCode:
    """A node that did not answer may hold more."""
    if missing := answer.get("missing"):
        complain(f"no answer from {', '.join(missing)}: what is prepared there is not known")
        return ExitCode.UNAVAILABLE
    return ExitCode.DONE


def _table(prepared: list[dict[str, Any]]) -> Table:
    table = plain_table(("transaction", "partition", "age s", "keys"), texts=("transaction", "keys"))
    for one in prepared:
        keys = ", ".join(json.dumps(key["key"]) if "key" in key else f"base64 {key['key_b64']}" for key in one["keys"])
        table.add_row(one["txn"], str(one["partition"]), f"{one['age_s']:.1f}", keys)
    return table
