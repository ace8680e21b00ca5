"""The form of a body is what its headers name."""

from __future__ import annotations

import pytest

from cluster.gateway.body_forms import Format, accepted_form, form_of
from kvstore.errors import UnsupportedMediaType


def test_the_form_is_what_the_headers_name() -> None:
    assert form_of("") is form_of("application/json; charset=utf-8") is Format.JSON
    assert form_of("Application/MsgPack") is Format.MSGPACK
    with pytest.raises(UnsupportedMediaType):
        form_of("text/plain")
    assert accepted_form("*/*", Format.MSGPACK) is Format.MSGPACK
    assert accepted_form("text/html, application/msgpack;q=0.9", Format.JSON) is Format.MSGPACK
