"""Answers to requests on one key, whichever way they went.

Guarantees: the same outcome is told by the same bytes. Leaves to others: what the outcome is.
"""

from __future__ import annotations

from cluster.gateway.answer import Answer, Renderer
from cluster.gateway.operations import Deleted, Found, Result, Stored
from cluster.gateway.problem import problem
from kvstore.errors import KeyNotFound, KvError
from kvstore.messages import Written
from kvstore.storage.records import split_plain

NOT_CACHED = "Cache-Control: no-store\r\n"
# What `found_answer` and `Renderer.render` make of a value without an end, for a client that goes on.
_PLAIN = b'%b%x\r\nContent-Type: %b\r\nETag: "%x.%x.%x"\r\nCache-Control: no-store\r\nContent-Length: %d\r\n\r\n%b'
# What `stored_answer` and `Renderer.render` make of a put.
_CREATED = b'%b%x\r\nETag: "%x.%x.%x"\r\nX-KV-Copies: %d\r\nContent-Length: 0\r\n\r\n'
_CHANGED = b'%b%x\r\nETag: "%x.%x.%x"\r\nX-KV-Copies: %d\r\n\r\n'

NOTHING_FOUND = problem(KeyNotFound("nothing is stored under this key"))


def found_lines(found: Found, more: str = NOT_CACHED) -> str:
    """The header lines that describe what was found, with `more` among them."""
    if found.ttl_s is None:
        return f'ETag: "{found.etag}"\r\n{more}'
    return f'ETag: "{found.etag}"\r\n{more}X-KV-TTL: {found.ttl_s:.3f}\r\n'


def found_answer(found: Found, lines: str) -> Answer:
    """The answer to a read that found something; `lines` describe it."""
    return Answer(200, f"Content-Type: {found.content_type}\r\n{lines}", found.value)


def plain_answer(opening: bytes, number: int, pid: int, row: bytes) -> bytes | None:
    """The bytes that tell of a row of this partition; None where they have to tell more, or it cannot be read.

    Args:
        opening: of `Renderer`, as `number` is.
    """
    parts = split_plain(row)
    if parts is None:
        return None
    epoch, seq, kind, value = parts
    return _PLAIN % (opening, number, kind, pid, epoch, seq, len(value), value)


def stored_answer(stored: Stored) -> Answer:
    """The answer to a put."""
    lines = f'ETag: "{stored.etag}"\r\nX-KV-Copies: {stored.copies}\r\n'
    return Answer(201 if stored.created else 204, lines)


def plain_stored(renderer: Renderer, pid: int, written: Written) -> bytes:
    """The bytes that tell of a put to this partition."""
    number, made_in = next(renderer.numbers), written.origin or pid
    version_and_copies = made_in, written.epoch, written.seq, written.copies
    if written.created:
        return _CREATED % (renderer.opening(201), number, *version_and_copies)
    return _CHANGED % (renderer.opening(204), number, *version_and_copies)


def deleted_answer() -> Answer:
    """The answer to a delete."""
    return Answer(204)


def write_answer(result: Result) -> Answer:
    """The answer to a write that ended so."""
    if isinstance(result, Stored):
        return stored_answer(result)
    if isinstance(result, Deleted):
        return deleted_answer()
    return problem(result if isinstance(result, KvError) else KvError("the node's answer does not fit the request"))
