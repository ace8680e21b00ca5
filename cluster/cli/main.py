"""The `kvstore` command: its commands, and what every failure looks like in a shell.

Guarantees: whatever goes wrong is one line on standard error and an exit code of `exits`, never a traceback. Leaves to
others: each command (its module).
"""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from typer.main import get_command

from cluster.cli import (
    advise,
    balance,
    import_files,
    keys,
    keyspaces,
    members,
    operate,
    processes,
    promote,
    ranges,
    rebalance,
    transactions,
    up,
    verify,
)
from cluster.cli.exits import ExitCode, complain, exit_code, explain_settings, explain_text
from kvstore.errors import KvError, OperatorError

app = typer.Typer(
    name="kvstore",
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _tell_version(is_asked: bool) -> None:
    if is_asked:
        typer.echo(f"kvstore {version('kvstore')}")
        raise typer.Exit


@app.callback()
def _every_command(
    _version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_tell_version, help="Tell the version, and exit.")
    ] = False,
) -> None:
    """A sharded, replicated key-value store with a plain HTTP API."""


app.command()(up.up)
app.command()(processes.gateway)
app.command("gateway-worker", hidden=True)(processes.gateway_worker)
app.command()(processes.node)
app.command()(keys.get)
app.command()(keys.put)
app.command()(keys.delete)
app.command()(keys.batch)
app.command()(transactions.txn)
app.command()(ranges.scan)
app.command()(ranges.export)
app.command("delete-range")(ranges.delete_range)
app.command()(operate.status)
app.command()(operate.wait)
app.command()(verify.verify)
app.command()(balance.balance)
app.command()(advise.advise)
app.command("force-promote")(promote.force_promote)
app.command("import")(import_files.import_command)
app.command()(rebalance.plan)
app.command("rebalance")(rebalance.rebalance)
app.command()(members.drain)
app.command()(members.undrain)
app.add_typer(keyspaces.keyspaces_app, name="keyspaces")
app.add_typer(members.nodes_app, name="nodes")


def run(arguments: list[str]) -> int:
    """Carry out one command line and return its exit code."""
    command = get_command(app)
    try:
        code = command.main(arguments, prog_name="kvstore", standalone_mode=False)
    except typer.TyperException as error:
        complain(f"{error.format_message()} (kvstore --help)")
        return error.exit_code
    except ValidationError as error:
        complain(explain_settings(error, _options_of(command, arguments)))
        return ExitCode.USAGE
    except UnicodeError as error:
        complain(explain_text(error))
        return ExitCode.USAGE
    except OperatorError as error:
        complain(str(error))
        return ExitCode.FAILED
    except KvError as error:
        complain(error.detail)
        return exit_code(error)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return ExitCode.FAILED
    except OSError as error:
        complain(str(error))
        return ExitCode.FAILED
    return code if isinstance(code, int) else ExitCode.DONE


def _options_of(command: Any, arguments: list[str]) -> set[str]:
    """The options of the command that a line names."""
    named = command.commands.get(arguments[0]) if arguments else None
    return {name for parameter in getattr(named, "params", ()) for name in parameter.opts}


def main() -> None:
    """The console script."""
    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
