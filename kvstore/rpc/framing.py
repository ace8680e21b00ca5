"""Frames on a byte stream: a connection preamble, then length-prefixed bodies.

Guarantees: a decoder yields whole bodies only, never more than `FRAME_BYTES_MAX` each, and holds at most one
unfinished frame. Any violation raises `FramingError`, after which the connection is closed. Leaves to others: what a
body means (`codec`). Sans-IO.
"""

from __future__ import annotations

import struct

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
        self._parts: list[bytes] = []
        self._held_bytes = 0
        self._needed_bytes = 4

    def feed(self, data: bytes) -> list[bytes]:
        """Take what arrived; returns each body that is complete.

        Raises:
            FramingError: a frame longer than allowed is announced.
        """
        if self._parts:
            self._parts.append(data)
            self._held_bytes += len(data)
            if self._held_bytes < self._needed_bytes:
                return []
            data = b"".join(self._parts)
            self._parts = []
        bodies = []
        start, total = 0, len(data)
        self._needed_bytes = 4
        while total - start >= 4:
            (length,) = _LENGTH.unpack_from(data, start)
            if length > FRAME_BYTES_MAX:
                raise FramingError(f"frame of {length} bytes announced, at most {FRAME_BYTES_MAX} are allowed")
            end = start + 4 + length
            if end > total:
                self._needed_bytes = 4 + length
                break
            bodies.append(data[start + 4 : end])
            start = end
        if start < total:
            self._parts = [data[start:]]
            self._held_bytes = total - start
        return bodies
