"""Dialling: a link that keeps one connection to one address for as long as it is wanted.

Guarantees: at most one connection at a time, each opened with `Hello` and usable only after `Welcome` from the node
that was expected; after a loss it dials again, at once where the connection had lasted, else with growing, jittered
pauses. Leaves to others: what to do when a call fails, and retries.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Callable
from dataclasses import dataclass

from kvstore.codec import FORMAT
from kvstore.messages import Body, Failed, Hello, Welcome
from kvstore.rpc import local
from kvstore.rpc.connection import PRIORITY_CONTROL, PRIORITY_DATA, Connection, Handler, NotSent, RpcError

PAUSE_S_MIN = 0.05
PAUSE_S_MAX = 1.0
# A connection that ends sooner was worth no more than a failed attempt: the other end welcomes, and then takes nothing.
LASTING_S = 1.0
CONNECT_TIMEOUT_S = 3.0


@dataclass(frozen=True)
class Identity:
    """Who dials, as `Hello` tells it."""

    cluster_id: bytes
    sender: str
    role: str


def parse_address(address: str) -> tuple[str, int]:
    """Split `host:port` or `[v6]:port`.

    Raises:
        ValueError: there is no valid port, or no host.
    """
    host, _, port = address.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not host or not port.isascii() or not port.isdigit() or int(port) > 65535:
        raise ValueError(f"{address!r} is not HOST:PORT")
    return host, int(port)


async def dial(
    address: str, identity: Identity, handler: Handler, on_closed: Callable[[], None], boot_floor: int = 0
) -> Connection:
    """Open one connection and say hello.

    Args:
        boot_floor: see `Hello`.

    Raises:
        OSError: nobody listens there.
        RpcError: the other side refused, or did not answer in time; the message says why.
    """
    host, port = parse_address(address)
    loop = asyncio.get_running_loop()

    def make() -> Connection:
        return Connection(handler, cluster_id=identity.cluster_id, dialled=True, on_closed=lambda _c, _e: on_closed())

    sock = local.dialled(host, port)
    async with asyncio.timeout(CONNECT_TIMEOUT_S):
        if sock is None:
            _, connection = await loop.create_connection(make, host, port)
        else:
            _, connection = await loop.create_unix_connection(make, sock=sock)
            if not connection.is_open:
                # Lost before it was made, as what opens it could not be written. uvloop has closed the file without the
                # socket's knowing, which would close it once more: by then another connection may have its number.
                sock.detach()
    hello = Hello(identity.cluster_id, identity.sender, identity.role, FORMAT, boot_floor)
    try:
        answer = await connection.call(hello, CONNECT_TIMEOUT_S, PRIORITY_CONTROL)
    except (RpcError, asyncio.CancelledError):
        connection.close("no answer to hello")
        raise
    if isinstance(answer, Welcome) and answer.cluster_id == identity.cluster_id:
        connection.peer = answer.node
        connection.boot = answer.boot
        connection.process = answer.process
        connection.is_new = answer.is_new
        return connection
    reason = answer.fault.detail if isinstance(answer, Failed) else "an unexpected answer to hello"
    connection.close(reason)
    raise RpcError(reason)


class Link:
    """A lasting relation to the node `node_id` at `address`.

    Args:
        on_up: called with each new connection after its handshake.
        on_down: called when that connection is gone.
        on_failed: called with the error (OSError, RpcError) of each attempt that led to no connection.
        boot_floor: asked at each attempt for what `Hello` says of it.
    """

    def __init__(
        self,
        node_id: str,
        address: str,
        identity: Identity,
        handler: Handler,
        *,
        on_up: Callable[[Connection], None] | None = None,
        on_down: Callable[[], None] | None = None,
        on_failed: Callable[[Exception], None] | None = None,
        boot_floor: Callable[[], int] = lambda: 0,
        rng: random.Random | None = None,
    ) -> None:
        self.node_id = node_id
        self.address = address
        self.connection: Connection | None = None
        self.last_error = ""
        self._identity = identity
        self._handler = handler
        self._on_up = on_up
        self._on_down = on_down
        self._on_failed = on_failed
        self._boot_floor = boot_floor
        self._rng = rng or random.Random()
        self._lost = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to dial; returns at once."""
        if self._task is None:
            self._task = asyncio.create_task(self._run(), name=f"link-{self.node_id}")

    async def close(self) -> None:
        """Stop dialling and cut the connection."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        if self.connection is not None:
            self.connection.close("closed here")

    @property
    def is_up(self) -> bool:
        return self.connection is not None and self.connection.is_open

    def call(self, body: Body, timeout_s: float, priority: int = PRIORITY_DATA) -> asyncio.Future[Body]:
        """`Connection.call` on the current connection; raises NotSent where there is none."""
        if self.connection is None:
            raise NotSent(f"no connection to {self.node_id}: {self.last_error or 'not yet dialled'}")
        return self.connection.call(body, timeout_s, priority)

    def cast(self, body: Body, priority: int = PRIORITY_CONTROL) -> bool:
        """`Connection.cast` on the current connection; False where there is none."""
        return self.connection is not None and self.connection.cast(body, priority)

    async def _run(self) -> None:
        pause_s = PAUSE_S_MIN
        while True:
            if await self._stay_up() >= LASTING_S:
                pause_s = PAUSE_S_MIN
                continue
            await asyncio.sleep(pause_s * (0.5 + self._rng.random()))
            pause_s = min(PAUSE_S_MAX, pause_s * 2)

    async def _stay_up(self) -> float:
        """Dial, and wait until the connection is lost; for how many seconds it was there."""
        self._lost.clear()
        try:
            self.connection = await self._dial()
        except (OSError, RpcError, TimeoutError) as error:
            self.last_error = str(error) or type(error).__name__
            if self._on_failed is not None:
                self._on_failed(error)
            return 0.0
        loop = asyncio.get_running_loop()
        since_s = loop.time()
        if self._on_up is not None:
            self._on_up(self.connection)
        await self._lost.wait()
        return loop.time() - since_s

    async def _dial(self) -> Connection:
        connection = await dial(self.address, self._identity, self._handler, self._closed, self._boot_floor())
        if connection.peer != self.node_id:
            connection.close("another node than expected")
            raise RpcError(f"{self.address} is node {connection.peer}, not {self.node_id}")
        return connection

    def _closed(self) -> None:
        was_up, self.connection = self.connection is not None, None
        self._lost.set()
        if was_up and self._on_down is not None:
            self._on_down()
