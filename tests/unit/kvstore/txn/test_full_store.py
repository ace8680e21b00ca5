"""A store that is full: what transactions read goes into their records, so large values need room as well."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID, Story, StoryNode, code
from unit.kvstore.txn.coordinating import ELSEWHERE, delete, get, named, part, prepare, put, transact

from kvstore.messages import TxnBranch, TxnResult, Vote
from kvstore.replication.answers import LATER
from kvstore.storage.engine import Usage
from kvstore.txn.evaluate import ROOMLESS_BYTES_MAX

OWN = named("t", primary=PID)
LARGE = part(get(b"large"), otherwise=[delete(b"large")])


@pytest.fixture
def n1() -> StoryNode:
    story = Story(nodes=1)
    n1 = story.lead()
    n1.put("large", b"large", b"v" * (ROOMLESS_BYTES_MAX + 1))
    n1.put("small", b"small", b"v" * ROOMLESS_BYTES_MAX)
    story.settle(apply=True)
    n1.partitions.usage = Usage(used=100, limit=100)
    return n1


def test_a_participant_refuses_to_prepare_what_reads_much(n1: StoryNode) -> None:
    end = n1.leader.next_seq
    assert code(prepare(n1, "p", named("p"), LARGE)) == "storage_full"
    assert n1.leader.next_seq == end
    assert prepare(n1, "small", named("q"), part(get(b"small"))) is LATER


def test_a_primary_refuses_to_decide_what_reads_much(n1: StoryNode) -> None:
    end = n1.leader.next_seq
    assert code(transact(n1, "t", OWN, LARGE)) == "storage_full"
    assert n1.leader.next_seq == end
    assert transact(n1, "small", OWN, part(get(b"small"))) is LATER


@pytest.mark.parametrize("is_clients", [False, True])
def test_what_others_read_counts_where_the_decision_holds_it(n1: StoryNode, is_clients: bool) -> None:
    theirs = TxnBranch([TxnResult(1, 200, "", b"v" * (ROOMLESS_BYTES_MAX + 1))])
    vote = Vote(ELSEWHERE, 1, 7, True, theirs, TxnBranch([]))
    told = transact(n1, "t", named("t", primary=PID, is_clients=is_clients), part(delete(b"large")), vote)
    assert (told is not LATER) == is_clients


def test_deletes_pass(n1: StoryNode) -> None:
    assert transact(n1, "d", OWN, part(delete(b"large"))) is LATER


def test_whatever_puts_something_is_refused(n1: StoryNode) -> None:
    end = n1.leader.next_seq
    for asked in (part(put(b"k")), part(delete(b"large"), otherwise=[put(b"k")])):
        assert code(prepare(n1, "p", named("p"), asked)) == "storage_full"
        assert code(transact(n1, "t", OWN, asked)) == "storage_full"
    assert n1.leader.next_seq == end
