"""Comparing the copies of a partition while it is written to.

Guarantees: copies are compared at one seq, where a verify record stands, by digests of the state that each had when it
had applied exactly that; `clean` is said only where all of them were equal there, in this epoch of this process, and
have not begun anew since; whatever comes between, a crash, a change of leader, a lost digest, leads to another round,
`ROUNDS_MAX` of them at most, and never to a verdict. A partition has one verify record under way at a time: whoever
asks before it is committed has it in common, whoever asks later waits. A difference is an alarm, and is looked at once
more to name keys. Leaves to others: digests (`copy_digests`), repair (nobody: a difference is a defect). Sans-IO.
PROTOCOL "Verify".

    waiting ──copies follow, whole──▶ round ──all digests, equal──▶ clean
       ▲                               │ └──all digests, not equal──▶ round that lists rows ──▶ different
       └── a digest missed, a copy gone┘        no copy heard of for `PATIENCE_MS`, or
                                                `ROUNDS_MAX` rounds begun ──▶ unfinished
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import msgspec

from kvstore.copy_digests import FAILED, MISSED, PENDING, READY, CopyDigests
from kvstore.effects import Alarm, Effect, Send, TakeDigests
from kvstore.instant import Instant
from kvstore.map_values import Rid
from kvstore.messages import AskDigests, DigestedCopy, Digests, Fault, Verified, Verify
from kvstore.partition import Partition
from kvstore.reads import QUARANTINED, UNKNOWN_PARTITION
from kvstore.replication.answers import NO_LEADER
from kvstore.replication.bucket_digests import KEY_BUCKETS, BucketDigests
from kvstore.replication.differences import different_buckets, different_keys, parts_of
from kvstore.replication.leader import Leader
from kvstore.replication.verify_order import verify_record

RUNNING, CLEAN, DIFFERENT, UNFINISHED = "running", "clean", "different", "unfinished"
ASK_MS = 1000
PATIENCE_MS = 10_000
LISTED_BUCKETS_MAX = 8
ROUNDS_MAX = 10
RUNNING_MAX = 64
KEPT_MAX = 256
TOO_MANY = Fault("overloaded", "the node compares copies of many partitions already")


@dataclass
class _Round:
    """A verify record at `seq`, and the digests that came of it."""

    seq: int
    rids: tuple[Rid, ...]
    buckets: list[int]
    asked_ms: int
    got: dict[Rid, Digests] = field(default_factory=dict)


class Verification:
    """One verification. Args: rids: the copies asked for, those in sync for none."""

    def __init__(self, pid: int, epoch: int, rids: tuple[Rid, ...], now: Instant) -> None:
        self.pid = pid
        self.epoch = epoch
        self.rids = rids
        self.round: _Round | None = None
        self.rounds = 0
        self.found: Verified | None = None
        self.buckets: list[int] = []
        self.names_all = True
        self.heard_ms = now.mono_ms
        self.outcome = Verified(pid, epoch, 0, RUNNING)

    def give_up(self, detail: str) -> None:
        """No verdict can be had; but a difference that was found stays one."""
        self.end(UNFINISHED if self.found is None else DIFFERENT, detail)

    def end(self, state: str, detail: str = "") -> None:
        """Nothing more comes of it."""
        self.outcome = msgspec.structs.replace(self.found or self.outcome, state=state, detail=detail)
        self.round = None


class Verifications:
    """Args: partitions: all copies of this node, by partition; dirty: of those, the ones with something for the next
    batch."""

    def __init__(self, partitions: Mapping[int, Partition], dirty: set[Partition]) -> None:
        self._partitions = partitions
        self._dirty = dirty
        self._digests = CopyDigests()
        self._by_name: dict[tuple[int, bytes], Verification] = {}

    # ---- as a leader --------------------------------------------------------------------------------------------

    def ask(self, asked: Verify, now: Instant) -> Verified | Fault:
        """Begin a verification, or tell how it stands."""
        partition = self._partitions.get(asked.pid)
        if partition is None:
            return UNKNOWN_PARTITION
        leader = partition.leader
        if leader is None or asked.ver != leader.ver:
            return partition.refuse(asked.ver) or QUARANTINED
        if not leader.is_serving:
            return NO_LEADER
        name = asked.pid, asked.name
        known = self._by_name.get(name)
        if known is None or known.epoch != leader.epoch or not self._still_holds(known, leader):
            if sum(one.outcome.state == RUNNING for one in self._by_name.values()) >= RUNNING_MAX:
                return TOO_MANY
            known = self._by_name[name] = Verification(asked.pid, leader.epoch, tuple(asked.rids), now)
            self._begin_round(known, partition, leader, now)
        outcome = known.outcome
        if outcome.state == UNFINISHED:
            del self._by_name[name]
        return outcome

    @staticmethod
    def _still_holds(one: Verification, leader: Leader) -> bool:
        """Whether none of the copies that were found equal has begun anew since."""
        if one.outcome.state != CLEAN:
            return True
        peers = [leader.followers.get(rid) for rid in one.rids]
        return all(peer is not None and peer.base_seq <= one.outcome.seq for peer in peers)

    def _begin_round(self, one: Verification, partition: Partition, leader: Leader, now: Instant) -> None:
        mine = partition.copy.name.rid
        rids = one.rids or tuple(rid for rid in leader.followers.entry.in_sync if rid != mine)
        asked = (mine, *rids), one.buckets
        missing = [rid.node for rid in rids if not _is_whole(leader, rid)]
        if leader.closed is not None or missing:
            reason = f"no whole copy follows on {', '.join(missing)}" if missing else "leadership is handed over"
            self._give_up_late(one, reason, now)
            return
        one.heard_ms = now.mono_ms
        at = self._under_way(one)
        if at is not None and (partition.copy.commit_seq >= at.seq or (at.rids, at.buckets) != asked):
            return
        if one.rounds == ROUNDS_MAX:
            one.give_up("digests were missed again and again")
            return
        one.rounds += 1
        seq = leader.propose(verify_record(*asked), now) if at is None else at.seq
        one.round = _Round(seq, *asked, now.mono_ms)
        self._dirty.add(partition)

    def _under_way(self, one: Verification) -> _Round | None:
        """The round of another verification of the partition, if there is one."""
        others = (other.round for other in self._by_name.values() if (other.pid, other.epoch) == (one.pid, one.epoch))
        return next((at for at in others if at is not None), None)

    @staticmethod
    def _give_up_late(one: Verification, reason: str, now: Instant) -> None:
        if now.mono_ms - one.heard_ms >= PATIENCE_MS:
            one.give_up(reason)

    def tick(self, now: Instant) -> list[Effect]:
        """Time has passed: begin rounds that could not begin, and ask for digests that did not come."""
        effects: list[Effect] = []
        for name, one in list(self._by_name.items()):
            partition = self._partitions.get(one.pid)
            leader = None if partition is None else partition.leader
            if partition is None or leader is None or leader.epoch != one.epoch:
                del self._by_name[name]
            elif one.outcome.state != RUNNING:
                if len(self._by_name) > KEPT_MAX:
                    del self._by_name[name]
            elif one.round is None:
                self._begin_round(one, partition, leader, now)
            else:
                effects += self._tick_round(one, one.round, partition, leader, now)
        return effects

    def _tick_round(
        self, one: Verification, at: _Round, partition: Partition, leader: Leader, now: Instant
    ) -> list[Effect]:
        mine, *others = at.rids
        is_committed = partition.copy.commit_seq >= at.seq
        members = one.rids or leader.followers.entry.in_sync
        if any(rid not in members or leader.followers.get(rid) is None for rid in others):
            one.round = None
            return []
        missing = [rid for rid in at.rids if rid not in at.got]
        own = self._digests.answer(partition, _question(one, at, mine))
        if mine in missing and own.state == PENDING and is_committed:
            one.heard_ms = now.mono_ms
        self._give_up_late(one, f"no digests of the copies on {', '.join(rid.node for rid in missing)}", now)
        if one.round is None or now.mono_ms - at.asked_ms < ASK_MS:
            return []
        at.asked_ms = now.mono_ms
        return [Send(rid.node, _question(one, at, rid)) for rid in missing if rid != mine]

    def on_digests(self, message: Digests, now: Instant) -> list[Effect]:
        """A copy told how its digests stand."""
        effects: list[Effect] = []
        for one in self._by_name.values():
            at = one.round
            if at is None or (one.pid, one.epoch, at.seq) != (message.pid, message.epoch, message.seq):
                continue
            if message.rid not in at.rids:
                continue
            partition = self._partitions.get(one.pid)
            if partition is not None and partition.copy.commit_seq >= at.seq:
                one.heard_ms = now.mono_ms
            if message.state == MISSED:
                one.round = None
            elif message.state == FAILED:
                one.give_up(f"the copy on {message.rid.node} cannot be read: {message.detail}")
            elif message.state == READY:
                at.got[message.rid] = message
                if len(at.got) == len(at.rids):
                    effects += self._judge(one, at, partition)
        return effects

    def _judge(self, one: Verification, at: _Round, partition: Partition | None) -> list[Effect]:
        """All digests of a round are there."""
        digests = {rid.node: at.got[rid] for rid in at.rids}
        mine = at.got[at.rids[0]]
        buckets = {rid.node: different_buckets(mine, at.got[rid]) for rid in at.rids[1:]}
        differs = [node for node, found in buckets.items() if found]
        copies = [DigestedCopy(node, digest.keys, digest.size_bytes) for node, digest in digests.items()]
        one.round = None
        if one.found is None and not differs:
            one.outcome = Verified(one.pid, one.epoch, at.seq, CLEAN, copies=copies)
            if partition is not None and partition.leader is not None and partition.leader.epoch == one.epoch:
                _note_equal(at, partition.leader)
            return []
        if one.found is None:
            every = set[int]().union(*buckets.values())
            one.found = Verified(
                one.pid, one.epoch, at.seq, RUNNING, copies=copies, differs=differs, parts=parts_of(every)
            )
            buckets_of_keys = sorted(bucket for bucket in every if bucket < KEY_BUCKETS)
            one.buckets = buckets_of_keys[:LISTED_BUCKETS_MAX]
            one.names_all = one.buckets == buckets_of_keys
            where = f"{', '.join(differs)} and {at.rids[0].node} differ at seq {at.seq}"
            if not one.buckets:
                one.end(DIFFERENT)
            return [Alarm(one.pid, f"the copies on {where} in {', '.join(one.found.parts)}")]
        keys, more = different_keys(digests)
        one.found = msgspec.structs.replace(one.found, keys=keys, more=more or not one.names_all)
        one.end(DIFFERENT)
        return []

    # ---- as a copy ----------------------------------------------------------------------------------------------

    def due(self, partition: Partition) -> list[Effect]:
        """A batch of this copy is durable that ended with a verify record."""
        effect = self._digests.due(partition)
        return [] if effect is None else [effect]

    def digested(self, asked: TakeDigests, made: BucketDigests | None, failure: str, now: Instant) -> list[Effect]:
        """What `TakeDigests` asked for is made, or failed: the leader gets it."""
        digests = self._digests.digested(asked, made, failure)
        partition = self._partitions.get(asked.pid)
        if digests is None or partition is None:
            return []
        if partition.leader is not None:
            return self.on_digests(digests, now)
        return [Send(partition.leader_node, digests)] if partition.leader_node else []

    def on_ask(self, node: str, asked: AskDigests) -> list[Send]:
        """A leader asks for digests."""
        partition = self._partitions.get(asked.pid)
        if partition is None or partition.copy.name.rid != asked.rid:
            return []
        return [Send(node, self._digests.answer(partition, asked))]

    def forget(self, partition: Partition) -> None:
        """The copy is gone."""
        self._digests.forget(partition.pid)


def _note_equal(at: _Round, leader: Leader) -> None:
    for rid in at.rids[1:]:
        peer = leader.followers.get(rid)
        if peer is not None:
            peer.equal_seq = max(peer.equal_seq, at.seq)


def _is_whole(leader: Leader, rid: Rid) -> bool:
    peer = leader.followers.get(rid)
    return peer is not None and peer.is_whole


def _question(one: Verification, at: _Round, rid: Rid) -> AskDigests:
    return AskDigests(one.pid, rid, one.epoch, at.seq)
