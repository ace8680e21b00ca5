"""Connections for the data of copies that are filled, and of transfers, beside those of replication.

Guarantees: a chunk, however large, stands before no row, ack or ping in a socket's queue. The node that pulls dials
when there is something to ask, and closes what was not used for `IDLE_S`; a chunk goes back on the connection on which
it was asked for, and where that is gone it is lost. Leaves to others: asking again (`filling`), who can be reached
(the links of replication), what is compressed (`packing`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from kvstore.codec import CodecError
from kvstore.messages import Chunk, Envelope, KeysPiece, PackedChunk, PullChunk, PullKeys
from kvstore.node.packing import Packer, unpack
from kvstore.rpc.client import Identity, Link
from kvstore.rpc.connection import PRIORITY_DATA, Connection

ROLE = "bulk"
IDLE_S = 30.0

Pull = PullChunk | PullKeys
Carried = Chunk | KeysPiece

log = structlog.get_logger("node")


class BulkLink:
    """The connection on which this node asks one peer.

    Args:
        peer: the link of replication to it.
        take: gets each chunk or piece that comes, with the peer's id.
    """

    def __init__(self, peer: Link, identity: Identity, take: Callable[[str, Carried], None]) -> None:
        self.used_s = 0.0
        self._take = take
        self._waiting: Pull | None = None
        self._loop = asyncio.get_running_loop()
        self._link = Link(peer.node_id, peer.address, identity, self._handle, on_up=self._on_up)
        self._link.start()

    def ask(self, pull: Pull) -> None:
        """Ask at once, or when there is a connection; of what waits for one only the last is asked."""
        self.used_s = self._loop.time()
        self._waiting = None if self._link.cast(pull) else pull

    async def close(self) -> None:
        """Cut the connection and dial no more."""
        await self._link.close()

    def _on_up(self, connection: Connection) -> None:
        if self._waiting is not None:
            connection.cast(self._waiting)
            self._waiting = None

    def _handle(self, connection: Connection, envelope: Envelope) -> None:
        body = envelope.body
        self.used_s = self._loop.time()
        if isinstance(body, PackedChunk):
            try:
                body = unpack(body)
            except CodecError as error:
                log.warning("bad_chunk", node=connection.peer, reason=str(error))
                connection.close(f"bad chunk: {error}")
                return
        if isinstance(body, Carried):
            self._take(connection.peer, body)
        else:
            connection.close(f"unexpected message {type(body).__name__}")


class BulkLinks:
    """Those of all peers. `identity`: asked at each new one."""

    def __init__(self, identity: Callable[[], Identity], take: Callable[[str, Carried], None]) -> None:
        self._identity = identity
        self._take = take
        self._links: dict[str, BulkLink] = {}
        self._closing: set[asyncio.Task[None]] = set()

    def ask(self, peer: Link, pull: Pull) -> None:
        """Ask that peer for data."""
        link = self._links.get(peer.node_id)
        if link is None:
            link = self._links[peer.node_id] = BulkLink(peer, self._identity(), self._take)
        link.ask(pull)

    def forget(self, node: str) -> None:
        """The peer is not there any more, or has moved."""
        link = self._links.pop(node, None)
        if link is not None:
            task = asyncio.create_task(link.close())
            self._closing.add(task)
            task.add_done_callback(self._closing.discard)

    def close_idle(self, now_s: float) -> None:
        """Close those on which nothing was asked and nothing came for a while."""
        for node in [node for node, link in self._links.items() if now_s - link.used_s >= IDLE_S]:
            self.forget(node)

    async def close(self) -> None:
        """Close all."""
        for node in list(self._links):
            self.forget(node)
        await asyncio.gather(*self._closing)


class BulkAnswers:
    """The connections on which peers ask this node.

    Args:
        sent: told of each chunk that left its size and that of what was sent for it.
    """

    def __init__(self, sent: Callable[[int, int], None]) -> None:
        self._sent = sent
        self._asking: dict[str, tuple[Connection, Packer]] = {}

    def asked(self, connection: Connection) -> None:
        """Its peer asks on this connection from now on."""
        known = self._asking.get(connection.peer)
        if known is None or known[0] is not connection:
            self._asking[connection.peer] = (connection, Packer())

    def answer(self, node: str, chunk: Carried) -> None:
        """Send the chunk, or the piece, to where that node asked last."""
        known = self._asking.get(node)
        if known is None:
            return
        connection, packer = known
        size_bytes = chunk.size_bytes
        body = packer.pack(chunk, size_bytes) if isinstance(chunk, Chunk) else chunk
        if connection.cast(body, PRIORITY_DATA):
            self._sent(size_bytes, len(body.packed) if isinstance(body, PackedChunk) else size_bytes)

    def closed(self, connection: Connection) -> None:
        """The connection is gone, if it was one of these."""
        known = self._asking.get(connection.peer)
        if known is not None and known[0] is connection:
            del self._asking[connection.peer]
