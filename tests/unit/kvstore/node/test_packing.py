"""Chunks on their way: which are compressed, and what is refused that says it is one."""

from __future__ import annotations

import itertools
import random
from unittest.mock import Mock

import msgspec
import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from kvstore.codec import CodecError, encode_chunk
from kvstore.map_values import Rid
from kvstore.messages import Chunk, Done, PackedChunk
from kvstore.node.packing import PACKED_BYTES_MIN, PAUSE_CHUNKS_MAX, UNPACKED_BYTES_MAX, Packer, unpack

RNG = random.Random(1)
COPY, OTHER_COPY = Rid("n2", b"s" * 16), Rid("n2", b"t" * 16)


def chunk(row: bytes, rid: Rid = COPY, done: bool = False) -> Chunk:
    return Chunk(1, rid, 1, b"", b"\x00k", 7, [(b"\x00k", row)], done, 5)


def shrinking(size_bytes: int) -> bytes:
    return RNG.randbytes(size_bytes // 2).hex().encode()


DENSE = chunk(RNG.randbytes(100_000))
LOOSE = chunk(shrinking(100_000))


def pack(packer: Packer, one: Chunk) -> Chunk | PackedChunk:
    return packer.pack(one, one.size_bytes)


def packed(packer: Packer, *chunks: Chunk) -> list[bool]:
    return [isinstance(pack(packer, one), PackedChunk) for one in chunks]


# ---- what is compressed ---------------------------------------------------------------------------------------------


def test_a_chunk_that_shrinks_is_packed_and_comes_out_as_it_went_in() -> None:
    message = pack(Packer(), LOOSE)
    assert isinstance(message, PackedChunk)
    assert len(message.packed) < 0.6 * LOOSE.size_bytes
    assert unpack(message) == LOOSE


def test_a_chunk_that_does_not_shrink_is_sent_as_it_is() -> None:
    assert pack(Packer(), DENSE) is DENSE


def test_a_small_chunk_is_not_packed() -> None:
    assert packed(Packer(), chunk(bytes(PACKED_BYTES_MIN - 3)), chunk(bytes(PACKED_BYTES_MIN))) == [False, True]


def test_a_chunk_that_would_hold_the_loop_up_is_not_packed() -> None:
    assert packed(Packer(), chunk(bytes(UNPACKED_BYTES_MAX)), chunk(bytes(16 * 1024 * 1024))) == [False, False]


def test_nothing_is_packed_that_would_be_refused() -> None:
    rows = [(b"\x00%d" % number, b"") for number in range(UNPACKED_BYTES_MAX // 7)]
    many = Chunk(1, COPY, 1, b"", rows[-1][0], 7, rows, False, 5)
    assert many.size_bytes <= UNPACKED_BYTES_MAX < len(encode_chunk(many))
    assert pack(Packer(), many) is many


def test_the_largest_chunk_that_is_packed_is_unpacked() -> None:
    edge = chunk(bytes(UNPACKED_BYTES_MAX - 60))
    message = pack(Packer(), edge)
    assert isinstance(message, PackedChunk)
    assert unpack(message) == edge


def test_a_copy_whose_chunks_do_not_shrink_is_tried_ever_more_seldom(monkeypatch: pytest.MonkeyPatch) -> None:
    packer, trial = Packer(), Mock(side_effect=encode_chunk)
    monkeypatch.setattr("kvstore.node.packing.encode_chunk", trial)
    tries = []
    for number in range(200):
        pack(packer, DENSE)
        if trial.called:
            tries.append(number)
            trial.reset_mock()
    pauses = [later - earlier - 1 for earlier, later in itertools.pairwise(tries)]
    assert pauses[:6] == [1, 2, 4, 8, 16, 32]
    assert set(pauses[6:]) == {PAUSE_CHUNKS_MAX}


def test_chunks_that_shrink_again_are_packed_again() -> None:
    packer = Packer()
    assert packed(packer, DENSE, DENSE, DENSE, LOOSE, LOOSE) == [False] * 5
    assert packed(packer, *[LOOSE] * 3) == [True] * 3


def test_each_copy_is_judged_by_its_own_chunks() -> None:
    packer = Packer()
    assert packed(packer, DENSE, chunk(shrinking(100_000), OTHER_COPY), LOOSE) == [False, True, False]


def test_the_last_chunk_of_a_copy_leaves_nothing_behind() -> None:
    packer = Packer()
    packed(packer, DENSE, chunk(b"", done=True))
    assert not packer._pauses
    assert packed(packer, chunk(shrinking(100_000), done=True), LOOSE) == [True, True]


# ---- what is refused ------------------------------------------------------------------------------------------------


def frame(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=1).compress(content)


def saying(size_bytes: int, content: bytes) -> bytes:
    """A frame whose head tells another size than its content has (RFC 8878, 3.1.1.1: single segment, 8 bytes)."""
    head = zstandard.get_frame_parameters(frame(content))
    assert not head.has_checksum
    body = frame(content)[zstandard.frame_header_size(frame(content)) :]
    return b"\x28\xb5\x2f\xfd\xe0" + size_bytes.to_bytes(8, "little") + body


WHOLE = encode_chunk(LOOSE)


def test_a_frame_with_a_head_of_the_tests_own_is_read() -> None:
    assert unpack(PackedChunk(saying(len(WHOLE), WHOLE))) == LOOSE


@pytest.mark.parametrize(
    "data",
    [
        frame(encode_chunk(chunk(bytes(UNPACKED_BYTES_MAX)))),
        saying(1 << 40, WHOLE),
        saying((1 << 64) - 1, WHOLE),
        saying((1 << 64) - 2, WHOLE),
        saying(UNPACKED_BYTES_MAX, WHOLE),
        saying(len(WHOLE) - 1, WHOLE),
        saying(len(WHOLE) + 1, WHOLE),
        saying(0, WHOLE),
        zstandard.ZstdCompressor(write_content_size=False).compress(WHOLE),
    ],
    ids=["large", "tera", "unknown", "error", "more", "one less", "one more", "nothing", "untold"],
)
def test_a_size_that_is_too_large_or_a_lie_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        unpack(PackedChunk(data))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        frame(b""),
        frame(WHOLE) + b"x",
        frame(WHOLE) * 2,
        frame(WHOLE + b"\x00"),
        frame(b"\x93\x26\x01\x02"),
        frame(bytes(100_000)),
        b"\x50\x2a\x4d\x18\x04\x00\x00\x00skip",
    ],
    ids=["empty", "of nothing", "left over", "twice", "bytes left over", "another shape", "zeros", "skippable"],
)
def test_what_is_no_packed_chunk_is_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        unpack(PackedChunk(data))


def test_another_message_than_a_chunk_is_refused() -> None:
    with pytest.raises(CodecError):
        unpack(PackedChunk(frame(msgspec.msgpack.encode(Done()))))


SMALL = frame(encode_chunk(chunk(b"row " * 50)))


@pytest.mark.parametrize("length", range(len(SMALL)))
def test_a_frame_cut_short_anywhere_is_refused(length: int) -> None:
    with pytest.raises(CodecError):
        unpack(PackedChunk(SMALL[:length]))


@given(st.binary(max_size=100), st.integers(0, len(SMALL)))
def test_any_bytes_are_a_chunk_or_refused(data: bytes, place: int) -> None:
    try:
        assert isinstance(unpack(PackedChunk(SMALL[:place] + data + SMALL[place + len(data) :])), Chunk)
    except CodecError:
        return
