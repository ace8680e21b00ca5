"""Options that several commands share.

Guarantees: an option has one name, one variable and one meaning everywhere. Leaves to others: options that only one
command has (that command).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any

import typer

from cluster.cli.gateways import addresses_of, answering

DEFAULT_TIMEOUT_S = 10.0
# A year. What is infinite fits no clock.
TIMEOUT_S_MAX = 365 * 86_400.0
VALUE_BYTES_MAX = 16 * 1024 * 1024


def _check_gateways(value: str) -> str:
    try:
        return ",".join(addresses_of(value))
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


def _choose_gateway(value: str) -> str:
    return answering(_check_gateways(value))


def _gateway_option(callback: Callable[[str], str]) -> Any:
    return typer.Option(
        "--gateway",
        envvar="KVSTORE_GATEWAY",
        metavar="URL[,URL]",
        callback=callback,
        help="The gateway to ask; of several the first that answers.",
    )


# The command gets the one to ask.
GatewayOption = Annotated[str, _gateway_option(_choose_gateway)]

# The command gets all of them, and chooses itself (`gateways`).
GatewaysOption = Annotated[str, _gateway_option(_check_gateways)]

TimeoutOption = Annotated[
    float,
    typer.Option(
        "--timeout",
        envvar="KVSTORE_TIMEOUT",
        metavar="SECONDS",
        min=0.01,
        max=TIMEOUT_S_MAX,
        help="Give up after this long, attempts that were refused for now included.",
    ),
]

KeyspaceOption = Annotated[
    str,
    typer.Option("--keyspace", envvar="KVSTORE_KEYSPACE", metavar="NAME", help="The keyspace of the keys."),
]

KeyArgument = Annotated[str, typer.Argument(metavar="KEY", help="The key; its bytes as the shell passes them.")]
