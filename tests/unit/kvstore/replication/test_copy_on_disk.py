"""A copy under every order of batches, cuts and crashes, against plain lists of rows."""

from __future__ import annotations

import msgspec
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from unit.kvstore.replication.test_copy import NAMED, NUMBER, append, loaded, put, save, table

from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import STATE
from kvstore.replication.log import Held
from kvstore.storage.engine import Batch, Table
from kvstore.storage.journal import Journal
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import decode_value


class CopyOnDisk(RuleBasedStateMachine):
    """Rows are appended, committed, saved, cut, and the process dies: beside it the rows as plain lists."""

    def __init__(self) -> None:
        super().__init__()
        self.engine = MemoryEngine()
        self.copy = Copy(NUMBER, NAMED)
        self.journal = Journal()
        self.epoch = 1
        self.rows: list[Held] = []
        self.stored: list[Held] = []
        self.in_flight: tuple[Batch, list[Held]] | None = None
        save(self.copy, self.engine)

    @rule(keys=st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3))
    def append(self, keys: list[bytes]) -> None:
        append(self.copy, *(put(key, b"%d" % self.copy.log.end) for key in keys), epoch=self.epoch)
        self.rows.append(list(self.copy.log.held_after(0))[-1])

    @precondition(lambda self: self.rows)
    @rule(pick=st.integers(0, 20))
    def commit(self, pick: int) -> None:
        self.copy.commit(self.rows[pick % len(self.rows)].head.last_seq)

    @precondition(lambda self: self.in_flight is None)
    @rule(apply=st.booleans(), empty=st.booleans())
    def begin_batch(self, apply: bool, empty: bool) -> None:
        batch = Batch()
        empty = empty or self.copy.empties_journal
        self.copy.save(batch, apply, None if empty else self.journal)
        self.journal.save(batch, empty)
        self.in_flight = batch, list(self.rows)

    @precondition(lambda self: self.in_flight is not None)
    @rule()
    def end_batch(self) -> None:
        assert self.in_flight is not None
        batch, self.stored = self.in_flight
        self.engine.commit(batch)
        self.copy.saved()
        self.in_flight = None

    @rule(count=st.integers(1, 3))
    def cut(self, count: int) -> None:
        keep = max(0, len(self.rows) - count)
        end = self.rows[keep - 1].head.last_seq if keep else 0
        if end >= self.copy.commit_seq:
            self.copy.cut(end)
            self.rows = self.rows[:keep]
            self.epoch += 1

    @rule(batch_survives=st.booleans())
    def crash(self, batch_survives: bool) -> None:
        if self.in_flight is not None and batch_survives:
            batch, self.stored = self.in_flight
            self.engine.commit(batch)
        self.in_flight = None
        self.journal = Journal()
        self.journal.load(self.engine.snapshot())
        self.copy = loaded(self.engine)
        self.rows = list(self.stored)
        self.epoch += 1

    @invariant()
    def the_log_is_the_rows(self) -> None:
        log = self.copy.log
        assert log.end == (self.rows[-1].head.last_seq if self.rows else 0)
        unapplied = [held for held in self.rows if held.head.first_seq > self.copy.applied_seq]
        assert [held.row for held in log.held_after(self.copy.applied_seq)] == [held.row for held in unapplied]
        epochs = [held.head.epoch for held in self.rows]
        assert [epoch for epoch, _ in log.starts] == sorted(set(epochs))

    @invariant()
    def nothing_is_called_durable_that_is_not_stored(self) -> None:
        assert self.copy.applied_seq <= self.copy.commit_seq <= self.copy.log.end
        stored = {held.head.last_seq: held.row for held in self.stored}
        for held in self.rows:
            if held.head.last_seq <= self.copy.durable_end:
                assert stored[held.head.last_seq] == held.row

    @invariant()
    def data_is_what_the_applied_rows_make(self) -> None:
        state = self.engine.snapshot().get(Table.META, self.copy.prefix + STATE)
        applied = msgspec.msgpack.decode(state)[1] if state else 0
        model = {}
        for held in self.stored:
            if held.head.last_seq <= applied:
                for seq, record in enumerate(held.head.records(), start=held.head.first_seq):
                    model[record.key] = (held.head.epoch, seq, record.value)
        rows = {key: decode_value(row) for key, row in table(self.engine, Table.DATA).items()}
        assert {key: (row.epoch, row.seq, row.value) for key, row in rows.items()} == model

    @invariant()
    def the_bytes_of_the_log_are_counted(self) -> None:
        if self.in_flight is None and not self.copy.has_changes:
            rows = set(table(self.engine, Table.LOG).values())
            rows.update(Journal().load(self.engine.snapshot()).get(NUMBER, []))
            assert self.copy.log_bytes == sum(map(len, rows))


CopyOnDisk.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
test_no_sequence_of_batches_cuts_and_crashes_makes_a_copy_lie = CopyOnDisk.TestCase
