"""Chunks of data compressed for their way between nodes.

Guarantees: a chunk is compressed where that pays: not a small one, not one so large that it would hold the loop up,
and of a copy whose chunks did not shrink only now and then one, to see whether they do by now. What is unpacked is
never larger than `UNPACKED_BYTES_MAX`, whatever it says of itself; it is a whole chunk, or `CodecError` is raised.
Leaves to others: the way (`bulk`), what is in a chunk (`replication.backfill`).
"""

from __future__ import annotations

from dataclasses import dataclass

import zstandard

from kvstore.codec import CodecError, decode_chunk, encode_chunk
from kvstore.map_values import Rid
from kvstore.messages import Chunk, PackedChunk

LEVEL = 1
PACKED_BYTES_MIN = 4 * 1024
# Up to here it takes less than a millisecond.
UNPACKED_BYTES_MAX = 512 * 1024
SHARE_MAX = 0.8
PAUSE_CHUNKS_MAX = 32

_COMPRESSOR = zstandard.ZstdCompressor(level=LEVEL)
_DECOMPRESSOR = zstandard.ZstdDecompressor(max_window_size=UNPACKED_BYTES_MAX)


@dataclass
class _Pause:
    """How many chunks of a copy are not even tried: of the pause at hand, and how many are left of it."""

    chunks: int = 0
    left: int = 0


class Packer:
    """What is sent to one node: remembers of each copy that is being filled whether its chunks shrink."""

    def __init__(self) -> None:
        self._pauses: dict[Rid, _Pause] = {}

    def pack(self, chunk: Chunk, size_bytes: int) -> Chunk | PackedChunk:
        """The chunk, which holds so much data, as it should be sent."""
        pause = self._pauses.setdefault(chunk.rid, _Pause())
        if chunk.done:
            del self._pauses[chunk.rid]
        if not PACKED_BYTES_MIN <= size_bytes <= UNPACKED_BYTES_MAX:
            return chunk
        if pause.left:
            pause.left -= 1
            return chunk
        data = encode_chunk(chunk)
        if len(data) > UNPACKED_BYTES_MAX:
            return chunk
        packed = _COMPRESSOR.compress(data)
        if len(packed) < SHARE_MAX * len(data):
            pause.chunks = 0
            return PackedChunk(packed)
        # A single chunk that does not shrink costs little; where none do, next to nothing is tried any more.
        pause.chunks = pause.left = min(max(1, 2 * pause.chunks), PAUSE_CHUNKS_MAX)
        return chunk


def unpack(message: PackedChunk) -> Chunk:
    """The chunk that was packed.

    Raises:
        CodecError: it is not one, or would be too large.
    """
    try:
        # The library makes room for as much as the frame says, so that is looked at first.
        size_bytes = zstandard.frame_content_size(message.packed)
        if not 0 <= size_bytes <= UNPACKED_BYTES_MAX:
            raise CodecError(f"packed data of {size_bytes} bytes, at most {UNPACKED_BYTES_MAX} are allowed")
        return decode_chunk(_DECOMPRESSOR.decompress(message.packed, allow_extra_data=False))
    except zstandard.ZstdError as error:
        raise CodecError(str(error)) from error
