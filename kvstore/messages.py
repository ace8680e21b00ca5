"""Messages between processes: what gateways, control and nodes say to each other.

Guarantees: every message is an immutable value whose types are checked when it is decoded, so a handler never meets a
field of a wrong type. Each kind has a tag that is never reused. Leaves to others: bytes (`codec`), meaning (the
handlers). Sans-IO.

Words: `pid` is a partition's uid, never reused in a cluster; `ver` is the version of its map entry; a *copy* is named
by a `Rid`, a node and the uuid that was drawn when the copy was made. PROTOCOL "Identity".
"""

from __future__ import annotations

from typing import Annotated, NewType

import msgspec

from kvstore.keys import KEY_BYTES_MAX

PartitionId = NewType("PartitionId", int)
NodeId = NewType("NodeId", str)

# What a row can hold: a request beyond it would fail where it can no longer be refused.
VALUE_BYTES_MAX = 16 * 1024 * 1024
TTL_MS_MAX = 315_576_000_000
Key = Annotated[bytes, msgspec.Meta(min_length=1, max_length=KEY_BYTES_MAX)]
StoredBytes = Annotated[bytes, msgspec.Meta(max_length=VALUE_BYTES_MAX)]
ContentType = Annotated[str, msgspec.Meta(max_length=255)]
TtlMs = Annotated[int, msgspec.Meta(ge=1, le=TTL_MS_MAX)]
Token = Annotated[bytes, msgspec.Meta(max_length=255)]


class Value(msgspec.Struct, frozen=True, array_like=True):
    """Base of immutable values that stand inside messages."""


class Rid(Value, frozen=True):
    """Identity of one copy of a partition; `store` is 16 random bytes, made when the copy is made."""

    node: str
    store: bytes


class Entry(Value, frozen=True):
    """One partition in the cluster map. `ver` rises by one at every change and guards compare-and-sets.

    `leader_boot` is the boot counter of the process that leads: no two processes ever ask for the same entry.
    """

    pid: int
    keyspace: str
    ver: int
    epoch: int
    leader: Rid | None
    in_sync: tuple[Rid, ...]
    replicas: tuple[Rid, ...]
    adding: tuple[Rid, ...] = ()
    removing: tuple[Rid, ...] = ()
    min_in_sync: int = 1
    unclean_count: int = 0
    leader_boot: int = 0

    def holds(self, node: str) -> Rid | None:
        """The copy that `node` has of this partition, if any."""
        for rid in (*self.replicas, *self.adding):
            if rid.node == node:
                return rid
        return None


class NodeInfo(Value, frozen=True):
    """A member of the cluster. `boot` is the highest boot counter it was ever admitted with."""

    id: str
    address: str
    zone: str
    weight: float
    boot: int


class KeyspaceInfo(Value, frozen=True):
    """A keyspace and its partitions in the order of its partitioner (for `hash`: equal arcs of the hash space)."""

    name: str
    strategy: str
    pids: tuple[int, ...]
    replicas: int
    min_in_sync: int


class Fault(Value, frozen=True, tag=1):
    """An error as an answer: a code of `kvstore.errors`, a sentence, and the newer map entry of a wrong leader."""

    code: str
    detail: str
    entry: Entry | None = None


# ---- bodies -----------------------------------------------------------------------------------------------------


class Message(msgspec.Struct, frozen=True, array_like=True):
    """Base of all message bodies; each subclass has its own tag."""


class Hello(Message, frozen=True, tag=1):
    """First message of a connection, from the side that dialled. `role`: gateway, control, node, admin."""

    cluster_id: bytes
    sender: str
    role: str
    format: int


class Welcome(Message, frozen=True, tag=2):
    """Answer to `Hello`."""

    cluster_id: bytes
    node: str
    boot: int


class Failed(Message, frozen=True, tag=3):
    """Answer to any call that could not be carried out at all."""

    fault: Fault


class Done(Message, frozen=True, tag=4):
    """Answer to a call that has nothing to tell."""


class ReadOne(Value, frozen=True):
    pid: int
    ver: int
    key: Key


class Read(Message, frozen=True, tag=10):
    """Linearizable reads of single keys, asked of the leader of each."""

    reads: list[ReadOne]


class ReadResult(Message, frozen=True, tag=11):
    """Answers in the order asked: a stored row (`storage.records`), None for an absent key, or a fault.

    `now_ms` is the node's wall clock, against which the expiry in a row is turned into seconds left.
    """

    now_ms: int
    results: list[bytes | Fault | None]


class WriteOne(Value, frozen=True):
    """A put (`value` given) or a delete (`value` None) with its conditions.

    `if_match` and `if_none_match` hold the content of the header: `*`, or etags
    without their quotes, one `"` between them.
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


class Write(Message, frozen=True, tag=12):
    """Independent writes, carried out in the order given where keys are equal."""

    writes: list[WriteOne]


class Written(Value, frozen=True, tag=2):
    """A write that is durable on `copies` copies; (epoch, seq) is the key's version, (0, 0) where nothing was."""

    created: bool
    epoch: int
    seq: int
    copies: int


class WriteResult(Message, frozen=True, tag=13):
    results: list[Written | Fault]


class CreateCopies(Message, frozen=True, tag=20):
    """Control asks a node to make empty copies of partitions that were never written. Answer: `CopiesCreated`.

    Asked again for a partition, the node answers with the copy it already made.
    """

    pids: list[int]


class CopiesCreated(Message, frozen=True, tag=21):
    rids: list[tuple[int, Rid]]


class MapUpdate(Message, frozen=True, tag=22):
    """Control tells a node or worker what changed since the last update it sent on this connection.

    A node gets only the entries that name it; a worker gets all.
    """

    map_ver: int
    nodes: list[NodeInfo]
    entries: list[Entry]
    keyspaces: list[KeyspaceInfo] = []


class CompareAndSet(Message, frozen=True, tag=23):
    """A node asks control to replace map entries, each iff the stored `ver` is `entry.ver - 1`. Answer: `CasResult`."""

    entries: list[Entry]


class CasResult(Message, frozen=True, tag=24):
    """For each entry asked for, the entry that now stands; equal to the one asked for where it landed."""

    entries: list[Entry]


class CopyReport(Value, frozen=True):
    pid: int
    epoch: int
    serving: bool
    keys: int
    size_bytes: int


class NodeReport(Message, frozen=True, tag=25):
    """A node tells control how it is: every copy it holds, each half second and when what it serves changes."""

    copies: list[CopyReport]


class DigestOf(Message, frozen=True, tag=26):
    """Asks a node for the digest of its copy of `pid` once it has applied `at_seq` (0: as it stands)."""

    pid: int
    at_seq: int


class DigestResult(Message, frozen=True, tag=27):
    """`digest` covers (key, stored row) of the copy in key order at exactly `seq`."""

    pid: int
    seq: int
    keys: int
    size_bytes: int
    digest: bytes


class Reconcile(Message, frozen=True, tag=30):
    """Leader to follower, at each new connection and epoch, or after silence: where does your log stand?"""

    pid: int
    rid: Rid
    epoch: int
    ver: int


class EpochVector(Message, frozen=True, tag=31):
    """Follower to leader: the first seq of each epoch in its log, and its log's end. PROTOCOL "Reconciliation"."""

    pid: int
    rid: Rid
    epoch: int
    starts: list[tuple[int, int]]
    log_end: int


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
    `commit_seq`. `full`: its store refuses client writes."""

    pid: int
    rid: Rid
    epoch: int
    log_end: int
    commit_seq: int
    full: bool


class Refused(Message, frozen=True, tag=35):
    """Follower to leader: this copy has promised a higher epoch."""

    pid: int
    rid: Rid
    promised_epoch: int


Body = (
    Hello
    | Welcome
    | Failed
    | Done
    | Read
    | ReadResult
    | Write
    | WriteResult
    | CreateCopies
    | CopiesCreated
    | MapUpdate
    | CompareAndSet
    | CasResult
    | NodeReport
    | DigestOf
    | DigestResult
    | Reconcile
    | EpochVector
    | CutTail
    | Append
    | Acked
    | Refused
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
