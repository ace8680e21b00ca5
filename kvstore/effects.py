"""What protocol logic asks its shell to do.

Guarantees: an effect that is returned by `handle` or `tick` may be carried out at once; what must wait for the disk is
kept inside and only returned by `durable`, after the shell has made the turn's batch durable. So a shell cannot let an
acknowledgement out too early by mistake. Sans-IO.
"""

from __future__ import annotations

import msgspec

from kvstore.map_values import Entry, Rid
from kvstore.messages import Body, Done, Fault, Transacted, TxnKnown, Voted, Written
from kvstore.storage.engine import Batch


class Send(msgspec.Struct, frozen=True):
    """Send `body` to the node; it may be lost."""

    node: str
    body: Body


class Reply(msgspec.Struct, frozen=True):
    """The answer to a request that waited; `ticket` is what the shell gave with it."""

    ticket: object
    result: Written | Voted | Transacted | TxnKnown | Done | Fault | bytes | None


class SendAll(msgspec.Struct, frozen=True):
    """Send `body` to all other nodes; it may be lost."""

    body: Body


class AskCas(msgspec.Struct, frozen=True):
    """Ask control to replace the map entry iff its `ver` is still `entry.ver - 1`."""

    entry: Entry


class Report(msgspec.Struct, frozen=True):
    """What this node serves changed: tell control soon."""


class Alarm(msgspec.Struct, frozen=True):
    """Something that must never happen did: a copy stopped itself, or copies differ."""

    pid: int
    text: str


class Wake(msgspec.Struct, frozen=True):
    """Have a loop turn in so many milliseconds, or a little later."""

    ms: int


class TakeDigests(msgspec.Struct, frozen=True):
    """Open a snapshot at once, before another batch is begun, and digest the copy under `prefix` as it stands there,
    listing the rows of `buckets`. What comes of it goes to `Verifications.digested`."""

    pid: int
    rid: Rid
    epoch: int
    seq: int
    prefix: bytes
    buckets: list[int]


Effect = Send | SendAll | Reply | AskCas | Report | Alarm | Wake | TakeDigests


class Turn(msgspec.Struct, frozen=True):
    """One write batch of a node. `at_once` holds only log rows on their way to followers and calls to reconcile, which
    promise nothing and may leave beside the commit; everything else comes out of `durable`."""

    batch: Batch
    at_once: list[Send]
