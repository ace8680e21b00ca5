"""Requests and answers on their way between a worker and control."""

from __future__ import annotations

from typing import Any, get_args, get_origin

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.control import codec
from cluster.control.messages import AdmitNode, Admitted, Answer, ClusterStatus, Readiness, Ready, Request
from kvstore.codec import CodecError
from kvstore.map_values import Count

SCALARS: dict[Any, st.SearchStrategy[Any]] = {
    int: st.integers(-(2**40), 2**62),
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(max_size=10),
    bytes: st.binary(max_size=10),
    type(None): st.none(),
    Count: st.integers(0, 2**40),
}


def values(kind: Any) -> st.SearchStrategy[Any]:
    """Values of a declared type."""
    if kind in SCALARS:
        return SCALARS[kind]
    arguments = get_args(kind)
    if get_origin(kind) is tuple:
        if arguments[-1] is not ...:
            return st.tuples(*map(values, arguments))
        return st.lists(values(arguments[0]), max_size=2).map(tuple)
    if arguments:
        return st.one_of(*map(values, arguments))
    return st.builds(kind, **{field.name: values(field.type) for field in msgspec.structs.fields(kind)})


def test_every_request_has_its_answer() -> None:
    assert set(codec.ANSWERS) == set(get_args(Request))
    assert set(codec.ANSWERS.values()) == set(get_args(Answer))


@given(values(Request))
def test_a_request_arrives_as_it_was(request: Any) -> None:
    assert codec.decode_request(codec.encode(request)) == request


@given(st.sampled_from(sorted(codec.ANSWERS, key=repr)), st.data())
def test_an_answer_arrives_as_the_kind_that_was_asked_for(kind: Any, data: st.DataObject) -> None:
    request, answer = data.draw(values(kind)), data.draw(values(codec.ANSWERS[kind]))
    arrived = codec.decode_answer(request, codec.encode(answer))
    assert arrived == answer
    assert type(arrived) is type(answer)


@given(st.binary(max_size=40))
def test_other_bytes_are_refused(data: bytes) -> None:
    for decode in (codec.decode_request, lambda data: codec.decode_answer(AdmitNode("n", "h:1"), data)):
        try:
            decode(data)
        except CodecError:
            continue
        assert data


def test_an_answer_of_another_kind_is_refused() -> None:
    with pytest.raises(CodecError):
        codec.decode_answer(Readiness(), codec.encode(Admitted(True)))
    with pytest.raises(CodecError):
        codec.decode_answer(ClusterStatus(), codec.encode(Ready(True, "")))
