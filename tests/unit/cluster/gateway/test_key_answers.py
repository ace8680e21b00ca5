"""Answers to reads and puts: the bytes of the short form are those of the long one."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.answer import Renderer
from cluster.gateway.key_answers import found_answer, found_lines, plain_answer, plain_stored, stored_answer
from cluster.gateway.operations import Found, Stored
from kvstore.messages import Written
from kvstore.storage.records import carried, encode_value
from kvstore.versions import etag

VARYING = re.compile(rb"(Date|X-Request-Id): [^\r]*\r\n")
NUMBERS = st.integers(0, 2**64 - 1)
TYPES = st.from_regex(r"[a-z]{1,9}/[a-z]{1,9}(; [ -~]{0,9}[!-~])?", fullmatch=True)


@given(st.integers(1, 2**63), NUMBERS, NUMBERS, TYPES, st.binary(max_size=100))
def test_a_plain_answer_has_the_bytes_of_the_other_one(pid: int, epoch: int, seq: int, kind: str, value: bytes) -> None:
    renderer = Renderer()
    found = Found(value, kind, etag(pid, epoch, seq), None)
    whole = renderer.render(found_answer(found, found_lines(found)), is_head=False, is_http10=False, closes=False)
    row = encode_value(epoch, seq, 0, kind, value)
    plain = plain_answer(renderer.opening(), next(renderer.numbers), pid, row)
    assert plain is not None
    assert len(plain) == len(whole)
    assert VARYING.sub(rb"\1\n", plain) == VARYING.sub(rb"\1\n", whole)


@given(st.integers(1, 2**63), st.builds(Written, st.booleans(), NUMBERS, NUMBERS, st.integers(1, 9), NUMBERS))
def test_a_plain_answer_to_a_put_has_the_bytes_of_the_other_one(pid: int, written: Written) -> None:
    renderer = Renderer()
    stored = Stored(written.created, etag(written.origin or pid, written.epoch, written.seq), written.copies)
    whole = renderer.render(stored_answer(stored), is_head=False, is_http10=False, closes=False)
    plain = plain_stored(renderer, pid, written)
    assert len(plain) == len(whole)
    assert VARYING.sub(rb"\1\n", plain) == VARYING.sub(rb"\1\n", whole)


def test_of_what_has_an_end_or_came_from_elsewhere_there_is_more_to_tell() -> None:
    for row in (encode_value(1, 2, 3, "a/b", b""), carried(encode_value(1, 2, 0, "a/b", b""), 7), b"", b"\x01"):
        assert plain_answer(b"", 1, 7, row) is None
