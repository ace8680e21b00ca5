"""Sending an answer of unknown length, piece by piece.

Guarantees: a piece is asked for when the one before it has left, so that no more is held than the client takes; the end
is marked only behind the last piece; whatever happens, the pieces are closed. Leaves to others: the connection
(`http_protocol`).
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from cluster.gateway.answer import LAST_CHUNK, StreamedAnswer, as_chunk
from cluster.gateway.http_request import Request

# Writes bytes and waits until they, so many with those before them, may be followed by others; False if they may not.
Send = Callable[[bytes, int], Awaitable[bool]]

# SO_LINGER on, for no time at all.
RESETS = struct.pack("ii", 1, 0)


def prepare_reset(transport: asyncio.Transport) -> None:
    """Have the connection end in a reset when it is aborted: where an answer has neither length nor chunks, a mere end
    would make a part of it pass for whole."""
    with contextlib.suppress(OSError):
        transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESETS)


async def send_pieces(answer: StreamedAnswer, request: Request, send: Send, size: int) -> bool:
    """Send all pieces behind the head, with the first of which `size` bytes were written.

    Returns:
        Whether the answer is whole.

    Raises:
        KvError: what the pieces raise.
    """
    async with aclosing(answer.pieces) as pieces:
        if request.method == "HEAD":
            return True
        if not await send(b"", size):
            return False
        async for piece in pieces:
            data = piece if request.is_http10 else as_chunk(piece)
            if not await send(data, len(data)):
                return False
    return request.is_http10 or await send(LAST_CHUNK, len(LAST_CHUNK))
