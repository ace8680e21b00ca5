"""Copies are compared at one seq while they are written to; a difference is named, and nothing else is one."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code

from kvstore.map_values import Rid
from kvstore.messages import AskDigests, Digests, Fault, Verified, Verify
from kvstore.replication.copy_rows import STATE, State, encode_row
from kvstore.replication.outcomes import TOKEN
from kvstore.replication.peer import NEWS_MS
from kvstore.replication.retention import Retention
from kvstore.storage.engine import Batch, Table
from kvstore.storage.records import RecordType, decode_log_row, decode_value, encode_value
from kvstore.verification import ASK_MS, CLEAN, DIFFERENT, PATIENCE_MS, RUNNING, RUNNING_MAX, UNFINISHED

NAME = b"n" * 16


class Verifying(Story):
    """n1 leads and n2 follows, and they hold three keys; `rids` are asked for."""

    def __init__(self, nodes: int = 2) -> None:
        super().__init__(nodes)
        self.rids: list[Rid] = []
        self.lead()
        for number in range(3):
            self.n1.put(f"w{number}", b"k%d" % number, b"v" * 40, ttl_ms=60_000 if number == 1 else None)
        self.n1.put("token", b"k2", token=b"t" * 32)
        self.settle(apply=True)

    def ask(self, node: StoryNode | None = None, name: bytes = NAME) -> Verified | Fault:
        asked = node or self.n1
        return asked.partitions.verifications.ask(Verify(PID, self.entry.ver, name, self.rids), self.now)

    def state(self, name: bytes = NAME) -> str:
        answer = self.ask(name=name)
        assert isinstance(answer, Verified), answer
        return answer.state

    def pass_time(self) -> None:
        """So much that what is not answered is asked again."""
        self.pass_ms(ASK_MS)
        for node in self.nodes.values():
            node.tick()
        self.settle(apply=True)

    def until_applied(self) -> None:
        """A verification has come so far that every node has applied its record, and has not yet digested."""
        assert self.state() == RUNNING
        self.settle()
        self.pass_ms(NEWS_MS)
        self.n1.tick()
        self.deliver(self.n1)
        self.n2.batch()
        self.deliver(self.n2)
        for node in self.nodes.values():
            node.batch(apply=True)

    def outcome(self, name: bytes = NAME) -> Verified:
        """What comes of it in the end."""
        for _ in range(20):
            answer = self.ask(name=name)
            assert isinstance(answer, Verified), answer
            if answer.state != RUNNING:
                return answer
            self.pass_time()
        raise AssertionError("it never ends")

    def damage(self, node: StoryNode, table: Table, key: bytes, row: bytes | None) -> None:
        """Another row stands under the key, put there by nobody."""
        batch, row_key = Batch(), node.partition.copy.prefix + key
        if row is None:
            batch.delete(table, row_key)
        else:
            batch.put(table, row_key, row)
        node.engine.commit(batch)


@pytest.fixture
def story() -> Verifying:
    return Verifying()


def value_with_another_end(node: StoryNode, key: bytes) -> bytes:
    stored = decode_value(node.rows(Table.DATA)[key])
    return encode_value(stored.epoch, stored.seq, stored.expiry_ms, stored.content_type, stored.value[:-1] + b"x")


def test_equal_copies_are_found_clean_at_the_seq_of_the_record(story: Verifying) -> None:
    found = story.outcome()
    assert (found.state, found.epoch, found.differs, found.keys) == (CLEAN, 1, [], [])
    assert [(copy.node, copy.keys) for copy in found.copies] == [("n1", 3), ("n2", 3)]
    assert found.copies[0].size_bytes == story.n1.partition.copy.contents.size_bytes
    assert found.seq == story.n1.partition.copy.applied_seq
    assert not story.n1.alarms


def test_what_is_written_behind_the_record_is_not_compared(story: Verifying) -> None:
    """n1 has the record and a later write to apply at once, n2 at first the record only."""
    assert story.ask()
    story.n1.batch()
    story.deliver(story.n1)
    story.n2.batch()
    story.deliver(story.n2)
    story.n1.put("later", b"k0", b"later")
    story.settle()
    story.settle(apply=True)
    assert story.n1.partition.copy.unapplied == 1
    assert story.outcome().state == CLEAN
    story.settle(apply=True)
    assert story.n1.rows(Table.DATA) == story.n2.rows(Table.DATA)


def test_the_record_ends_its_log_row(story: Verifying) -> None:
    story.n1.put("before", b"k0", b"before")
    story.ask()
    story.n1.put("after", b"k0", b"after")
    story.settle()
    types = [
        [record.type for record in decode_log_row(row).records()] for _, row in sorted(story.n1.rows(Table.LOG).items())
    ]
    assert types[-2:] == [[RecordType.PUT, RecordType.VERIFY], [RecordType.PUT]]


def test_a_row_that_differs_is_named_with_its_versions_and_is_an_alarm(story: Verifying) -> None:
    story.damage(story.n2, Table.DATA, b"k1", value_with_another_end(story.n2, b"k1"))
    found = story.outcome()
    assert (found.state, found.differs, found.parts, found.more) == (DIFFERENT, ["n2"], ["keys"], False)
    (key,) = found.keys
    assert key.key == b"k1"
    assert {node for node, _, _ in key.versions} == {"n1", "n2"}
    assert len({version[1:] for version in key.versions}) == 1
    (alarm,) = story.n1.alarms
    assert "n2 and n1 differ" in alarm


def test_a_row_that_one_copy_lacks_is_named_as_absent_there(story: Verifying) -> None:
    story.damage(story.n1, Table.DATA, b"k0", None)
    (key,) = story.outcome().keys
    versions = {node: (epoch, seq) for node, epoch, seq in key.versions}
    assert key.key == b"k0"
    assert versions["n1"] == (0, 0)
    assert versions["n2"] > (0, 0)


def test_keys_are_named_up_to_a_bound(story: Verifying) -> None:
    for number in range(2000):
        story.damage(story.n2, Table.DATA, b"extra%04d" % number, encode_value(1, 1, 0, "", b""))
    found = story.outcome()
    assert found.more
    assert 0 < len(found.keys) <= 20
    assert all(key.key.startswith(b"extra") for key in found.keys)


def test_a_difference_in_the_index_of_expiries_is_found(story: Verifying) -> None:
    (index,) = story.n2.rows(Table.EXPIRY)
    story.damage(story.n2, Table.EXPIRY, index, None)
    found = story.outcome()
    assert (found.state, found.differs, found.parts, found.keys) == (DIFFERENT, ["n2"], ["expiries"], [])


def test_a_difference_in_what_is_remembered_of_writes_is_found(story: Verifying) -> None:
    (token,) = [key for key in story.n2.rows(Table.IDEMPOTENCY) if key[:1] == TOKEN]
    story.damage(story.n2, Table.IDEMPOTENCY, token, None)
    found = story.outcome()
    assert (found.state, found.differs, found.parts, found.keys) == (DIFFERENT, ["n2"], ["outcomes"], [])


def test_a_difference_that_a_write_ends_before_it_is_looked_at_again_stays_one(story: Verifying) -> None:
    story.damage(story.n2, Table.DATA, b"k1", value_with_another_end(story.n2, b"k1"))
    story.ask()
    while not story.n1.alarms:
        story.settle(apply=True)
    story.n1.put("over", b"k1", b"over it")
    found = story.outcome()
    assert (found.state, found.differs, found.parts, found.keys) == (DIFFERENT, ["n2"], ["keys"], [])


def test_asked_again_under_its_name_it_is_the_same_one_and_under_another_another(story: Verifying) -> None:
    first = story.outcome()
    assert story.outcome() == first
    assert story.outcome(b"o" * 16).seq > first.seq


def test_a_copy_whose_process_ended_before_its_digests_were_made_makes_others(story: Verifying) -> None:
    story.until_applied()
    assert story.n2.digesting
    first = story.n1.partition.copy.applied_seq
    story.restart(story.n2)
    story.settle()
    found = story.outcome()
    assert (found.state, found.seq > first) == (CLEAN, True)


def test_a_copy_whose_process_ended_before_the_record_was_applied_digests_at_it_after_the_restart(
    story: Verifying,
) -> None:
    story.ask()
    story.settle()
    seq = story.n2.partition.copy.log.end
    story.restart(story.n2)
    story.settle()
    assert story.outcome().seq == seq


def test_digests_of_a_snapshot_that_was_opened_too_late_count_for_nothing(story: Verifying) -> None:
    story.until_applied()
    seq = story.n2.partition.copy.applied_seq
    asked, _ = story.n2.digesting.pop()
    story.damage(story.n2, Table.DATA, b"k0", None)
    story.damage(story.n2, Table.META, STATE, encode_row(State(seq + 1, seq + 1, 2, 60, 0, 0)))
    story.n2.digesting.append((asked, story.n2.engine.snapshot()))
    story.n2.digest()
    story.deliver(story.n2)
    story.n1.digest()
    assert story.state() == RUNNING
    assert not story.n1.alarms


def test_a_verification_of_a_former_epoch_is_forgotten(story: Verifying) -> None:
    story.ask()
    (one,) = story.n1.partitions.verifications._by_name.values()
    one.epoch -= 1
    story.n1.tick()
    assert not story.n1.partitions.verifications._by_name


def test_digests_that_are_lost_are_asked_for(story: Verifying) -> None:
    story.until_applied()
    for node in story.nodes.values():
        node.digest()
    story.drop(story.n2)
    assert story.state() == RUNNING
    story.pass_ms(ASK_MS)
    story.n1.tick()
    assert len(story.deliver(story.n1, AskDigests)) == 1
    story.deliver(story.n2)
    assert story.state() == CLEAN


def test_digests_of_another_epoch_or_seq_or_of_a_stranger_count_for_nothing(story: Verifying) -> None:
    story.ask()
    story.settle()
    seq, rid = story.n1.partition.copy.log.end, story.n2.rid
    ready = Digests(PID, rid, 1, seq, "ready", digests=[0] * 1026)
    for wrong in (
        msgspec.structs.replace(ready, epoch=0),
        msgspec.structs.replace(ready, seq=seq - 1),
        msgspec.structs.replace(ready, rid=Rid("n3", bytes(16))),
    ):
        story.n1.receive("n2", wrong)
    assert story.outcome().state == CLEAN


def test_a_new_leader_begins_anew(story: Verifying) -> None:
    story.ask()
    story.settle()
    entry = story.entry
    story.entry = msgspec.structs.replace(
        entry, ver=entry.ver + 1, epoch=entry.epoch + 1, leader=story.n2.rid, leader_boot=-1
    )
    story.push()
    assert code(story.ask()) == "no_leader"
    story.n1.tick()
    assert not story.n1.partitions.verifications._by_name


def test_the_same_leader_in_a_new_epoch_begins_anew(story: Verifying) -> None:
    first = story.outcome()
    story.restart(story.n1)
    story.settle(apply=True)
    story.pass_time()
    again = story.outcome()
    assert (again.state, again.epoch > first.epoch) == (CLEAN, True)


def test_a_copy_that_answers_nothing_ends_it_without_a_verdict_and_asked_again_it_begins_anew(story: Verifying) -> None:
    story.rids = [story.n2.rid]
    story.ask()
    for _ in range(PATIENCE_MS // ASK_MS + 5):
        story.pass_ms(ASK_MS)
        story.n1.batch(apply=True)
        story.n1.digest()
        story.n1.tick()
        if story.n1.asks:
            story.land(story.n1)
        story.drop()
    found = story.ask()
    assert isinstance(found, Verified)
    assert (found.state, "n2" in found.detail) == (UNFINISHED, True)
    assert story.outcome().state == CLEAN


def test_a_member_that_leaves_the_in_sync_set_is_not_waited_for(story: Verifying) -> None:
    story.ask()
    story.settle()
    story.entry = msgspec.structs.replace(story.entry, ver=story.entry.ver + 1, in_sync=(story.n1.rid,))
    story.push()
    found = story.outcome()
    assert [copy.node for copy in found.copies] == ["n1"]


def test_a_copy_that_is_not_in_sync_is_compared_where_it_is_named() -> None:
    story = Verifying(nodes=3)
    n3 = story.nodes["n3"]
    entry, two = story.entry, story.entry.replicas[:2]
    learner = {"in_sync": two, "replicas": two, "adding": (n3.rid,), "removing": (n3.rid,)}
    story.entry = msgspec.structs.replace(entry, ver=entry.ver + 1, **learner)
    story.push()
    story.settle(apply=True)
    story.rids = [n3.rid]
    found = story.outcome()
    assert n3.rid not in story.entry.in_sync
    assert found.state == CLEAN
    assert [(copy.node, copy.keys) for copy in found.copies] == [("n1", 3), ("n3", 3)]
    story.damage(n3, Table.DATA, b"k0", None)
    assert story.outcome(b"o" * 16).differs == ["n3"]


class Filled(Verifying):
    """n3 is added, and can only be filled."""

    def __init__(self) -> None:
        super().__init__(nodes=3)
        self.n3 = self.nodes["n3"]
        entry, two = self.entry, self.entry.replicas[:2]
        self.n3.restart()
        for node in self.nodes.values():
            node.partitions.truncation.advance(node.engine.snapshot(), self.now, Retention(0, 0))
        self.n3.partitions.drop_copies([])
        self.settle()
        fresh = Rid("n3", b"n3-store-2".ljust(16, b"."))
        self.n3.perform(self.n3.partition.quarantine("made anew"))
        self.n3.alarms.clear()
        assert self.n3.partitions.create_copies([PID]) == [(PID, fresh)]
        self.n3.batch()
        self.entry = msgspec.structs.replace(entry, ver=entry.ver + 1, in_sync=two, replicas=two, adding=(fresh,))
        self.rids = [fresh]


def test_a_copy_that_is_being_filled_is_waited_for_until_its_data_is_complete() -> None:
    story = Filled()
    story.push()
    assert story.state() == RUNNING
    assert not story.n1.leader.has_queue
    assert story.outcome().state == CLEAN
    backfill = story.n3.partition.copy.backfill
    assert backfill is not None
    assert backfill.done


def test_a_copy_that_began_anew_since_it_was_found_clean_is_compared_anew() -> None:
    story = Filled()
    story.push()
    first = story.outcome()
    peer = story.n1.leader.followers.get(story.rids[0])
    assert peer is not None
    peer.base_seq = first.seq + 1
    assert story.state() == RUNNING


def test_who_does_not_lead_says_so(story: Verifying) -> None:
    assert code(story.ask(story.n2)) == "no_leader"
    assert code(story.n1.partitions.verifications.ask(Verify(99, 1, NAME), story.now)) == "no_leader"
    assert code(story.n1.partitions.verifications.ask(Verify(PID, 0, NAME), story.now)) == "wrong_leader"


def test_no_more_than_so_many_run_at_a_time(story: Verifying) -> None:
    for number in range(RUNNING_MAX):
        assert story.state(b"%016d" % number) == RUNNING
    assert code(story.ask()) == "overloaded"
    assert story.state(b"%016d" % 0) == RUNNING
