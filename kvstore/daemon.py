"""What every process of the product does alike: logs, signals, collecting garbage, and where it may listen.

Guarantees: logs are lines of JSON on standard error, and where that cannot be written they are lost and nothing else
is; the first SIGTERM or SIGINT asks for an orderly stop; what is loaded when a process begins to serve holds nobody up
later; an address that others reach is refused unless the operator insists. Leaves to others: what is served, and how
it stops.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import sys
from collections.abc import Awaitable, Callable, Mapping, MutableMapping

import structlog

from kvstore.errors import OperatorError
from kvstore.rpc.client import parse_address
from kvstore.rpc.local import is_loopback

GC_THRESHOLD = 50_000


class _Lines(structlog.WriteLogger):
    """Writes lines, if they can be written: a full disk, or a reader that is gone, ends nothing but the log."""

    def msg(self, message: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            super().msg(message)

    log = debug = info = warn = warning = fatal = failure = err = error = critical = exception = msg


def tell(line: str) -> None:
    """Say one line of the product's on standard error, if it can be written."""
    with contextlib.suppress(OSError, ValueError):
        sys.stderr.write(f"kvstore: {line}\n")
        sys.stderr.flush()


def log_to_stderr(**always: str) -> None:
    """Set up the logs; `always` stands in every line."""

    def add(_logger: object, _method: str, event: MutableMapping[str, object]) -> Mapping[str, object]:
        return {**event, **always}

    file = sys.stderr
    structlog.configure(
        processors=[
            add,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso"),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=lambda *_: _Lines(file),
    )


def spare_the_loaded() -> None:
    """Have the cycle collector look at little, and seldom: at nothing that is there now.

    The modules of a process, which stay, are 75,000 objects: a full collection would hold the event loop for 40 ms.
    """
    gc.set_threshold(GC_THRESHOLD, 20, 20)
    gc.freeze()


async def until_signal(serve: Callable[[asyncio.Event], Awaitable[None]]) -> None:
    """Serve until a signal sets the event that `serve` is given."""
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await serve(stop)


def bind_address(listen: str, insecure_bind: bool) -> tuple[str, int]:
    """The host and port to listen on.

    Raises:
        OperatorError: it is no address, or one beyond this machine without `insecure_bind`.
    """
    try:
        host, port = parse_address(listen)
    except ValueError as error:
        raise OperatorError(f"listen: {error}") from error
    if not insecure_bind and not is_loopback(host):
        raise OperatorError(
            f"{host} is not a loopback address and there is no authentication yet; say --insecure-bind to allow it"
        )
    return host, port


def join_address(host: str, port: int) -> str:
    """`host:port`, or `[v6]:port`."""
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
