"""What all keys of a range have in common: a hash tag, from which their partition follows.

Guarantees: what is found is the shard key of every key in the range; a prefix alone is none, for a hash tag may stand
anywhere in what follows it. Leaves to others: what a shard key is (`kvstore.keys`). Sans-IO.
"""

from __future__ import annotations

from kvstore.keys import shard_key


def key_like_all(start: bytes, end: bytes) -> bytes | None:
    """A key with the shard key that all keys from `start` to `end` have; None where they may have different ones."""
    if not end or start >= end or b"}" not in start:
        return None
    shared = len(start)
    while shared and not _is_within(start[:shared], end):
        shared -= 1
    prefix = start[:shared]
    # Where a tag ends within the prefix, nothing that follows changes it.
    return prefix if len(shard_key(prefix)) < shared else None


def _is_within(prefix: bytes, end: bytes) -> bool:
    """Whether all keys from `prefix` to `end` begin with it."""
    head = prefix.rstrip(b"\xff")
    return not head or end <= head[:-1] + bytes([head[-1] + 1])
