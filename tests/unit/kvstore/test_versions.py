"""Versions: different (uid, epoch, seq), different text."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from kvstore.versions import etag

VERSIONS = st.tuples(*[st.integers(0, 2**64 - 1)] * 3)


@given(VERSIONS, VERSIONS)
def test_two_versions_have_one_text_iff_they_are_one(one: tuple[int, int, int], other: tuple[int, int, int]) -> None:
    assert (etag(*one) == etag(*other)) == (one == other)


@given(VERSIONS)
def test_the_text_needs_no_quoting_in_a_header_or_a_list(version: tuple[int, int, int]) -> None:
    text = etag(*version)
    assert text.isascii()
    assert not set(text) & set('", *\\')
