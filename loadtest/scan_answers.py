"""Whether the answer to a short scan is one that the records allow.

Guarantees: a page passes only when it has the record that it starts at, which must be there, keys that rise from it,
and no more of them than were asked for. Leaves to others: asking, the status; whether a record between two is missing,
which takes the whole key space to tell. Sans-IO.
"""

from __future__ import annotations

from itertools import pairwise

import msgspec


class _Item(msgspec.Struct):
    # A cluster that was filled before the test may have keys of others, of any bytes.
    key: str | None = None
    key_b64: bytes = b""

    @property
    def name(self) -> bytes:
        return self.key_b64 if self.key is None else self.key.encode()


class _Page(msgspec.Struct):
    items: list[_Item]


_PAGE = msgspec.json.Decoder(_Page)


def fault_of(page: bytes, start: str, limit: int) -> str | None:
    """What is wrong with a page in JSON of at most `limit` items from the key `start` on, a record that is there."""
    try:
        keys = [item.name for item in _PAGE.decode(page).items]
    except msgspec.DecodeError as error:
        return f"the answer is no page: {error}"
    if len(keys) > limit:
        return "more items than were asked for"
    if not keys:
        return "no items, though the first record is there"
    if keys[0] != start.encode():
        return "the first item is not the record asked for, which is there"
    if any(key >= following for key, following in pairwise(keys)):
        return "the keys are not in order"
    return None
