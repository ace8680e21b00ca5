"""A copy that is filled while transactions go on holds what the leader holds, wherever its cursor stood. PROTOCOL
"Transactions"."""

from __future__ import annotations

import pytest
from unit.kvstore.replication.filling_story import Filling
from unit.kvstore.story import PID, StoryNode
from unit.kvstore.txn.coordinating import abort, delete, elsewhere, finish, named, part, prepare, put, transact

from kvstore.messages import FinishTxn, TxnName
from kvstore.replication import backfill
from kvstore.replication.bucket_digests import BucketDigests
from kvstore.storage.engine import Table
from kvstore.txn.records import ENDED, PREPARED, UNDONE

LETTERS = "abcdefghijklmnopqrstuvwxyz"


@pytest.fixture(autouse=True)
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(backfill, "CHUNK_BYTES", 100)


class FillingTxns(Filling):
    """There is one of everything, of many transactions, before the filling begins."""

    tickets = 0

    def write_first(self) -> None:
        super().write_first()
        for number, letter in enumerate("behknqtwz"):
            self.open(letter, number)
            self.decide(letter, number)
            self.settle()
            if number % 3 == 1:
                self.end(letter)
            if number % 3 == 2:
                self.forget(letter)
        self.settle()

    def ticket(self) -> str:
        self.tickets += 1
        return f"ticket {self.tickets}"

    def open(self, letter: str, number: int) -> None:
        """Prepare one of which this partition is a participant."""
        asked = part(put(b"p%d" % number), delete(b"k%d" % number, 1), otherwise=[put(b"k%d" % number, b"else")])
        prepare(self.n1, self.ticket(), named(letter), asked)

    def end(self, letter: str) -> None:
        """Finish it, if it was prepared; every other one is aborted."""
        held = self.n1.leader.txns.participant.held.get(named(letter))
        if held is not None:
            even = LETTERS.index(letter) % 2 == 0
            finish(self.n1, self.ticket(), held.prepared.vote, named(letter), commits=even, then=even)

    def decide(self, letter: str, number: int) -> None:
        """Decide one of which this partition is the primary."""
        transact(self.n1, self.ticket(), self.ours(letter), part(put(b"q%d" % number)), elsewhere())

    def forget(self, letter: str) -> None:
        """All its participants have finished."""
        self.n1.leader.txns.primary.all_finished(self.ours(letter))
        self.n1.leader.txns.primary.forget(self.now)

    def ours(self, letter: str, attempt: int = 1) -> TxnName:
        return TxnName(PID, letter.encode() * 15 + b"!", attempt)

    def something(self, number: int) -> None:
        """A step of one transaction or another, in no order of tokens."""
        letter = LETTERS[number * 11 % 26]
        if number % 7 == 0:
            self.open(letter, number)
        elif number % 7 == 1:
            self.decide(letter, number)
        elif number % 7 == 2:
            self.end(LETTERS[number * 5 % 26])
        elif number % 7 == 3:
            self.forget(LETTERS[number * 3 % 26])
        elif number % 7 == 4:
            abort(self.n1, self.ticket(), self.ours(letter, 2))
        elif number % 7 == 5:
            tombstone = FinishTxn(PID, self.n1.partition.ver, named(letter, 9), 0, 0, False, False)
            self.n1.call(self.ticket(), tombstone)
        else:
            self.n1.put(self.ticket(), b"k%d" % (number % 9), b"by a write")


def digests(node: StoryNode) -> list[int]:
    made = BucketDigests(node.partition.copy.prefix, node.engine.snapshot())
    while not made.step():
        pass
    contents = node.partition.copy.contents
    assert (contents.keys, contents.size_bytes) == (made.keys, made.size_bytes)
    return [made.seq, made.keys, made.size_bytes, *made.digests]


def test_nothing_happens_meanwhile() -> None:
    story = FillingTxns()
    kinds = {key[:1] for key in story.n1.rows(Table.TXN)}
    assert kinds >= {PREPARED, UNDONE, ENDED}
    story.until_filled()
    story.settle(apply=True)
    assert digests(story.n3) == digests(story.n1)
    assert story.n3.rows_equal(story.n1)


def test_records_pass_at_every_place_of_the_cursor() -> None:
    story = FillingTxns()
    seen: set[bytes] = set()
    for number in range(400):
        story.something(number)
        story.step()
        story.pass_ms(20)
        for node in story.nodes.values():
            node.tick()
        filling = story.n3.partition.copy.backfill
        if filling is not None and not filling.done:
            seen.add(filling.cursor[:1])
    story.until_filled()
    story.settle(apply=True)
    assert seen >= {PREPARED, UNDONE, ENDED}, seen
    assert digests(story.n3) == digests(story.n1)
    copies = [node.partition.copy.txns for node in (story.n1, story.n3)]
    assert copies[0].prepared == copies[1].prepared
    assert copies[0].undone == copies[1].undone
    assert copies[0].blocked == copies[1].blocked


@pytest.mark.parametrize("chunk", range(1, 18))
def test_a_restart_in_the_midst_changes_nothing(chunk: int) -> None:
    story = FillingTxns()
    story.until_chunk(chunk)
    for number in range(14):
        story.something(number)
    story.step()
    story.restart(story.n3)
    for number in range(14, 28):
        story.something(number)
    story.until_filled()
    story.settle(apply=True)
    assert digests(story.n3) == digests(story.n1)
    txns = story.n3.partition.copy.txns
    assert txns.prepared == story.n1.partition.copy.txns.prepared
    assert txns.undone == story.n1.partition.copy.txns.undone
    assert txns.blocked == story.n1.partition.copy.txns.blocked
