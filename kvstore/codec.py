"""Bytes of messages: MessagePack, typed and strict.

Guarantees: `decode_frame` either returns a frame whose every field has the declared type, or raises `CodecError`;
sizes are bounded by the frame's length, depth by the types (an untyped container exists nowhere). Leaves to others:
where a frame begins and ends (`rpc.framing`). Sans-IO.
"""

from __future__ import annotations

import msgspec

from kvstore.map_values import Entry
from kvstore.messages import Chunk, Frame

FORMAT = 1

_ENCODER = msgspec.msgpack.Encoder()
_FRAME = msgspec.msgpack.Decoder(Frame)
_ENTRY = msgspec.msgpack.Decoder(Entry)
_CHUNK = msgspec.msgpack.Decoder(Chunk)


class CodecError(ValueError):
    """Bytes that are no valid message of this format."""


def encode_frame(frame: Frame) -> bytes:
    return _ENCODER.encode(frame)


def decode_frame(data: bytes) -> Frame:
    """Decode one frame's body.

    Raises:
        CodecError: it is not MessagePack, not of the declared shape, has bytes left over, or is of another format.
    """
    try:
        frame = _FRAME.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(str(error)) from error
    if frame.format != FORMAT:
        raise CodecError(f"frame format {frame.format}, this process speaks {FORMAT}")
    return frame


def encode_entry(entry: Entry) -> bytes:
    return _ENCODER.encode(entry)


def decode_entry(data: bytes) -> Entry:
    """Decode a stored map entry; raises CodecError as `decode_frame` does."""
    try:
        return _ENTRY.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(str(error)) from error


def encode_chunk(chunk: Chunk) -> bytes:
    return _ENCODER.encode(chunk)


def decode_chunk(data: bytes) -> Chunk:
    """Decode a chunk that stood by itself; raises CodecError as `decode_frame` does."""
    try:
        return _CHUNK.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise CodecError(str(error)) from error
