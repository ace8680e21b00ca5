"""What a frame of 32 reads or writes costs to encode and to decode, and a plain request to recognise."""

from __future__ import annotations

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from cluster.gateway.fast_requests import recognise
from kvstore.codec import FORMAT, decode_frame, encode_frame
from kvstore.messages import Envelope, Frame, Read, ReadOne, ReadResult, Write, WriteOne

COUNT = 32
VALUE = b"v" * 100
KEYS = [b"b100-%06d" % number for number in range(COUNT)]
BODIES = {
    "reads": Read([ReadOne(number, 7, key) for number, key in enumerate(KEYS)]),
    "rows": ReadResult(1, [VALUE] * COUNT),
    "writes": Write(
        [WriteOne(number, 7, key, VALUE, origin=3, number=number) for number, key in enumerate(KEYS)],
    ),
}
FRAMES = {name: Frame(FORMAT, b"c" * 8, 0, [Envelope(1, 5000, body)]) for name, body in BODIES.items()}
REQUESTS = {
    "get": b"GET /v1/kv/b100-000001 HTTP/1.1\r\nHost: bench\r\n\r\n",
    "put": b"PUT /v1/kv/b100-000001 HTTP/1.1\r\nHost: bench\r\nContent-Length: 100\r\n\r\n" + VALUE,
}


@pytest.mark.parametrize("name", FRAMES)
def test_encode_a_frame_of_32(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(encode_frame, FRAMES[name])


@pytest.mark.parametrize("name", FRAMES)
def test_decode_a_frame_of_32(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(decode_frame, encode_frame(FRAMES[name])) == FRAMES[name]


@pytest.mark.parametrize("name", REQUESTS)
def test_recognise_a_request(benchmark: BenchmarkFixture, name: str) -> None:
    assert benchmark(recognise, REQUESTS[name]) is not None
