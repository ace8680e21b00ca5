"""Messages between processes: what gateways, control and nodes say to each other.

Guarantees: every message is an immutable value whose types are checked when it is decoded, so a handler never meets a
field of a wrong type. Each kind has a tag that is never reused. Leaves to others: bytes (`codec`), meaning (the
handlers). Sans-IO. One long file, for it is a catalogue without logic: who looks for a message or its tag finds it
here.

Words: `pid` is a partition's uid, never reused in a cluster; `ver` is the version of its map entry; a *copy* is named
by a `Rid`, a node and the uuid that was drawn when the copy was made. PROTOCOL "Identity".
"""

from __future__ import annotations

from enum import IntEnum, StrEnum
from typing import Annotated

import msgspec

from kvstore.keys import KEY_BYTES_MAX
from kvstore.map_values import Bound, Count, Entry, KeyspaceInfo, Move, NodeInfo, Rebalance, Rid, Tenant, Value

# What a row can hold: a request beyond it would fail where it can no longer be refused.
VALUE_BYTES_MAX = 16 * 1024 * 1024
TTL_MS_MAX = 315_576_000_000
Key = Annotated[bytes, msgspec.Meta(min_length=1, max_length=KEY_BYTES_MAX)]
StoredBytes = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]
ContentType = Annotated[str, msgspec.Meta(max_length=255)]
TtlMs = Annotated[int, msgspec.Meta(ge=1, le=TTL_MS_MAX)]
Token = Annotated[bytes, msgspec.Meta(max_length=255)]
AtLeastOne = Annotated[int, msgspec.Meta(ge=1, lt=1 << 62)]
SCOPE_BYTES = 16
TxnToken = Annotated[bytes, msgspec.Meta(min_length=SCOPE_BYTES, max_length=2 * SCOPE_BYTES)]
ItemFormNumber = Annotated[int, msgspec.Meta(ge=0, le=1)]


class Fault(Value, frozen=True, tag=1):
    """An error as an answer: a code of `kvstore.errors`, a sentence, and the newer map entry of a wrong leader."""

    code: str
    detail: str
    entry: Entry | None = None


# ---- bodies -----------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Base of all message bodies; each subclass has its own tag."""


class Hello(Message, frozen=True, tag=1):
    """First message of a connection, from the side that dialled. `role`: gateway, control, node, bulk, admin;
    of a gateway's worker to its control: worker.

    As `bulk` a node dials to pull data, and says nothing else on that connection.

    `boot_floor` is the highest boot counter that the cluster knows of the node that is dialled: a node whose store is
    new counts on from there, so that it is told from an older image of its former disk.
    """

    cluster_id: bytes
    sender: str
    role: str
    format: int
    boot_floor: Count = 0


class Welcome(Message, frozen=True, tag=2):
    """Answer to `Hello`. `process` is drawn at random when the process starts; `is_new`: when it started, its store
    belonged to no cluster."""

    cluster_id: bytes
    node: str
    boot: int
    process: bytes = b""
    is_new: bool = False


class Failed(Message, frozen=True, tag=3):
    """Answer to any call that could not be carried out at all."""

    fault: Fault


class Done(Message, frozen=True, tag=4):
    """Answer to a call that has nothing to tell."""


# A partition and its layout, the epoch of its leader, and the seq of the last removal that this one knows of keys like
# this one, 0 for none.
Absence = tuple[int, int, int, int]


class ReadOne(Value, frozen=True):
    pid: int
    ver: int
    key: Key


class Read(Message, frozen=True, tag=10):
    """Linearizable reads of single keys, asked of the leader of each. `is_quorum`: that it still leads is not concluded
    from its clock, its followers are asked. `tells_absences`: as `ReadResult` says. `is_urgent`: somebody waits for
    each by itself, so those that cannot be answered at once end in `outcome_unknown` where others can."""

    reads: list[ReadOne]
    is_quorum: bool = False
    tells_absences: bool = False
    is_urgent: bool = False


class ReadResult(Message, frozen=True, tag=11):
    """Answers in the order asked: a stored row (`storage.records`), None for an absent key, or a fault.

    `now_ms` is the node's wall clock, against which the expiry in a row is turned into seconds left. `absences`, where
    asked for, has for each absent key the epoch, and a seq that changes whenever the key is removed: one that is absent
    twice with the same absence was so all the time between. None where that is not known, or there is a row.
    """

    now_ms: int
    results: list[bytes | Fault | None]
    absences: list[Absence | None] = []


class WriteOne(Value, frozen=True):
    """A put (`value` given) or a delete (`value` None) with its conditions.

    `if_match` and `if_none_match` hold the content of the header: `*`, or etags
    without their quotes, one `"` between them.

    What tells it from other writes is `token`, of a client's, as 16 bytes of scope and 16 of fingerprint; or `origin`,
    the incarnation of the gateway, and `number`, where the gateway sends nothing below `floor` again. `again`: an
    earlier attempt may have been carried out, so that any outcome must be remembered. PROTOCOL "Idempotency".
    """

    pid: int
    ver: int
    key: Key
    value: StoredBytes | None
    content_type: ContentType = ""
    ttl_ms: TtlMs | None = None
    if_match: str | None = None
    if_none_match: str | None = None
    token: Token = b""
    origin: Count = 0
    number: Count = 0
    floor: Count = 0
    again: bool = False


class Write(Message, frozen=True, tag=12):
    """Independent writes, carried out in the order given where keys are equal.

    `is_urgent`: somebody waits for each by itself, so what is known is told after a while, and the others end in
    `outcome_unknown`: they are asked for again under their numbers or tokens.
    """

    writes: list[WriteOne]
    is_urgent: bool = False


class Written(Value, frozen=True, tag=2):
    """A write that is durable on `copies` copies; (epoch, seq) is the key's version, (0, 0) where nothing was. `origin`
    is the partition in which it was carried out, 0 for the one that was asked."""

    created: bool
    epoch: int
    seq: int
    copies: int
    origin: int = 0


class WriteResult(Message, frozen=True, tag=13):
    results: list[Written | Fault]


class CountKeys(Message, frozen=True, tag=14):
    """How many keys are from `start` of each part to `end` (empty: no end), asked of the parts' leader. Answer:
    `Counted`."""

    parts: list[tuple[int, int, Bound]]
    end: Bound


class Counted(Message, frozen=True, tag=15):
    """Keys of each part, and the key from which it is to be asked again, None where it is counted to the end. Parts
    that are neither there nor among the faults were not begun."""

    counts: list[tuple[int, int, bytes | None]]
    faults: list[tuple[int, Fault]]


class Scan(Message, frozen=True, tag=18):
    """The next page of what a node leads of these (pid, ver), between `start` and `end` (empty: no end), from the end
    down if `reverse`. `form` is one of `scan.items.ItemForm`. Answer: `Scanned`."""

    parts: list[tuple[int, int]]
    start: Bound
    end: Bound
    limit: AtLeastOne
    bytes_max: AtLeastOne
    reverse: bool
    form: ItemFormNumber
    keys_only: bool


class Scanned(Message, frozen=True, tag=19):
    """Keys in the order of the scan, and each one's item as the user gets it: all there are up to the last key, or to
    the end of the range if `is_done`, but those of the parts with a fault. No keys where items tell them
    (`scan.items.TextItems`)."""

    keys: list[bytes]
    items: list[bytes]
    is_done: bool
    faults: list[tuple[int, Fault]]


class ReadStale(Message, frozen=True, tag=16):
    """A read that any copy in sync may answer, if it is at most `max_stale_ms` behind (None: however far) and knows the
    very `layout` of the partition by which it was routed. Answer: `StaleResult`, or `Failed`."""

    read: ReadOne
    max_stale_ms: int | None = None
    layout: Count = 0


class StaleResult(Message, frozen=True, tag=17):
    """What the key's row was, at some moment of the `lag_ms` before it was read; `now_ms` as in `ReadResult`."""

    now_ms: int
    lag_ms: int
    row: bytes | None


class CreateCopies(Message, frozen=True, tag=20):
    """Control asks a node to make empty copies of partitions. Answer: `CopiesCreated`.

    Asked again for a partition, the node answers with the copy it already made, unless that one is damaged.
    """

    pids: list[int]


class CopiesCreated(Message, frozen=True, tag=21):
    rids: list[tuple[int, Rid]]


class MapUpdate(Message, frozen=True, tag=22):
    """Control tells a node or worker what changed since the last update it sent on this connection.

    A node gets only the entries that name it, and no moves; a worker gets all. `rebalance` is there where it is news,
    and always in the first update of a connection.
    """

    map_ver: int
    nodes: list[NodeInfo]
    entries: list[Entry]
    keyspaces: list[KeyspaceInfo] = []
    moves: list[Move] = []
    rebalance: Rebalance | None = None
    tenants: list[Tenant] = []


class CompareAndSet(Message, frozen=True, tag=23):
    """A node asks control to replace map entries, each iff the stored `ver` is `entry.ver - 1`. Answer: `CasResult`."""

    entries: list[Entry]


class CasResult(Message, frozen=True, tag=24):
    """For each entry asked for, the entry that now stands; equal to the one asked for where it landed."""

    entries: list[Entry]


class TransferReport(Value, frozen=True):
    """How far a transfer has come, as the leader of its target (`copying`, `changes`, `handing`, `clearing`) or of its
    source (`giving`, `frozen`, `cleaning`) sees it. `keys` and `size_bytes` are those that came to the target."""

    id: int
    phase: str
    keys: int = 0
    size_bytes: int = 0


class CopyReport(Value, frozen=True):
    """`ver` is the version of the newest map entry that named this copy, 0 for none; (`log_epoch`, `log_end`) tells how
    far its log has come, and `complete` whether its data is all there. `reads` and `writes` are those of a second, an
    average of late (`heat.node_heat`). `open_txns` counts the transactions that are prepared, and those decided here
    that not all participants have carried out."""

    pid: int
    epoch: int
    serving: bool
    keys: int
    size_bytes: int
    ver: int = 0
    log_epoch: int = 0
    log_end: int = 0
    complete: bool = True
    reads: float = 0.0
    writes: float = 0.0
    open_txns: int = 0
    transfer: TransferReport | None = None


class NodeReport(Message, frozen=True, tag=25):
    """A node tells control how it is: every copy it holds, each half second and when what it serves changes.

    `lost` names copies that the map gives to this node and that it does not have, or that are damaged: by partition,
    the `store` of the copy's rid. Copies are durable before the map names them, so one that is missing is gone.
    """

    copies: list[CopyReport]
    lost: list[tuple[int, bytes]] = []


class Verify(Message, frozen=True, tag=60):
    """Asks the leader of a partition to compare copies with its own, and what came of it. Answer: `Verified`.

    Safe to repeat: under the same `name` (16 random bytes, or a move's id) and in one epoch it is one verification.
    `rids` names the copies; none: those in sync.
    """

    pid: int
    ver: int
    name: bytes
    rids: list[Rid] = []


class DigestedCopy(Value, frozen=True):
    """A copy as it was at the seq of a verification, recounted."""

    node: str
    keys: int
    size_bytes: int


class DifferentKey(Value, frozen=True):
    """A key whose row differs: its version on each node, as (node, epoch, seq), (0, 0) where it is absent."""

    key: bytes
    versions: list[tuple[str, int, int]]


class Verified(Message, frozen=True, tag=61):
    """How a verification stands: `state` is `running`; `clean`, all copies were equal at `seq`; `different`; or
    `unfinished`, `detail` says why, and asked again it begins anew.

    `differs` names the nodes whose copies are not like the leader's, in `parts` of the state (`keys`, `expiries`,
    `outcomes`, `txns`); `keys` are the first keys that differ, `more` says that there are more.
    """

    pid: int
    epoch: int
    seq: int
    state: str
    detail: str = ""
    copies: list[DigestedCopy] = []
    differs: list[str] = []
    parts: list[str] = []
    keys: list[DifferentKey] = []
    more: bool = False


class AskDigests(Message, frozen=True, tag=62):
    """Leader to follower: the digests of the state at `seq`, please, where a verify record of this epoch stands.
    Answer: `Digests`."""

    pid: int
    rid: Rid
    epoch: int
    seq: int


class Digests(Message, frozen=True, tag=63):
    """Copy to leader, when it has them and when asked. `state`: `ready`; `pending`, they are being made, or its seq is
    not applied yet; `missed`, they were not made and never will be; `failed`, its state cannot be read, for the reason
    in `detail`. `rows` of the buckets that the record names are (key, epoch, seq, digest)."""

    pid: int
    rid: Rid
    epoch: int
    seq: int
    state: str
    detail: str = ""
    keys: int = 0
    size_bytes: int = 0
    digests: list[int] = []
    rows: list[tuple[bytes, int, int, int]] = []


class GroupBy(IntEnum):
    """What of a key its load is counted for: all of it, its shard key, or its tenant."""

    KEY = 0
    SHARD_KEY = 1
    TENANT = 2


class AskHeat(Message, frozen=True, tag=64):
    """Gateway to node: how much is read and written in your copies of these partitions? `keys_max` hottest keys of
    each. Answer: `Heat`. Changes nothing."""

    pids: list[int]
    by: GroupBy
    keys_max: Count


class Heated(Value, frozen=True):
    """A key, or what keys have in common, and its load."""

    name: bytes
    load: float


class HeatOf(Value, frozen=True):
    """What a node served of a copy, since its process began: `reads` and `writes` in all, and of the `looked_at` that
    were looked at last, whether keys are written in rising order, and what most of its load is on, as shares of it.
    `hottest` are keys, with how many reads and writes in a second each has at least."""

    copy: CopyReport
    reads: int = 0
    writes: int = 0
    is_rising: bool = False
    looked_at: int = 0
    hottest: list[Heated] = []
    groups: list[Heated] = []


class Heat(Message, frozen=True, tag=65):
    """Of the partitions asked for, those that the node has a copy of."""

    copies: list[HeatOf]


class SplitBy(StrEnum):
    """What is to be alike on both sides of a split."""

    LOAD = "load"
    SIZE = "size"


class FindSplit(Message, frozen=True, tag=66):
    """Control to the leader of a partition: where would you cut it? Its keys are from `start` to `end` (empty: no end).
    Answer: `SplitFound`, or `Failed`. Changes nothing."""

    pid: int
    ver: int
    by: SplitBy
    start: Bound = b""
    end: Bound = b""


class SplitFound(Message, frozen=True, tag=67):
    """The first key of the new partition; None where there is none that would help, `reason` says why."""

    key: bytes | None
    reason: str


class Reconcile(Message, frozen=True, tag=30):
    """Leader to follower, at each new connection and epoch, or after silence: where does your log stand?"""

    pid: int
    rid: Rid
    epoch: int
    ver: int


class EpochVector(Message, frozen=True, tag=31):
    """Follower to leader: the first seq of each epoch in its log, and its log's end. `backfilling`: its data is not
    complete yet. PROTOCOL "Reconciliation"."""

    pid: int
    rid: Rid
    epoch: int
    starts: list[tuple[int, int]]
    log_end: int
    backfilling: bool = False


class CutTail(Message, frozen=True, tag=32):
    """Leader to follower: drop every log record after `end`; never below what is applied."""

    pid: int
    rid: Rid
    epoch: int
    end: int


class Append(Message, frozen=True, tag=33):
    """Leader to follower: log rows (`storage.records`) that follow `prev_seq`, whose row has the checksum
    `prev_checksum`, and what is committed."""

    pid: int
    rid: Rid
    epoch: int
    prev_seq: int
    prev_checksum: int
    commit_seq: int
    rows: list[bytes]


class Acked(Message, frozen=True, tag=34):
    """Follower to leader: the log is durable up to `log_end` in this epoch, and known to be committed up to
    `commit_seq`. `full`: its store refuses client writes; `backfilling`: its data is not complete yet."""

    pid: int
    rid: Rid
    epoch: int
    log_end: int
    commit_seq: int
    full: bool
    backfilling: bool = False


class Refused(Message, frozen=True, tag=35):
    """Follower to leader: this copy has promised a higher epoch."""

    pid: int
    rid: Rid
    promised_epoch: int


class BeginBackfill(Message, frozen=True, tag=36):
    """Leader to learner: the log no longer reaches back to where yours ends; begin anew with an empty copy whose log
    continues at `base_seq` (the checksum of its row, the epochs up to it and its time go with it), and pull the data.
    """

    pid: int
    rid: Rid
    epoch: int
    base_seq: int
    base_checksum: int
    starts: list[tuple[int, int]]
    time_ms: int


class PullChunk(Message, frozen=True, tag=37):
    """Learner to leader: what comes after the position `cursor`, please (empty: from the first on), and not many more
    than `bytes_max`."""

    pid: int
    rid: Rid
    epoch: int
    cursor: bytes
    bytes_max: int = 256 * 1024


class Chunk(Message, frozen=True, tag=38):
    """Leader to learner: every row with cursor < position <= end as it stood at `as_of`, a seq that is committed and
    whose log time is `as_of_ms`. `done`: there are none beyond. Positions: `replication.outcomes`."""

    pid: int
    rid: Rid
    epoch: int
    cursor: bytes
    end: bytes
    as_of: int
    rows: list[tuple[bytes, bytes]]
    done: bool
    as_of_ms: int

    @property
    def size_bytes(self) -> int:
        """How much data it carries."""
        return sum(len(position) + len(row) for position, row in self.rows)


class SeekKeys(Message, frozen=True, tag=47):
    """Target of a transfer to all nodes: who leads its `source`? Answer, of that one: `KeysFound`."""

    transfer: int
    source: int


class KeysFound(Message, frozen=True, tag=48):
    """The sender leads the source of this transfer."""

    transfer: int
    source: int


class PullKeys(Message, frozen=True, tag=49):
    """Target to source: what comes next of this transfer, please, and not many more than `bytes_max`.

    The target has what stands at positions up to `cursor`, all if `is_copied`, and of what was changed since then all
    up to the seq `since` (-1: nothing yet). `has_all`: the piece up to there was called the last, and is committed.
    `unclean` is the number of promotions by force of the source that all this rests on.
    """

    transfer: int
    source: int
    cursor: bytes
    since: int
    is_copied: bool
    has_all: bool
    unclean: int
    bytes_max: int = 256 * 1024


class KeysPiece(Message, frozen=True, tag=50):
    """Source to target: an answer to `PullKeys` with this `cursor`, `since` and `is_copied`.

    `rows` are (position, row), None where nothing stands there any more; after them the target has what `end`, `upto`
    and `is_done` say. `is_last`: nothing else will be changed, for the source stands still. `is_gone`: what was changed
    is not known any more: begin anew.
    """

    transfer: int
    source: int
    cursor: bytes
    since: int
    is_copied: bool
    end: bytes
    upto: int
    is_done: bool
    unclean: int
    rows: list[tuple[bytes, bytes | None]] = []
    is_last: bool = False
    is_gone: bool = False

    @property
    def size_bytes(self) -> int:
        """How much data it carries."""
        return sum(len(position) + len(row or b"") for position, row in self.rows)


class PackedChunk(Message, frozen=True, tag=46):
    """A `Chunk`, compressed: a frame of zstd that tells its content's size."""

    packed: bytes


class Ping(Message, frozen=True, tag=39):
    """Node to node, each half second: the partitions that the sender leads and the receiver has a copy of, with the
    receiver's rid and the epoch. Asks for a lease on each, and what is committed in those that the receiver leads;
    `number` names the ping."""

    number: int
    leads: list[tuple[int, Rid, int]]


class Pong(Message, frozen=True, tag=40):
    """Answer to a ping, after the sender's disk has proven itself: it grants the leases asked for, but not those of
    the partitions in `refused`. `commits` has the commit seq and the layout of each partition that the sender leads,
    under a lease, and the receiver has a copy of."""

    number: int
    refused: list[int]
    commits: list[tuple[int, int, int]] = []


class Confirm(Message, frozen=True, tag=43):
    """Leader to followers, for reads that wait: do you still follow me in these partitions? As in a ping, the
    receiver's rid and the epoch; `number` names the round. Answer: `Confirmed`."""

    number: int
    leads: list[tuple[int, Rid, int]]


class Confirmed(Message, frozen=True, tag=44):
    """Of the partitions and epochs asked for, those whose leader the sender follows, and those it does not."""

    number: int
    follows: list[tuple[int, int]]
    refused: list[tuple[int, int]]


class DropCopies(Message, frozen=True, tag=41):
    """Control to node: these entries stand in the map; copies that older ones named and these do not name are no longer
    needed by anybody. Safe to repeat; one that is late says nothing of a copy that a newer entry names."""

    entries: list[Entry]


class Retire(Message, frozen=True, tag=45):
    """Control to node: you hold nothing that is needed and are no member any more. Answer: `Done`, once the node has
    noted that durably; then its process ends."""


class OpKind(IntEnum):
    """What an operation of a transaction does."""

    GET = 0
    PUT = 1
    DELETE = 2
    INCR = 3


class TxnName(Value, frozen=True):
    """A transaction: `primary` is the partition that holds its decision, `token` 16 bytes of scope, and 16 of the
    request's fingerprint where the token is a client's; an attempt begins when the one before is durably aborted.
    PROTOCOL "Transactions"."""

    primary: int
    token: TxnToken
    attempt: AtLeastOne

    @property
    def is_clients(self) -> bool:
        """Whether a client may send it again, through any gateway."""
        return len(self.token) > SCOPE_BYTES


class TxnIf(Value, frozen=True):
    """A condition on a key; exactly one of the three is there."""

    key: Key
    etag: str | None = None
    exists: bool | None = None
    value: StoredBytes | None = None


class TxnOp(Value, frozen=True):
    """An operation of a transaction; `index` is its place in its branch. Of an increase, `ttl_ms` is for a key that is
    not there."""

    index: int
    kind: OpKind
    key: Key
    value: StoredBytes = b""
    content_type: ContentType = ""
    ttl_ms: TtlMs | None = None
    by: int = 0


class TxnPart(Value, frozen=True):
    """What a transaction asks of one partition: all its conditions hold, then `then` happens, else `otherwise`."""

    conditions: list[TxnIf]
    then: list[TxnOp]
    otherwise: list[TxnOp]


class TxnResult(Value, frozen=True):
    """How the operation `index` of the branch that was taken ended: a status of HTTP, and what goes with it."""

    index: int
    status: int
    etag: str = ""
    value: bytes | None = None
    content_type: str = ""
    ttl_ms: int | None = None


class TxnBranch(Value, frozen=True):
    """What a branch would come to; a `fault` says that it cannot be carried out."""

    results: list[TxnResult]
    fault: Fault | None = None


class Vote(Value, frozen=True):
    """Yes: the participant `pid` has the record (epoch, seq) of it durably, and holds all its locks until it hears of
    the decision. `holds`: whether its conditions do."""

    pid: int
    epoch: int
    seq: int
    holds: bool
    then: TxnBranch
    otherwise: TxnBranch

    def branch(self, then: bool) -> TxnBranch:
        return self.then if then else self.otherwise


class Prepare(Message, frozen=True, tag=70):
    """Coordinator to a participant that is not the primary. Answer: `Voted`, or `Failed`: it votes no, and forgets it.
    `ttl_ms`: when it may ask the primary to give the transaction up. Safe to repeat."""

    pid: int
    ver: int
    txn: TxnName
    part: TxnPart
    ttl_ms: AtLeastOne = 5000


class Voted(Message, frozen=True, tag=71):
    vote: Vote


class Transact(Message, frozen=True, tag=72):
    """Coordinator to the primary, when all others have voted yes: decide, and carry out your own part in the same
    record. Answer: `Transacted`, or `Failed`: nothing was decided. Safe to repeat."""

    pid: int
    ver: int
    txn: TxnName
    part: TxnPart
    votes: list[Vote] = []


class AbortTxn(Message, frozen=True, tag=73):
    """Coordinator to the primary: decide that it is aborted, unless it is decided. Answer: `Transacted`."""

    pid: int
    ver: int
    txn: TxnName


class Transacted(Message, frozen=True, tag=74):
    """The decision, durable: of `txn`, or of the later attempt that stands here. `is_new`: it was made for this very
    question. `results` are those of the primary, and of all others where it had been decided before and a client may
    ask again; `fault` says why it was aborted."""

    txn: TxnName
    commits: bool
    then: bool
    is_new: bool
    results: list[TxnResult] = []
    fault: Fault | None = None


class FinishTxn(Message, frozen=True, tag=75):
    """Coordinator to a participant: the decision on the PREPARE record (epoch, seq), (0, 0) where an abort has no vote.
    Answer: `Done` when it is carried out durably, or `Failed`. Safe to repeat."""

    pid: int
    ver: int
    txn: TxnName
    epoch: int
    seq: int
    commits: bool
    then: bool


class TxnsFinished(Message, frozen=True, tag=76):
    """Coordinator to the primaries, one way: all participants of these have carried the decision out."""

    txns: list[TxnName]


class AskTxn(Message, frozen=True, tag=77):
    """What the primary knows of a transaction. Answer: `TxnKnown`. Changes nothing."""

    pid: int
    ver: int
    txn: TxnName


class TxnKnown(Message, frozen=True, tag=78):
    """`is_decided`: durably, as `commits` and `then` say."""

    is_decided: bool
    commits: bool = False
    then: bool = False


class InDoubt(Value, frozen=True):
    """The PREPARE record (epoch, seq) of the participant `pid`. `gives_up`: its time is over, so a primary that knows
    nothing of it is to decide that it is aborted."""

    txn: TxnName
    pid: int
    epoch: int
    seq: int
    gives_up: bool


class ResolveTxns(Message, frozen=True, tag=79):
    """Participant to all nodes: who leads the primary of these says what was decided. Answer: `TxnsResolved`, without
    what is not decided durably."""

    asks: list[InDoubt]


class Resolved(Value, frozen=True):
    """What becomes of that PREPARE record; one that the decision does not list is aborted."""

    txn: TxnName
    pid: int
    epoch: int
    seq: int
    commits: bool
    then: bool


class TxnsResolved(Message, frozen=True, tag=80):
    outcomes: list[Resolved]


class AskFinished(Message, frozen=True, tag=81):
    """Primary to all nodes: who leads the partition of these PREPARE records (of decisions to commit) says which it has
    carried out. Answer: `PartsFinished`. `gives_up` means nothing here."""

    parts: list[InDoubt]


class PartsFinished(Message, frozen=True, tag=82):
    """These PREPARE records were carried out, durably."""

    parts: list[InDoubt]


class ListPrepared(Message, frozen=True, tag=83):
    """Which transactions are prepared in what this node leads: all, or of this name. Answer: `PreparedTxns`."""

    txn: TxnName | None = None


class PreparedTxn(Value, frozen=True):
    """A prepared transaction in the partition `pid`, its age, and the keys that it locks."""

    txn: TxnName
    pid: int
    epoch: int
    seq: int
    age_ms: int
    keys: list[bytes]


class PreparedTxns(Message, frozen=True, tag=84):
    txns: list[PreparedTxn]


class ForceFinish(Message, frozen=True, tag=85):
    """An operator's word in the place of a decision that is lost with its partition. Answer as for `FinishTxn`."""

    pid: int
    ver: int
    txn: TxnName
    commits: bool
    then: bool


class AskControl(Message, frozen=True, tag=90):
    """A worker of a gateway asks control, in words that only those two know (`request`). Answer: `ControlAnswer`."""

    request: bytes


class ControlAnswer(Message, frozen=True, tag=91):
    """What control says to a worker, in words that depend on what was asked."""

    answer: bytes


class WorkerCounts(Message, frozen=True, tag=92):
    """What a worker of a gateway has counted so far, in words of gateways. As a call: answered by the same message,
    with what all workers of the gateway have."""

    counts: bytes


class DrawIds(Message, frozen=True, tag=93):
    """A worker of a gateway asks for new ids, which rise for all workers together. Answer: `DrawnIds`."""

    count: AtLeastOne


class DrawnIds(Message, frozen=True, tag=94):
    ids: list[int]


Body = (
    Hello
    | Welcome
    | Failed
    | Done
    | Read
    | ReadResult
    | Write
    | WriteResult
    | CountKeys
    | Counted
    | Scan
    | Scanned
    | ReadStale
    | StaleResult
    | CreateCopies
    | CopiesCreated
    | MapUpdate
    | CompareAndSet
    | CasResult
    | NodeReport
    | Verify
    | Verified
    | AskDigests
    | Digests
    | AskHeat
    | Heat
    | FindSplit
    | SplitFound
    | Reconcile
    | EpochVector
    | CutTail
    | Append
    | Acked
    | Refused
    | BeginBackfill
    | PullChunk
    | Chunk
    | PackedChunk
    | SeekKeys
    | KeysFound
    | PullKeys
    | KeysPiece
    | Ping
    | Pong
    | DropCopies
    | Confirm
    | Confirmed
    | Retire
    | Prepare
    | Voted
    | Transact
    | AbortTxn
    | Transacted
    | FinishTxn
    | TxnsFinished
    | AskTxn
    | TxnKnown
    | ResolveTxns
    | TxnsResolved
    | AskFinished
    | PartsFinished
    | ListPrepared
    | PreparedTxns
    | ForceFinish
    | AskControl
    | ControlAnswer
    | WorkerCounts
    | DrawIds
    | DrawnIds
)


class Envelope(Value, frozen=True):
    """A message on its way. `call` is 0 for a message without an answer, positive for a call, negative for the answer
    to that call. `deadline_ms` is what is left of the caller's time when it was sent (0: none)."""

    call: int
    deadline_ms: int
    body: Body


class Frame(Value, frozen=True):
    """What one loop turn of one process says to another. `priority` 0 is data, 1 replication and control."""

    format: int
    cluster_id: bytes
    priority: int
    messages: list[Envelope]
