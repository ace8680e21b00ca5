"""Options that several commands share.

Guarantees: an option has one name, one variable and one meaning everywhere. Leaves to others: options that only one
command has (that command).
"""

from __future__ import annotations

from typing import Annotated

import typer

from kvstore.client.urls import base_url

DEFAULT_TIMEOUT_S = 10.0
# A year. What is infinite fits no clock.
TIMEOUT_S_MAX = 365 * 86_400.0
VALUE_BYTES_MAX = 16 * 1024 * 1024


def _check_gateway(value: str) -> str:
    try:
        return base_url(value)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from error


GatewayOption = Annotated[
    str,
    typer.Option(
        "--gateway",
        envvar="KVSTORE_GATEWAY",
        metavar="URL",
        callback=_check_gateway,
        help="The gateway to ask.",
    ),
]

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

KeyArgument = Annotated[str, typer.Argument(metavar="K", help="The key; its bytes as the shell passes them.")]
