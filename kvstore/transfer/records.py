"""What TRANSFER records hold, and what a copy keeps of a transfer.

Guarantees: what is decoded has the declared types, or is found damaged; a record carries all that it does, so applying
it needs no other; how far a transfer has come changes in the batch that applies what came. Leaves to others: when they
are made (`source`, `target`), applying (`replication.copy`). Sans-IO. PROTOCOL "Transfer".

Row: `transfer` in `meta`, after the copy's prefix. Its position, behind all others (see `replication.outcomes`), is 8.
"""

from __future__ import annotations

import msgspec

from kvstore.storage.records import DamagedRow, Record, RecordType
from kvstore.txn.records import Effect, Payload, effects_of

PROGRESS = b"\x08"
PROGRESS_ROW = b"transfer"

NOT_BEGUN = -1


class Progress(msgspec.Struct, frozen=True, array_like=True):
    """How far the target has come with the transfer `id`.

    It has what the source holds at positions up to `cursor`, all where `is_copied`; of what was changed there meanwhile
    all up to the seq `since`. `has_all`: that was the end of it. `clears`: it deletes what it has, to begin anew.
    `unclean` is how often a leader of the source had been promoted by force. `keys` and `size_bytes` count what came.
    """

    id: int
    cursor: bytes = b""
    since: int = NOT_BEGUN
    is_copied: bool = False
    has_all: bool = False
    clears: bool = False
    unclean: int = 0
    keys: int = 0
    size_bytes: int = 0


class Carried(msgspec.Struct, frozen=True, array_like=True):
    """TRANSFER: what becomes of keys that are not served, what another partition remembers of writes and transactions,
    as (position, row), and where that leaves the target; None in what is deleted for good, with the `layout` in which
    it is not served here."""

    effects: list[Effect] = []
    remembered: list[tuple[bytes, bytes]] = []
    progress: Progress | None = None
    layout: int = 0


_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder(Carried)


def carrying_record(carried: Carried) -> Record:
    """The log record that holds it."""
    return Record(RecordType.TRANSFER, value=_ENCODER.encode(carried))


def carried_in(record: Record) -> Carried:
    """What a TRANSFER record holds; raises DamagedRow."""
    try:
        return _DECODER.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRow(f"record of a transfer: {error}") from error


def effects_in(payload: Payload | Carried | None) -> list[Effect]:
    """The keys that a record changes at once which names none."""
    return payload.effects if isinstance(payload, Carried) else effects_of(payload)
