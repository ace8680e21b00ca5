"""Frames on a byte stream: a connection preamble, then length-prefixed bodies.

Guarantees: a decoder yields whole bodies only, never more than `FRAME_BYTES_MAX` each, and holds at most one
unfinished frame. Any violation raises `FramingError`, after which the connection is closed. Leaves to others: what a
body means (`codec`). Sans-IO.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

PREAMBLE = b"KVR1"
FRAME_BYTES_MAX = 64 * 1024 * 1024

_LENGTH = struct.Struct(">I")


class FramingError(ValueError):
    """The stream is not one of frames."""


def frame_bytes(body: bytes) -> bytes:
    """Prefix `body` with its length (4 bytes, big endian)."""
    if len(body) > FRAME_BYTES_MAX:
        raise FramingError(f"frame of {len(body)} bytes, at most {FRAME_BYTES_MAX} are allowed")
    return _LENGTH.pack(len(body)) + body


class FrameDecoder:
    """Cuts a stream into bodies."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield each body that is complete."""
        buffer = self._buffer
        buffer += data
        start = 0
        try:
            while len(buffer) - start >= 4:
                (length,) = _LENGTH.unpack_from(buffer, start)
                if length > FRAME_BYTES_MAX:
                    raise FramingError(f"frame of {length} bytes announced, at most {FRAME_BYTES_MAX} are allowed")
                end = start + 4 + length
                if len(buffer) < end:
                    break
                yield bytes(memoryview(buffer)[start + 4 : end])
                start = end
        finally:
            del buffer[:start]
