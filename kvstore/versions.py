"""Versions of keys: what an ETag says.

Guarantees: (partition uid, epoch, seq) never repeats, because uids are never reused, an epoch has one leader and a
leader numbers its log densely. Leaves to others: the quotes of the HTTP header. Sans-IO. PROTOCOL "Versions".
"""

from __future__ import annotations


def etag(pid: int, epoch: int, seq: int) -> str:
    """The opaque text of a version, without quotes."""
    return f"{pid:x}.{epoch:x}.{seq:x}"
