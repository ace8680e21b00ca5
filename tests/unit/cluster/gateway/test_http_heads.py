"""Where heads end in what a connection received."""

from __future__ import annotations

from hypothesis import example, given
from hypothesis import strategies as st

from cluster.gateway.http_heads import HEAD_END, split_behind_heads

TEXT = st.text(alphabet="\r\na", max_size=40)


@given(text=TEXT, most=st.integers(-1, 5))
@example(text="a\r\n\r\na\r\n\r\na", most=3)
@example(text="\r\n\r\n\r\n\r\n", most=2)
def test_the_pieces_are_all_of_it_and_few_and_end_as_heads_do(text: str, most: int) -> None:
    data = text.encode()
    pieces = list(split_behind_heads(data, most))
    assert b"".join(pieces) == data
    assert 1 <= len(pieces) <= max(1, most)
    assert all(piece.endswith(HEAD_END) for piece in pieces[:-1])
    if len(pieces) < most:
        assert all(HEAD_END not in piece[:-1] for piece in pieces)


def test_what_has_no_end_of_a_head_is_the_one_piece() -> None:
    for data in (b"", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\n\r\n"):
        assert [piece is data for piece in split_behind_heads(data, 9)] == [True]
