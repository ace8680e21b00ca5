"""Frames on a byte stream: a connection preamble, then bodies, each behind its length and checksum.

Guarantees: a decoder yields whole and undamaged bodies only, never more than its limit each, and holds at most one
unfinished frame; a damaged length is found before its body is waited for. Any violation raises `FramingError`,
after which the connection is closed. Leaves to others: what a body means (`codec`). Sans-IO.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import xxhash

PREAMBLE = b"KVR1"
FRAME_BYTES_MAX = 64 * 1024 * 1024

# The length, its complement, and the checksum of the body. TCP's own 16-bit checksum is too weak for messages whose
# single numbers (an epoch, the end of a log) decide what is safe.
_HEAD = struct.Struct(">IIQ")
HEAD_BYTES = _HEAD.size


class FramingError(ValueError):
    """The stream is not one of frames, or was damaged."""


def frame_bytes(body: bytes) -> bytes:
    """Put the head of a frame before `body`.

    Raises:
        FramingError: the body is too long.
    """
    length = len(body)
    if length > FRAME_BYTES_MAX:
        raise FramingError(f"frame of {length} bytes, at most {FRAME_BYTES_MAX} are allowed")
    return _HEAD.pack(length, length ^ 0xFFFFFFFF, xxhash.xxh3_64_intdigest(body)) + body


class FrameDecoder:
    """Cuts a stream into bodies. `frame_bytes_max` may be changed between any two of them."""

    def __init__(self, frame_bytes_max: int = FRAME_BYTES_MAX) -> None:
        self.frame_bytes_max = frame_bytes_max
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[bytes]:
        """Take what arrived and yield each body that is complete."""
        buffer = self._buffer
        # Most arrive whole, and need not be gathered.
        stream: bytes | bytearray = data
        if buffer:
            buffer += data
            stream = buffer
        start = 0
        try:
            while len(stream) - start >= HEAD_BYTES:
                length, complement, checksum = _HEAD.unpack_from(stream, start)
                if length ^ complement != 0xFFFFFFFF:
                    raise FramingError("the head of a frame is damaged")
                if length > self.frame_bytes_max:
                    raise FramingError(f"frame of {length} bytes announced, at most {self.frame_bytes_max} are allowed")
                end = start + HEAD_BYTES + length
                if len(stream) < end:
                    break
                body = bytes(memoryview(stream)[start + HEAD_BYTES : end])
                if xxhash.xxh3_64_intdigest(body) != checksum:
                    raise FramingError("frame with a wrong checksum")
                yield body
                start = end
        finally:
            if stream is buffer:
                del buffer[:start]
            else:
                buffer += stream[start:]
