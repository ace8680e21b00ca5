"""Many clients whose transactions all name one key, and a key of their own in another partition.

Guarantees: each client has one transaction under way, and sends it again at once where it lost (409) or was refused
(503), until it is carried out; all of them count the one key up, so at the end it tells how often that happened. Leaves
to others: the cluster, and what the figures should be (`txn_bench`).
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import cast

import httptools

from kvstore.errors import OperatorError

RESENT = frozenset({409, 503})


@dataclass
class HotKeyTally:
    """What the clients came to: `answers` by status, `in_time` those carried out within `seconds`, and the longest that
    a client waited until its transaction was."""

    seconds: float = 0.0
    in_time: int = 0
    answers: Counter[int] = field(default_factory=Counter)
    waited_s_max: float = 0.0

    @property
    def committed(self) -> int:
        return self.answers[200]


class HotKeyClient(asyncio.Protocol):
    """One client on one connection.

    Args:
        wire: its transaction as it goes over the wire.
        tally: of all clients.
    """

    def __init__(self, wire: bytes, tally: HotKeyTally) -> None:
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wire = wire
        self._tally = tally
        self._parser = httptools.HttpResponseParser(self)
        self._transport: asyncio.Transport | None = None
        self._began_s = 0.0
        self._is_over = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._began_s = time.monotonic()
        self._transport.write(self._wire)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_message_complete(self) -> None:
        assert self._transport is not None
        status, now_s = self._parser.get_status_code(), time.monotonic()
        self._tally.answers[status] += 1
        if status == 200:
            self._note_wait(now_s)
            self._began_s = now_s
        elif status not in RESENT:
            self._end(OperatorError(f"a transaction on the hot key was answered with {status}"))
            return
        if self._is_over:
            self._end(None)
        else:
            self._transport.write(self._wire)

    def connection_lost(self, error: Exception | None) -> None:
        self._end(OperatorError(f"a connection was lost: {error}"))

    def stop(self) -> None:
        """End with the next answer; who still waits to be carried out has waited until now at least."""
        self._is_over = True
        self._note_wait(time.monotonic())

    def _note_wait(self, now_s: float) -> None:
        self._tally.waited_s_max = max(self._tally.waited_s_max, now_s - self._began_s)

    def _end(self, error: Exception | None) -> None:
        if self.ended.done():
            return
        if error is None:
            self.ended.set_result(None)
        else:
            self.ended.set_exception(error)
        assert self._transport is not None
        self._transport.close()


async def run_hot_key(host: str, port: int, hot: str, others: Sequence[str], seconds: float) -> HotKeyTally:
    """One client for each of `others`, for so many seconds.

    Raises:
        OperatorError: a client got an answer that is neither success nor an invitation to try again, or none.
    """
    tally = HotKeyTally()
    loop = asyncio.get_running_loop()
    clients = []
    began_s = time.monotonic()
    for other in others:
        factory = partial(HotKeyClient, wire_of(host, hot, other), tally)
        _, client = await loop.create_connection(factory, host, port)
        clients.append(client)
    await asyncio.wait([client.ended for client in clients], timeout=seconds, return_when=asyncio.FIRST_EXCEPTION)
    tally.seconds, tally.in_time = time.monotonic() - began_s, tally.committed
    for client in clients:
        client.stop()
    await asyncio.gather(*(client.ended for client in clients))
    return tally


def wire_of(host: str, hot: str, other: str) -> bytes:
    """A request that counts both keys up."""
    ops = ",".join(f'{{"op":"incr","key":"{key}","by":1}}' for key in (hot, other))
    body = f'{{"then":[{ops}]}}'.encode()
    head = f"POST /v1/txn HTTP/1.1\r\nHost: {host}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n"
    return f"{head}\r\n".encode() + body
