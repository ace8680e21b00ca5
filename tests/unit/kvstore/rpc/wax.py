"""Ends of connections on a transport of wax: every byte and every pause is seen, nothing happens by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kvstore.codec import FORMAT, decode_frame, encode_frame
from kvstore.map_values import Rid
from kvstore.messages import Acked, Body, Envelope, Frame
from kvstore.rpc.connection import Connection
from kvstore.rpc.framing import PREAMBLE, FrameDecoder, frame_bytes

CLUSTER = b"cluster1"
CAST = Acked(1, Rid("n", b"s"), 1, 2, 3, False)


class WaxTransport(asyncio.Transport):
    """Keeps what is written; is lost when it is told."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[bytes] = []
        self.reads = True
        self.protocol: asyncio.BaseProtocol | None = None
        self.is_aborted = False

    def write(self, data: Any) -> None:
        self.writes.append(bytes(data))

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None:
        pass

    def pause_reading(self) -> None:
        self.reads = False

    def resume_reading(self) -> None:
        self.reads = True

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def abort(self) -> None:
        self.is_aborted = True

    def close(self) -> None:
        self.is_aborted = True

    def envelopes(self, start: int = 0) -> list[list[Envelope]]:
        """What each write since `start` held."""
        held = []
        for data in self.writes[start:]:
            frames = [decode_frame(body) for body in FrameDecoder().feed(data.removeprefix(PREAMBLE))]
            held.append([envelope for frame in frames for envelope in frame.messages])
        return [envelopes for envelopes in held if envelopes]


class End:
    """One end, with all that its handler got."""

    def __init__(
        self,
        *,
        dialled: bool,
        fallback: Callable[[], asyncio.Protocol] | None = None,
        hello_timeout_s: float | None = None,
    ) -> None:
        self.got: list[Envelope] = []
        self.closed = 0
        self.transport = WaxTransport()
        self.connection = Connection(
            lambda _, envelope: self.got.append(envelope),
            cluster_id=CLUSTER if dialled else None,
            dialled=dialled,
            on_closed=self._on_closed,
            fallback=fallback,
            hello_timeout_s=hello_timeout_s,
        )
        self.connection.connection_made(self.transport)

    def _on_closed(self, connection: Connection, error: Exception | None) -> None:
        assert connection is self.connection
        self.closed += 1

    def receive(self, *bodies: Body, call: int = 0, cluster_id: bytes = CLUSTER) -> None:
        frame = Frame(FORMAT, cluster_id, 0, [Envelope(call, 1000, body) for body in bodies])
        self.connection.data_received(frame_bytes(encode_frame(frame)))
