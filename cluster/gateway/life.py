"""What every process of a gateway does alike: begin, say that it is ready, end.

Guarantees: SIGTERM and SIGINT ask for an orderly stop, which ends with exit code 0, before it serves too; a mistake of
the operator's is one line and a non-zero code, told once, by the process that found it. Leaves to others: what is
served.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, TypeVar

import structlog
import uvloop

from cluster.children import ChildFailed
from kvstore.daemon import log_to_stderr, spare_the_loaded, tell, until_signal
from kvstore.errors import OperatorError

T = TypeVar("T")


class Stopped(Exception):
    """The process was asked to stop before it served."""


def run_process(serve: Callable[[asyncio.Event], Awaitable[None]], **always: str) -> int:
    """Serve until SIGTERM or SIGINT sets the event; returns the exit code.

    Args:
        always: what stands in every line of the log.
    """
    log_to_stderr(**always)
    spare_the_loaded()
    try:
        uvloop.run(until_signal(serve))
    except Stopped:
        return 0
    except OperatorError as error:
        tell(str(error))
        return 1
    except ChildFailed as failure:
        # A process that ends on its own account has told why in a line of its own.
        if failure.returncode <= 0:
            tell(str(failure))
        return max(1, failure.returncode)
    except Exception as error:
        structlog.get_logger().error("the gateway cannot go on", exc_info=error)
        return 1
    return 0


async def unless(stop: asyncio.Event, beginning: Coroutine[Any, Any, T]) -> T:
    """What `beginning` comes to, which may wait for others for long; raises Stopped where that event is set first."""
    begun = asyncio.create_task(beginning)
    stopped = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait((begun, stopped), return_when=asyncio.FIRST_COMPLETED)
        if not begun.done():
            raise Stopped
        return begun.result()
    finally:
        begun.cancel()
        stopped.cancel()
        await asyncio.gather(begun, stopped, return_exceptions=True)


async def until_set(event: asyncio.Event) -> None:
    """Wait for the event."""
    await event.wait()


async def first_of(*waiting: Coroutine[Any, Any, None]) -> None:
    """Wait until one of these ends, or raises, and give the others up."""
    tasks = [asyncio.create_task(one) for one in waiting]
    try:
        done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
    finally:
        for task in tasks:
            task.cancel()


def say_ready(url: str) -> None:
    """Tell whoever started this process that it serves there."""
    sys.stdout.write(f"ready {url}\n")
    sys.stdout.flush()
