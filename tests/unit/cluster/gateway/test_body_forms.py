"""The form of a body is what its headers name."""

from __future__ import annotations

import pytest

from cluster.gateway.body_forms import Format, acceptable, accepted_form, form_of
from kvstore.errors import UnsupportedMediaType


def test_the_form_is_what_the_headers_name() -> None:
    assert form_of("") is form_of("application/json; charset=utf-8") is Format.JSON
    assert form_of("Application/MsgPack") is Format.MSGPACK
    with pytest.raises(UnsupportedMediaType):
        form_of("text/plain")
    assert accepted_form("*/*", Format.MSGPACK) is Format.MSGPACK
    assert accepted_form("text/html, application/msgpack;q=0.9", Format.JSON) is Format.MSGPACK


@pytest.mark.parametrize(
    ("accept", "media_types"),
    [
        ("", [""]),
        ("Text/HTML", ["text/html"]),
        ("a/a;q=0.1, b/b;q=1, c/c", ["b/b", "c/c", "a/a"]),
        ("a/a;q=0, b/b; Q=0.001", ["b/b"]),
        ("a/a;q=0", []),
        ("a/a;q=0.000", []),
        ("a/a;level=1;q=0.5;ext=2, b/b;charset=utf-8", ["b/b", "a/a"]),
        ("a/a;q=none, b/b;q=2;q=0.2, c/c;q=0.5", ["a/a", "c/c", "b/b"]),
    ],
)
def test_media_types_are_taken_by_their_weights(accept: str, media_types: list[str]) -> None:
    assert acceptable(accept) == media_types
    assert accepted_form("application/json;q=0.5, application/msgpack", Format.JSON) is Format.MSGPACK
    assert accepted_form("application/msgpack;q=0", Format.JSON) is Format.JSON
