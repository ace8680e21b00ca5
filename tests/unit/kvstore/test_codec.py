"""Messages: what goes in comes out; whatever else arrives is a CodecError and nothing more."""

from __future__ import annotations

import struct
from enum import Enum
from typing import Any, get_args, get_origin

import msgpack
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kvstore.codec import FORMAT, CodecError, decode_entry, decode_frame, encode_entry, encode_frame
from kvstore.keys import KEY_BYTES_MAX
from kvstore.map_values import Bound, Count, Entry, KeyspaceInfo, NodeInfo, Rid
from kvstore.messages import (
    TTL_MS_MAX,
    Append,
    AtLeastOne,
    Body,
    ContentType,
    Done,
    Envelope,
    Failed,
    Fault,
    Frame,
    Hello,
    ItemFormNumber,
    Key,
    MapUpdate,
    Read,
    ReadOne,
    ReadResult,
    StoredBytes,
    Token,
    TtlMs,
    TxnToken,
    Write,
    WriteOne,
    WriteResult,
    Written,
)

CLUSTER = b"cluster1"
WHOLE = 2**32 - 1

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(0, 2**63),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    bytes: st.binary(max_size=20),
    str: st.text(max_size=10),
    type(None): st.none(),
}
LIMITED: dict[Any, st.SearchStrategy[Any]] = {
    Bound: st.binary(max_size=KEY_BYTES_MAX + 1),
    Key: st.binary(min_size=1, max_size=KEY_BYTES_MAX),
    StoredBytes: st.binary(max_size=100),
    ContentType: st.text(max_size=255),
    TtlMs: st.integers(1, TTL_MS_MAX),
    Token: st.binary(max_size=255),
    Count: st.integers(0, 2**62 - 1),
    AtLeastOne: st.integers(1, 2**62 - 1),
    ItemFormNumber: st.integers(0, 1),
    TxnToken: st.binary(min_size=16, max_size=32),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type."""
    if kind in SCALARS:
        return SCALARS[kind]
    if isinstance(kind, type) and issubclass(kind, Enum):
        return st.sampled_from(kind)
    arguments = get_args(kind)
    if kind in LIMITED:
        return LIMITED[kind]
    if get_origin(kind) is list:
        return st.lists(values(arguments[0]), max_size=2)
    if get_origin(kind) is tuple and arguments[-1] is ...:
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if get_origin(kind) is tuple:
        return st.tuples(*map(values, arguments))
    if arguments:
        return st.one_of(*map(values, arguments))
    return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})


FRAMES = st.builds(
    Frame,
    format=st.just(FORMAT),
    cluster_id=st.binary(max_size=8),
    priority=st.integers(0, 1),
    messages=st.lists(st.builds(Envelope, st.integers(-(2**40), 2**40), values(int), values(Body)), max_size=3),
)


def frame(*bodies: Body) -> Frame:
    return Frame(FORMAT, CLUSTER, 0, [Envelope(7, 1000, body) for body in bodies])


SAMPLE = encode_frame(
    frame(
        Hello(CLUSTER, "n1", "gateway", 1),
        Write([WriteOne(1, 2, b"key", b"value", "text/plain", 5000, None, "*"), WriteOne(1, 2, b"k", None)]),
        WriteResult([Written(True, 1, 2, 2), Fault("wrong_leader", "moved", Entry(1, "default", 2, 1, None, (), ()))]),
        ReadResult(1, [b"row", None, Fault("no_leader", "none")]),
        MapUpdate(3, [NodeInfo("n1", "h:1", "z", 1.5, 1)], [], [KeyspaceInfo("default", "consistent", (1, 2), 2, 1)]),
        Append(1, Rid("n2", b"s" * 16), 3, 4, 2**64 - 1, 3, [b"row"]),
        Failed(Fault("conflict", "no")),
        Done(),
    )
)


@settings(max_examples=150)
@given(FRAMES)
def test_every_message_comes_out_as_it_went_in(sent: Frame) -> None:
    assert decode_frame(encode_frame(sent)) == sent


@pytest.mark.parametrize("length", range(len(SAMPLE)))
def test_a_frame_cut_short_anywhere_is_refused(length: int) -> None:
    with pytest.raises(CodecError):
        decode_frame(SAMPLE[:length])


def test_a_frame_with_bytes_left_over_is_refused() -> None:
    with pytest.raises(CodecError):
        decode_frame(SAMPLE + b"\x00")


@pytest.mark.parametrize("bit", range(8))
def test_a_flipped_bit_gives_another_frame_or_a_refusal(bit: int) -> None:
    for offset in range(len(SAMPLE)):
        damaged = bytearray(SAMPLE)
        damaged[offset] ^= 1 << bit
        decode_or_refuse(bytes(damaged))


@settings(max_examples=300)
@given(st.binary(max_size=200))
def test_no_bytes_are_answered_by_anything_but_a_frame_or_a_refusal(data: bytes) -> None:
    decode_or_refuse(data)


def decode_or_refuse(data: bytes) -> None:
    try:
        decoded = decode_frame(data)
    except CodecError:
        return
    assert isinstance(decoded, Frame)


def inside(raw: bytes) -> bytes:
    """A frame whose list of messages is `raw`."""
    return b"\x94\x01" + msgpack.packb(CLUSTER) + b"\x00" + raw


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(inside(b"\xdd" + struct.pack(">I", WHOLE)), id="array32"),
        pytest.param(inside(b"\xdf" + struct.pack(">I", WHOLE)), id="map32"),
        pytest.param(inside(b"\xc6" + struct.pack(">I", WHOLE)), id="bin32"),
        pytest.param(b"\x94\x01\xc6" + struct.pack(">I", WHOLE), id="bin32 where bytes stand"),
        pytest.param(b"\xdd" + struct.pack(">I", WHOLE), id="a frame of array32"),
        pytest.param(inside(b"\x91\x93\x01\x00\x95\x0a\xdd" + struct.pack(">I", WHOLE)), id="array32 inside a message"),
        pytest.param(inside(b"\x91\xc7\x05\x01aaaaa"), id="ext"),
        pytest.param(inside(b"\x91\xd7\xff" + b"\xff" * 8), id="timestamp with bad nanoseconds"),
        pytest.param(inside(b"\x91\x93\x01\x00" + msgpack.packb([1, b"", b"\xff\xfe", "r", 1])), id="bytes for text"),
        pytest.param(inside(b"\x91\x93\x01\x00\x95\x01\xc4\x00\xa2\xff\xfe\xa1r\x01"), id="invalid UTF-8"),
        pytest.param(inside(msgpack.packb([[1, 0, [99]]])), id="a tag that nobody has"),
        pytest.param(inside(msgpack.packb([[1.5, 0, [4]]])), id="a float for an integer"),
        pytest.param(inside(msgpack.packb([[True, 0, [4]]])), id="a bool for an integer"),
        pytest.param(inside(msgpack.packb([[1, 0, {"a": 1}]])), id="a map for a message"),
        pytest.param(inside(msgpack.packb([[1, 0, [10, [[1, 1]]]]])), id="a field missing"),
        pytest.param(inside(b"\x90" * (1 << 20)), id="a mebibyte of empty arrays"),
        pytest.param(inside(b"\xdd\x00\x10\x00\x00" + b"\x80" * (1 << 20)), id="a mebibyte of empty maps"),
    ],
)
def test_hostile_frames_are_refused(data: bytes) -> None:
    with pytest.raises(CodecError):
        decode_frame(data)


@pytest.mark.parametrize("depth", [17, 1000, 1100, 100_000])
@pytest.mark.parametrize("opening", [b"\x91", b"\x81\x00"])
def test_deep_nesting_is_refused_or_skipped(depth: int, opening: bytes) -> None:
    with pytest.raises(CodecError):
        decode_frame(inside(opening * depth + b"\x90"))
    decode_or_refuse(b"\x95" + inside(b"\x90")[1:] + opening * depth + b"\x90")


@pytest.mark.parametrize(
    "body",
    [
        Hello(CLUSTER, "control", "control", FORMAT, 2**64 - 1),
        Hello(CLUSTER, "control", "control", FORMAT, 2**62),
        Hello(CLUSTER, "control", "control", FORMAT, -1),
        Read([ReadOne(1, 1, b"")]),
        Read([ReadOne(1, 1, b"k" * 481)]),
        Write([WriteOne(1, 1, b"", b"v")]),
        Write([WriteOne(1, 1, b"k" * 481, None)]),
        Write([WriteOne(1, 1, b"k", b"v", "t" * 256)]),
        Write([WriteOne(1, 1, b"k", b"v", "", 0)]),
        Write([WriteOne(1, 1, b"k", b"v", "", -1)]),
        Write([WriteOne(1, 1, b"k", b"v", "", 2**63)]),
        Write([WriteOne(1, 1, b"k", b"v", token=b"t" * 256)]),
    ],
    ids=lambda body: repr(body)[:60],
)
def test_a_request_that_no_row_could_hold_is_refused(body: Body) -> None:
    with pytest.raises(CodecError):
        decode_frame(encode_frame(frame(body)))


def test_the_largest_key_and_time_to_live_are_taken() -> None:
    largest = frame(Read([ReadOne(1, 1, b"k" * 480)]), Write([WriteOne(1, 1, b"k" * 480, b"v", "t" * 255, TTL_MS_MAX)]))
    assert decode_frame(encode_frame(largest)) == largest


def test_a_frame_of_another_format_is_refused_in_words() -> None:
    other = encode_frame(Frame(FORMAT + 1, CLUSTER, 0, []))
    with pytest.raises(CodecError, match=f"format {FORMAT + 1}"):
        decode_frame(other)


def test_no_two_kinds_of_message_share_a_tag() -> None:
    tags = [kind.__struct_config__.tag for kind in get_args(Body)]
    assert len(set(tags)) == len(tags)


ENTRY = Entry(1, "default", 3, 2, Rid("n1", b"1" * 16), (Rid("n1", b"1" * 16),), (Rid("n1", b"1" * 16),), leader_boot=4)


@given(values(Entry))
def test_a_stored_entry_comes_out_as_it_went_in(entry: Entry) -> None:
    assert decode_entry(encode_entry(entry)) == entry


def test_a_damaged_entry_is_another_entry_or_a_refusal() -> None:
    row = encode_entry(ENTRY)
    damaged: list[Any] = [row[:length] for length in range(len(row))]
    for offset in range(len(row)):
        for bit in range(8):
            flipped = bytearray(row)
            flipped[offset] ^= 1 << bit
            damaged.append(bytes(flipped))
    refused = 0
    for data in damaged:
        try:
            assert isinstance(decode_entry(data), Entry)
        except CodecError:
            refused += 1
    assert refused >= len(row)
