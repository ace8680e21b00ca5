"""Where the heads of requests end in what a connection received.

Guarantees: the pieces are all the bytes in their order, and each but the last ends where a head may end; there are at
most so many as asked for, whatever the bytes are. Leaves to others: what is a head, and what it says
(`http_protocol`). Sans-IO.
"""

from __future__ import annotations

from collections.abc import Iterator

HEAD_END = b"\r\n\r\n"


def split_behind_heads(data: bytes, most: int) -> Iterator[bytes]:
    """The data in at most `most` pieces; in one where that is less."""
    begin = 0
    for _ in range(most - 1):
        end = data.find(HEAD_END, begin) + len(HEAD_END)
        if end < len(HEAD_END) or end == len(data):
            break
        yield data[begin:end]
        begin = end
    yield data[begin:] if begin else data
