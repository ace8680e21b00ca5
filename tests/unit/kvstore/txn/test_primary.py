"""A primary: one decision for each transaction, told when it is durable, and found again. PROTOCOL "Transactions"."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.txn.coordinating import (
    ELSEWHERE,
    abort,
    ask,
    delete,
    elsewhere,
    get,
    incr,
    named,
    part,
    put,
    transact,
    wall_passes,
)

from kvstore.messages import (
    SCOPE_BYTES,
    Fault,
    InDoubt,
    Resolved,
    Transacted,
    TxnBranch,
    TxnIf,
    TxnKnown,
    TxnName,
    TxnResult,
    Vote,
)
from kvstore.replication.answers import LATER, REUSED
from kvstore.storage.engine import Table
from kvstore.storage.records import RecordType
from kvstore.txn.primary import UNDONE_ASK_AFTER_MS
from kvstore.txn.state import KEEP_MS, SINGLE_KEEP_MS

TXN = named("t", primary=PID)
CLIENTS = named("c", primary=PID, is_clients=True)
VOTE = elsewhere()


@pytest.fixture
def story() -> Story:
    story = Story()
    n1 = story.lead()
    n1.put("w0", b"k", b"old")
    story.settle(apply=True)
    return story


@pytest.fixture
def n1(story: Story) -> StoryNode:
    return story.n1


def decided(story: Story, node: StoryNode, ticket: str = "t") -> Transacted:
    story.settle()
    told = node.replies[ticket]
    assert isinstance(told, Transacted), told
    return told


def records(node: StoryNode) -> list[int]:
    return [record.type for held in node.partition.copy.log.held_after(0) for _, record, _ in held.changes]


def doubt(txn: TxnName = TXN, vote: Vote = VOTE, gives_up: bool = False) -> InDoubt:
    return InDoubt(txn, vote.pid, vote.epoch, vote.seq, gives_up)


def resolve(story: Story, node: StoryNode, asked: InDoubt) -> Resolved | None:
    return node.leader.txns.primary.resolve(asked, node.engine.snapshot(), story.now)


def as_resolved(commits: bool, txn: TxnName = TXN, vote: Vote = VOTE, then: bool = True) -> Resolved:
    return Resolved(txn, vote.pid, vote.epoch, vote.seq, commits, then and commits)


# ---- deciding ---------------------------------------------------------------------------------------------------


def test_a_transaction_of_one_partition_is_one_record_with_all_it_does(story: Story, n1: StoryNode) -> None:
    before = n1.partition.copy.log.end
    assert transact(n1, "t", TXN, part(put(b"k"), incr(b"n", 5, 1), get(b"n", 2))) is LATER
    told = decided(story, n1)
    assert n1.partition.copy.log.end == before + 1
    assert told.commits
    assert told.is_new
    assert [one.value for one in told.results] == [None, b"5", b"5"]
    assert (n1.read("r", b"k"), n1.read("r", b"n")) == (b"new", b"5")


def test_the_decision_is_told_when_its_record_is_durable_on_the_whole_in_sync_set(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    n1.batch()
    assert "t" not in n1.replies
    assert n1.read("r", b"k") == b"old"
    assert resolve(story, n1, doubt()) is None, "nor is it to others"
    assert decided(story, n1).commits
    assert resolve(story, n1, doubt()) == as_resolved(True)


def test_the_branch_is_that_of_all_conditions_everywhere(story: Story, n1: StoryNode) -> None:
    asked = part(put(b"k"), conditions=[TxnIf(b"k", exists=True)], otherwise=[delete(b"k")])
    transact(n1, "t", TXN, asked, VOTE, elsewhere(holds=False))
    told = decided(story, n1)
    assert told.commits
    assert not told.then
    assert n1.read("r", b"k") is None
    assert resolve(story, n1, doubt()) == as_resolved(True, then=False)


def test_a_fault_of_the_branch_that_is_taken_aborts_it_and_one_of_the_other_does_not(
    story: Story, n1: StoryNode
) -> None:
    faulty = Vote(ELSEWHERE, 1, 7, True, TxnBranch([], Fault("bad_request", "no number")), TxnBranch([]))
    transact(n1, "aborted", TXN, part(put(b"k")), faulty)
    assert decided(story, n1, "aborted").fault == Fault("bad_request", "no number")
    assert n1.read("r", b"k") == b"old"
    other = part(put(b"k"), conditions=[TxnIf(b"k", exists=False)], otherwise=[put(b"k", b"else")])
    transact(n1, "committed", named("u", primary=PID), other, faulty)
    assert decided(story, n1, "committed").commits


def test_who_is_alone_and_cannot_be_carried_out_leaves_no_record(story: Story, n1: StoryNode) -> None:
    before = n1.partition.copy.log.end
    assert code(transact(n1, "t", TXN, part(put(b"x"), incr(b"k", 1, 1)))) == "bad_request"
    assert n1.partition.copy.log.end == before
    assert n1.read("r", b"x") is None


def test_a_decision_is_judged_by_the_end_of_the_log(story: Story, n1: StoryNode) -> None:
    n1.put("w", b"k", b"not durable yet")
    transact(n1, "t", TXN, part(conditions=[TxnIf(b"k", value=b"not durable yet")], otherwise=[delete(b"k")]))
    assert decided(story, n1).then


# ---- being asked again ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("is_applied", [False, True])
def test_the_same_name_finds_its_decision(story: Story, n1: StoryNode, is_applied: bool) -> None:
    transact(n1, "t", TXN, part(incr(b"n")), VOTE)
    transact(n1, "at once", TXN, part(incr(b"n")), VOTE)
    first = decided(story, n1)
    if is_applied:
        story.settle(apply=True)
    transact(n1, "again", TXN, part(incr(b"n")), VOTE)
    for ticket in ("at once", "again"):
        told = decided(story, n1, ticket)
        assert (told.txn, told.commits, told.then, told.is_new) == (TXN, True, True, False)
        assert told.results == first.results
    assert n1.read("r", b"n") == b"1"


def test_a_client_finds_the_results_of_all_partitions(story: Story, n1: StoryNode) -> None:
    vote = Vote(ELSEWHERE, 1, 7, True, TxnBranch([TxnResult(0, 200, "", b"theirs")]), TxnBranch([]))
    transact(n1, "t", CLIENTS, part(get(b"k", 1)), vote)
    assert [one.index for one in decided(story, n1).results] == [1]
    transact(n1, "again", CLIENTS, part(get(b"k", 1)), vote)
    assert [one.value for one in decided(story, n1, "again").results] == [b"theirs", b"old"]


@pytest.mark.parametrize("is_applied", [False, True])
def test_a_clients_token_is_refused_for_another_request(story: Story, n1: StoryNode, is_applied: bool) -> None:
    other = TxnName(PID, CLIENTS.token[:SCOPE_BYTES] + b"another request.", 1)
    transact(n1, "t", CLIENTS, part(put(b"k")))
    if is_applied:
        story.settle(apply=True)
    transact(n1, "reused", other, part(put(b"k")))
    story.settle()
    assert code(n1.replies["reused"]) == "token_reused"


@pytest.mark.parametrize("is_applied", [False, True])
def test_an_aborted_attempt_is_no_outcome_for_other_requests_of_its_token(
    story: Story, n1: StoryNode, is_applied: bool
) -> None:
    other = TxnName(PID, CLIENTS.token[:SCOPE_BYTES] + b"another request.", 1)
    abort(n1, "a", CLIENTS)
    story.settle(apply=is_applied)
    transact(n1, "t", other, part(put(b"k")))
    assert decided(story, n1).commits


def test_a_request_whose_token_is_refused_is_aborted_for_good_where_others_are_prepared_for_it(
    story: Story, n1: StoryNode
) -> None:
    other = TxnName(PID, CLIENTS.token[:SCOPE_BYTES] + b"another request.", 1)
    transact(n1, "t", CLIENTS, part(put(b"k")))
    story.settle(apply=True)
    transact(n1, "reused", other, part(put(b"k")), VOTE)
    told = decided(story, n1, "reused")
    assert (told.commits, told.is_new, told.fault) == (False, True, REUSED)
    wall_passes(story, SINGLE_KEEP_MS)
    transact(n1, "late", other, part(put(b"k")), VOTE)
    assert not decided(story, n1, "late").commits, "its participants were told to finish by who asked first"


def test_a_token_that_is_committed_is_never_aborted_under_a_later_attempt(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", CLIENTS, part(put(b"k")))
    story.settle(apply=True)
    later = msgspec.structs.replace(CLIENTS, attempt=9)
    abort(n1, "a", later)
    assert decided(story, n1, "a").txn == CLIENTS
    assert ask(n1, "where", later) == TxnKnown(False), "there was no such attempt"
    transact(n1, "again", CLIENTS, part(put(b"k")))
    assert decided(story, n1, "again").commits


def test_an_attempt_that_was_aborted_stays_so_and_the_next_one_is_free(story: Story, n1: StoryNode) -> None:
    abort(n1, "a", TXN)
    told = decided(story, n1, "a")
    assert not told.commits
    assert told.is_new
    transact(n1, "late", TXN, part(put(b"k")), VOTE)
    assert not decided(story, n1, "late").commits
    second = named("t", 2, primary=PID)
    transact(n1, "second", second, part(put(b"k")), VOTE)
    assert decided(story, n1, "second").commits
    transact(n1, "first again", TXN, part(put(b"k")), VOTE)
    assert decided(story, n1, "first again").txn == second, "whoever comes late hears of the later attempt"
    assert resolve(story, n1, doubt()) == as_resolved(False), "what rests on the first is aborted"


def test_whoever_wants_it_aborted_hears_of_the_commit(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    abort(n1, "a", TXN)
    assert decided(story, n1, "a").commits
    assert records(n1).count(RecordType.DECIDE) == 1


def test_asking_where_it_stands_changes_nothing(story: Story, n1: StoryNode) -> None:
    assert ask(n1, "nothing", TXN) == TxnKnown(False)
    end = n1.leader.next_seq
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    assert ask(n1, "open", TXN) is LATER, "not before it is durable"
    story.settle()
    assert n1.replies["open"] == TxnKnown(True, True, True)
    assert ask(n1, "next attempt", named("t", 2, primary=PID)) == TxnKnown(False)
    assert n1.leader.next_seq == end + 1


# ---- in doubt ---------------------------------------------------------------------------------------------------


def test_a_record_that_the_decision_does_not_list_is_aborted(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    story.settle()
    late = elsewhere(seq=8)
    assert resolve(story, n1, doubt(vote=late)) == as_resolved(False, vote=late)
    assert resolve(story, n1, doubt()) == as_resolved(True)


def test_what_nobody_decided_is_aborted_when_its_time_is_over_and_not_before(story: Story, n1: StoryNode) -> None:
    assert resolve(story, n1, doubt()) is None
    assert not n1.partitions.needs_batch
    assert resolve(story, n1, doubt(gives_up=True)) is None, "it is not durable yet"
    n1.partitions.doubts.tick(n1.engine.snapshot(), story.now)
    story.settle()
    assert resolve(story, n1, doubt()) == as_resolved(False)
    transact(n1, "late", TXN, part(put(b"k")), VOTE)
    assert code(decided(story, n1, "late").fault) == "txn_conflict"
    assert n1.partitions.leaders.txn_aborts == {"given_up": 1}


# ---- how long it is remembered ----------------------------------------------------------------------------------


def rows(node: StoryNode) -> int:
    return len(node.rows(Table.TXN))


def swept(story: Story, node: StoryNode) -> int:
    """How many rows are left after the next writes."""
    for number in range(3):
        node.put(f"sweep {story.now.wall_ms} {number}", b"any")
        story.settle(apply=True)
    return rows(node)


@pytest.mark.parametrize(("what", "keep_ms"), [("single", SINGLE_KEEP_MS), ("abort", KEEP_MS), ("forgotten", KEEP_MS)])
def test_what_needs_not_be_kept_for_participants_is_kept_for_its_time(
    story: Story, n1: StoryNode, what: str, keep_ms: int
) -> None:
    if what == "abort":
        abort(n1, "t", TXN)
    else:
        transact(n1, "t", TXN, part(put(b"k")), *([] if what == "single" else [VOTE]))
    story.settle(apply=True)
    if what == "forgotten":
        n1.leader.txns.primary.all_finished(TXN)
        n1.tick()
        story.settle(apply=True)
    wall_passes(story, keep_ms - 1000)
    assert swept(story, n1) == 2, "the row and its place in the index"
    assert ask(n1, "still", TXN).is_decided
    wall_passes(story, 1000)
    assert not ask(n1, "gone", TXN).is_decided
    assert swept(story, n1) == 0
    assert story.n2.rows_equal(n1)


def test_a_commit_is_kept_for_as_long_as_a_participant_is_away(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    story.settle(apply=True)
    wall_passes(story, 100 * KEEP_MS)
    assert swept(story, n1) == 1
    assert resolve(story, n1, doubt()) == as_resolved(True)


def test_it_is_forgotten_when_each_participant_said_so(story: Story, n1: StoryNode) -> None:
    primary = n1.leader.txns.primary
    third = Vote(3, 1, 9, True, TxnBranch([]), TxnBranch([]))
    transact(n1, "t", TXN, part(put(b"k")), VOTE, third)
    story.settle()
    primary.part_finished(doubt())
    n1.tick()
    assert TXN.token in primary._undone
    primary.part_finished(doubt(named("t", 2, primary=PID), third))
    n1.tick()
    assert TXN.token in primary._undone, "that was of another attempt"
    primary.part_finished(doubt(vote=third))
    n1.tick()
    story.settle()
    assert records(n1).count(RecordType.FORGET) == 1
    assert not primary._undone


def test_one_record_forgets_many(story: Story, n1: StoryNode) -> None:
    names = [named(letter, primary=PID) for letter in "abc"]
    for name in names:
        transact(n1, str(name), name, part(put(b"k")), VOTE)
    story.settle()
    for name in names:
        n1.leader.txns.primary.all_finished(name)
    n1.tick()
    n1.tick()
    story.settle()
    assert records(n1).count(RecordType.FORGET) == 1
    story.settle(apply=True)
    assert rows(n1) == 6


def test_a_decision_that_is_not_durable_is_not_forgotten(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    n1.leader.txns.primary.all_finished(TXN)
    n1.tick()
    story.settle()
    assert records(n1).count(RecordType.FORGET) == 0
    n1.tick()
    story.settle()
    assert records(n1).count(RecordType.FORGET) == 1


def test_it_is_found_while_the_batch_that_forgets_it_is_written(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    story.settle(apply=True)
    n1.leader.txns.primary.all_finished(TXN)
    n1.tick()
    story.settle()
    n1.begin_batch(apply=True)
    assert ask(n1, "meanwhile", TXN) == TxnKnown(True, True, True)
    n1.end_batch()
    assert ask(n1, "afterwards", TXN) == TxnKnown(True, True, True)


def test_of_what_nobody_reports_all_nodes_are_asked(story: Story, n1: StoryNode) -> None:
    transact(n1, "t", TXN, part(put(b"k")), VOTE)
    story.settle()
    primary: Any = n1.leader.txns.primary
    story.pass_ms(UNDONE_ASK_AFTER_MS - 1)
    assert primary.unfinished(story.now) == []
    story.pass_ms(1)
    assert primary.unfinished(story.now) == [doubt()]
    assert primary.unfinished(story.now) == [], "and not at once again"


def test_an_attempt_after_an_abort_outlives_it(story: Story, n1: StoryNode) -> None:
    abort(n1, "a", TXN)
    story.settle(apply=True)
    second = named("t", 2, primary=PID)
    wall_passes(story, KEEP_MS - 10_000)
    transact(n1, "t", second, part(put(b"k")))
    story.settle(apply=True)
    wall_passes(story, 20_000)
    swept(story, n1)
    assert ask(n1, "still", second) == TxnKnown(True, True, True)
    wall_passes(story, SINGLE_KEEP_MS)
    assert swept(story, n1) == 0
