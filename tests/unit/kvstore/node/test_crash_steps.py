"""The steps of the protocol are known by the rows of a batch."""

from __future__ import annotations

import msgspec
import pytest

from kvstore.codec import encode_entry
from kvstore.crash_point import CrashPoint
from kvstore.leases import PROOF_ROW
from kvstore.map_values import Entry, Rid
from kvstore.node.crash_steps import CrashingEngine, StepFinder
from kvstore.node_state import NODE_ROW
from kvstore.replication.copy_rows import BACKFILL, ENTRY, NAME, PROMISE, STATE, Backfill, CopyName, Promise, State
from kvstore.replication.gone import GONE_PREFIX
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import Record, RecordType, copy_prefix, encode_log_row, seq_key

PREFIX = copy_prefix(3)
ME, OTHER = Rid("n1", b"1" * 16), Rid("n2", b"2" * 16)


def meta(name: bytes, row: object) -> Batch:
    batch = Batch()
    batch.put(Table.META, PREFIX + name, row if isinstance(row, bytes) else msgspec.msgpack.encode(row))
    return batch


def entry(epoch: int, leader: Rid, *in_sync: Rid) -> Batch:
    return meta(ENTRY, encode_entry(Entry(7, "default", 9, epoch, leader, in_sync, (ME, OTHER))))


def log_row(epoch: int, first_seq: int, kind: RecordType = RecordType.PUT) -> Batch:
    row, _ = encode_log_row(epoch, first_seq, 0, 0, [Record(kind, b"k", b"v")])
    batch = Batch()
    batch.put(Table.LOG, seq_key(PREFIX, first_seq), row)
    return batch


def without(table: Table, key: bytes) -> Batch:
    batch = Batch()
    batch.delete(table, key)
    return batch


@pytest.fixture
def finder() -> StepFinder:
    """Of a node that leads a copy which has applied ten records in epoch 2."""
    made = StepFinder("n1")
    assert made.steps(meta(NAME, CopyName(7, ME))) == {"create"}
    made.steps(meta(STATE, State(10, 10, 0, 0, 0, 0)))
    made.steps(meta(PROMISE, Promise(2, 2, [])))
    assert made.steps(entry(2, ME, ME, OTHER)) == {"lead"}
    return made


def test_steps_of_the_log(finder: StepFinder) -> None:
    assert finder.steps(log_row(2, 11)) == {"append"}
    assert finder.steps(log_row(2, 12, RecordType.BARRIER)) == {"barrier"}
    assert finder.steps(log_row(3, 13)) == {"follow"}
    assert finder.steps(without(Table.LOG, seq_key(PREFIX, 13))) == {"cut"}
    assert finder.steps(log_row(2, 13)) == {"append"}
    assert finder.steps(without(Table.LOG, seq_key(PREFIX, 10))) == {"truncate"}


@pytest.mark.parametrize("kind", [RecordType.PREPARE, RecordType.DECIDE, RecordType.FINISH, RecordType.FORGET])
def test_steps_of_transactions_are_those_of_their_leader(finder: StepFinder, kind: RecordType) -> None:
    assert finder.steps(log_row(2, 11, kind)) == {"append", kind.name.lower()}
    assert finder.steps(log_row(3, 12, kind)) == {"follow"}


def test_a_row_is_a_step_when_it_is_journaled_and_not_again_when_it_is_moved(finder: StepFinder) -> None:
    journal, journaled, moved = Journal(), Batch(), log_row(2, 11)
    journal.add(3, moved.tables[Table.LOG][seq_key(PREFIX, 11)] or b"")
    journal.save(journaled, empty=False)
    assert finder.steps(journaled) == {"append"}
    journal.save(moved, empty=True)
    assert finder.steps(moved) == {"move"}


def test_what_a_store_held_before_is_no_step(finder: StepFinder) -> None:
    engine, journal, journaled = MemoryEngine(), Journal(), Batch()
    for batch in (
        meta(NAME, CopyName(7, ME)),
        meta(PROMISE, Promise(2, 2, [])),
        entry(2, ME, ME, OTHER),
        log_row(2, 1),
    ):
        engine.commit(batch)
    journal.add(3, log_row(2, 2).tables[Table.LOG][seq_key(PREFIX, 2)] or b"")
    journal.save(journaled, empty=False)
    engine.commit(journaled)
    again = StepFinder("n1")
    again.load(engine.snapshot())
    assert again.steps(entry(2, ME, ME, OTHER)) == set()
    assert again.steps(log_row(2, 2)) == set()
    assert again.steps(log_row(2, 3)) == {"append"}


def test_steps_of_membership(finder: StepFinder) -> None:
    assert finder.steps(entry(2, ME, ME)) == {"in_sync"}
    assert finder.steps(entry(2, ME, ME)) == set()
    assert finder.steps(entry(3, OTHER, ME, OTHER)) == set()
    assert finder.steps(meta(PROMISE, Promise(3, 2, []))) == {"promise"}
    assert finder.steps(meta(PROMISE, Promise(3, 3, []))) == {"reconcile"}
    assert finder.steps(meta(NAME, CopyName(7, ME))) == set()


def test_steps_of_data(finder: StepFinder) -> None:
    data = Batch()
    data.put(Table.DATA, PREFIX + b"k", b"row")
    assert finder.steps(data) == {"apply"}
    chunk = meta(BACKFILL, Backfill(5, 0, b"k"))
    chunk.put(Table.DATA, PREFIX + b"k", b"row")
    assert finder.steps(chunk) == {"chunk"}
    assert finder.steps(meta(BACKFILL, Backfill(5, 0))) == {"begin_backfill"}
    assert finder.steps(meta(BACKFILL, Backfill(5, 0, b"k", True))) == {"end_backfill"}
    assert finder.steps(without(Table.DATA, copy_prefix(1) + b"k")) == {"sweep"}


def test_steps_of_the_node(finder: StepFinder) -> None:
    for key, step in ((NODE_ROW, "node"), (PROOF_ROW, "proof"), (GONE_PREFIX + PREFIX, "give_up")):
        batch = Batch()
        batch.put(Table.META, key, b"")
        assert finder.steps(batch) == {step}


class Ended(BaseException):
    """Where a process would end."""


class Raises(CrashPoint):
    def crash(self) -> None:
        raise Ended


@pytest.mark.parametrize(("when", "is_there"), [("before", False), ("after", True)])
def test_a_batch_is_durable_only_after_its_step(when: str, is_there: bool) -> None:
    engine = MemoryEngine()
    engine.commit(meta(NAME, CopyName(7, ME)))
    crashing = CrashingEngine(engine, Raises(f"follow.{when}:1"), "n1")
    with pytest.raises(Ended):
        crashing.commit(log_row(3, 1))
    assert (engine.snapshot().get(Table.LOG, seq_key(PREFIX, 1)) is not None) is is_there
