"""Frames on a stream: whole bodies, however the stream is cut, and nothing beyond the limit."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.rpc.framing import FRAME_BYTES_MAX, HEAD_BYTES, FrameDecoder, FramingError, frame_bytes


def head(length: int) -> bytes:
    """The head of a frame whose body does not matter."""
    return struct.pack(">IIQ", length, length ^ 0xFFFFFFFF, 0)


BODIES = st.lists(st.binary(max_size=60), max_size=6)


@given(BODIES, st.data())
def test_bodies_come_out_whole_wherever_the_stream_is_cut(bodies: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(map(frame_bytes, bodies))
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    decoder = FrameDecoder()
    pieces = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    assert [body for piece in pieces for body in decoder.feed(piece)] == bodies


def test_bodies_come_out_whole_byte_by_byte() -> None:
    bodies = [b"", b"a", b"bc" * 200, b""]
    decoder = FrameDecoder()
    stream = b"".join(map(frame_bytes, bodies))
    assert [body for position in range(len(stream)) for body in decoder.feed(stream[position : position + 1])] == bodies


def test_a_stream_that_breaks_after_a_good_body_is_broken() -> None:
    with pytest.raises(FramingError):
        list(FrameDecoder().feed(frame_bytes(b"good") + b"\xff" * HEAD_BYTES))


def test_a_flipped_bit_anywhere_is_found_before_the_body_comes_out() -> None:
    frame = frame_bytes(b"the end of a log is 7")
    for bit in range(len(frame) * 8):
        damaged = bytearray(frame)
        damaged[bit // 8] ^= 1 << bit % 8
        with pytest.raises(FramingError):
            list(FrameDecoder().feed(bytes(damaged)))


@pytest.mark.parametrize("length", [FRAME_BYTES_MAX + 1, 2**31, 2**32 - 1])
def test_a_huge_announced_length_is_refused_before_anything_is_held(length: int) -> None:
    with pytest.raises(FramingError, match=str(length)):
        list(FrameDecoder().feed(head(length)))


def test_a_decoder_with_a_limit_of_its_own_refuses_beyond_it_until_it_has_another() -> None:
    decoder = FrameDecoder(4)
    assert list(decoder.feed(frame_bytes(b"1234"))) == [b"1234"]
    decoder.frame_bytes_max = 5
    assert list(decoder.feed(frame_bytes(b"12345"))) == [b"12345"]
    with pytest.raises(FramingError, match="at most 5"):
        list(decoder.feed(frame_bytes(b"123456")))


def test_the_largest_length_is_waited_for() -> None:
    assert list(FrameDecoder().feed(head(FRAME_BYTES_MAX) + b"x")) == []


def test_a_body_beyond_the_limit_is_not_framed() -> None:
    with pytest.raises(FramingError):
        frame_bytes(bytes(FRAME_BYTES_MAX + 1))


@given(st.lists(st.binary(max_size=30), max_size=10))
def test_no_stream_gives_anything_but_bodies_or_a_refusal(pieces: list[bytes]) -> None:
    decoder = FrameDecoder()
    try:
        bodies = [body for piece in pieces for body in decoder.feed(piece)]
    except FramingError:
        return
    assert sum(len(body) + HEAD_BYTES for body in bodies) <= sum(map(len, pieces))
