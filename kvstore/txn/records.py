"""What log records of transactions hold, and their rows in the table `txn`.

Guarantees: what is decoded has the declared types, or is found damaged; a record carries all that it does, so applying
it needs no other. Leaves to others: when they are made (`participant`, `primary`), applying (`state`). Sans-IO.
PROTOCOL "Transactions".

Rows, after the copy's prefix and a kind byte: 5 token, attempt (8 bytes) → a prepared transaction; 6 token → a decision
to commit that not all participants have carried out; 7 token → a decision that is kept for a while, or the tombstone of
an abort; 9 time of its end (8), token → nothing, an index of kind 7. The first three are positions (see `outcomes`).
"""

from __future__ import annotations

import struct

import msgspec

from kvstore.messages import TxnName, TxnResult, Vote
from kvstore.storage.records import DamagedRow, Record, RecordType

PREPARED, UNDONE, ENDED, END_TIME = b"\x05", b"\x06", b"\x07", b"\x09"

_NUMBER = struct.Struct(">Q")

PreparedAt = tuple[int, int, int]


class Effect(msgspec.Struct, frozen=True, array_like=True):
    """What becomes of a key: `row` stands in `data` (None: no more) in the place of one of `replaced_bytes`, -1 for
    none, that ends at `replaced_expiry_ms`."""

    key: bytes
    row: bytes | None
    replaced_bytes: int
    replaced_expiry_ms: int


class Prepared(msgspec.Struct, frozen=True, array_like=True):
    """PREPARE: `keys` are locked since the log's time `time_ms`, and what either branch does to them; the participant
    may ask for the decision after `ttl_ms`."""

    txn: TxnName
    keys: list[bytes]
    then: list[Effect]
    otherwise: list[Effect]
    vote: Vote
    time_ms: int
    ttl_ms: int

    def effects(self, then: bool) -> list[Effect]:
        return self.then if then else self.otherwise

    @property
    def written(self) -> set[bytes]:
        """The keys that may change."""
        return {effect.key for effect in (*self.then, *self.otherwise)}

    @property
    def at(self) -> tuple[int, int]:
        """The epoch and seq of the record."""
        return self.vote.epoch, self.vote.seq


class Decided(msgspec.Struct, frozen=True, array_like=True):
    """DECIDE: the primary's decision, with its own part in `effects`. `prepares` lists the (partition, epoch, seq) of
    the records that a commit rests on; `code` and `detail` say why it was aborted. A commit that rests on none counts
    until the log's time `until_ms`, 0: for as long as is usual."""

    txn: TxnName
    commits: bool
    then: bool = False
    effects: list[Effect] = []
    prepares: list[PreparedAt] = []
    results: list[TxnResult] = []
    code: str = ""
    detail: str = ""
    until_ms: int = 0


class Finished(msgspec.Struct, frozen=True, array_like=True):
    """FINISH: the participant heard what was decided on its prepare record (`epoch`, `seq`), (0, 0) for none. An abort
    leaves a tombstone until the log's time `until_ms`, 0: for as long as is usual, -1: none."""

    txn: TxnName
    epoch: int
    seq: int
    commits: bool
    effects: list[Effect] = []
    by_operator: bool = False
    until_ms: int = 0

    @property
    def is_remembered(self) -> bool:
        """Whether it leaves a tombstone."""
        return not self.commits and self.until_ms >= 0


class Forgotten(msgspec.Struct, frozen=True, array_like=True):
    """FORGET: all participants of these decisions to commit have carried them out."""

    tokens: list[bytes]


class Ended(msgspec.Struct, frozen=True, array_like=True):
    """The row of a decision, or of the tombstone of an abort: it counts until the log's time `until_ms`, 0 for ever."""

    txn: TxnName
    commits: bool
    then: bool
    until_ms: int
    prepares: list[PreparedAt] = []
    results: list[TxnResult] = []
    code: str = ""
    detail: str = ""

    def counts(self, time_ms: int) -> bool:
        """Whether it still does at that log time."""
        return not self.until_ms or self.until_ms > time_ms


Payload = Prepared | Decided | Finished | Forgotten
_TYPES = {Prepared: RecordType.PREPARE, Decided: RecordType.DECIDE, Finished: RecordType.FINISH}
_KINDS: dict[int, type[Payload]] = {
    RecordType.PREPARE: Prepared,
    RecordType.DECIDE: Decided,
    RecordType.FINISH: Finished,
    RecordType.FORGET: Forgotten,
}
TXN_TYPES = frozenset(_KINDS)

_ENCODER = msgspec.msgpack.Encoder()
_DECODERS = {kind: msgspec.msgpack.Decoder(payload) for kind, payload in _KINDS.items()}


def record_of(payload: Payload) -> Record:
    """The log record that holds it."""
    return Record(_TYPES.get(type(payload), RecordType.FORGET), value=_ENCODER.encode(payload))


def payload_of(record: Record) -> Payload | None:
    """What a record holds, None for one that is of no transaction; raises DamagedRow."""
    decoder = _DECODERS.get(record.type)
    if decoder is None:
        return None
    try:
        return decoder.decode(record.value)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise DamagedRow(f"record of a transaction: {error}") from error


def effects_of(payload: Payload | None) -> list[Effect]:
    """The keys that a record of a transaction changes at once."""
    return payload.effects if isinstance(payload, Decided | Finished) else []


def prepared_position(name: TxnName) -> bytes:
    return PREPARED + name.token + _NUMBER.pack(name.attempt)


def end_time_key(prefix: bytes, until_ms: int, token: bytes) -> bytes:
    return prefix + END_TIME + _NUMBER.pack(until_ms) + token


def split_end_time(row_key: bytes) -> tuple[int, bytes]:
    """The time and the token in a key of the index."""
    return int(_NUMBER.unpack_from(row_key, 5)[0]), row_key[13:]
