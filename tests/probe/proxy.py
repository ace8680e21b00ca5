"""A TCP proxy that stands in front of a node, at the address that the node advertises, and harms its links to peers.

Guarantees: who dials is told from the `Hello` that it sends; only connections between nodes are harmed (`cut` takes
those of other roles, too, or of one); bytes keep their order. Leaves to others: when to do harm. Runs in its test's
event loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections import Counter
from pathlib import Path

from probe.processes import wait_until

from kvstore.codec import decode_frame
from kvstore.messages import Hello
from kvstore.rpc.framing import PREAMBLE, FrameDecoder

CHUNK_BYTES = 65536
BETWEEN_NODES = ("node", "bulk")
TCP_LISTEN = "0A"


class Proxy:
    """One proxy. `delay_s` of each chunk and `flip_chance` of a bit in each may be set at any time.

    `cluster_id` is what the last `Hello` named; `cuts`, `held`, `slowed` and `flips` count the harm, `carried` the
    bytes both ways by the role of who dialled.
    """

    def __init__(self, rng: random.Random) -> None:
        self.address = ""
        self.cluster_id = b""
        self.delay_s = 0.0
        self.flip_chance = 0.0
        self.cuts = 0
        self.held = 0
        self.slowed = 0
        self.flips = 0
        self.carried: Counter[str] = Counter()
        self._rng = rng
        self._cut: frozenset[str] = frozenset()
        self._open = asyncio.Event()
        self._open.set()
        self._target: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        self._links: dict[asyncio.StreamWriter, str] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def listen(self) -> Proxy:
        """Begin to accept; connections wait until there is a target."""
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.address = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        return self

    async def forward_to(self, pid: int) -> None:
        """Forward to the port on which that process listens, as soon as it does; nowhere until then."""
        if self._target.done():
            self._target = asyncio.get_running_loop().create_future()
        await asyncio.to_thread(wait_until, lambda: listening_port(pid) is not None)
        port = listening_port(pid)
        assert port is not None
        self._target.set_result(port)

    async def close(self) -> None:
        """Stop and end every connection."""
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks)
        await asyncio.sleep(0)  # Aborted transports close their sockets in the next turn.

    # ---- harm ---------------------------------------------------------------------------------------------------

    def cut(self, *roles: str) -> None:
        """End every link that was dialled in one of these roles (none: in those of nodes), and every new one at once,
        until `heal`."""
        named = frozenset(roles or BETWEEN_NODES)
        self._cut |= named
        for writer, dialled_by in self._links.items():
            if dialled_by in named:
                self.cuts += 1
                writer.transport.abort()

    def hold(self) -> None:
        """Keep all bytes between nodes, both ways, until `heal`."""
        self._open.clear()

    def heal(self) -> None:
        """Do no more harm, and let go what was held."""
        self._cut = frozenset()
        self.delay_s = self.flip_chance = 0.0
        self._open.set()

    # ---- traffic ------------------------------------------------------------------------------------------------

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        with contextlib.ExitStack() as stack:
            stack.enter_context(contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError))
            stack.callback(writer.transport.abort)
            opening, hello = await self._read_hello(reader)
            if hello.role in self._cut:
                return
            inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", await self._target)
            stack.callback(inner_writer.transport.abort)
            inner_writer.write(opening)
            for end in (writer, inner_writer):
                self._links[end] = hello.role
                stack.callback(self._links.pop, end)
            there = self._pump(reader, inner_writer, hello.role)
            await asyncio.gather(there, self._pump(inner_reader, writer, hello.role))

    async def _read_hello(self, reader: asyncio.StreamReader) -> tuple[bytes, Hello]:
        opening = await reader.readexactly(len(PREAMBLE))
        decoder = FrameDecoder()
        while True:
            byte = await reader.readexactly(1)
            opening += byte
            for body in decoder.feed(byte):
                hello = decode_frame(body).messages[0].body
                assert isinstance(hello, Hello)
                self.cluster_id = hello.cluster_id
                return opening, hello

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, role: str) -> None:
        try:
            while data := await reader.read(CHUNK_BYTES):
                self.carried[role] += len(data)
                writer.write(await self._harm(data) if role in BETWEEN_NODES else data)
                await writer.drain()
        except OSError:
            pass
        finally:
            writer.close()

    async def _harm(self, data: bytes) -> bytes:
        if self.delay_s:
            self.slowed += 1
            await asyncio.sleep(self.delay_s * self._rng.uniform(0.5, 1.5))
        if not self._open.is_set():
            self.held += 1
            await self._open.wait()
        if self._rng.random() < self.flip_chance:
            self.flips += 1
            harmed = bytearray(data)
            harmed[self._rng.randrange(len(harmed))] ^= 1 << self._rng.randrange(8)
            return bytes(harmed)
        return data


def listening_port(pid: int) -> int | None:
    """The TCP port on which the process listens, None while it does not."""
    listening = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[3] == TCP_LISTEN:
            listening[f"socket:[{fields[9]}]"] = int(fields[1].rpartition(":")[2], 16)
    with contextlib.suppress(OSError):
        for handle in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                name = str(handle.readlink())
                if name in listening:
                    return listening[name]
    return None
