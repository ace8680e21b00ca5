"""Rules of transactions broken on purpose."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from typing import Any
from unittest.mock import patch

import msgspec

from cluster.txn.coordinator import Coordinator
from kvstore import reads
from kvstore.instant import Instant
from kvstore.messages import Done, FinishTxn, InDoubt, Prepare, Resolved, Transacted, Voted
from kvstore.partition import Partition
from kvstore.replication.leader import Leader
from kvstore.txn import state
from kvstore.txn.participant import Participant
from kvstore.txn.primary import Primary
from kvstore.txn.records import Decided, Prepared
from kvstore.txn.transactions import Transactions


def _vote_before_durable() -> AbstractContextManager[object]:
    """A participant votes as soon as its record is appended."""
    original = Participant.prepare

    def prepare(self: Participant, ticket: object, asked: Prepare, *args: Any) -> Any:
        answer = original(self, ticket, asked, *args)
        held = self.held.get(asked.txn)
        return answer if held is None else Voted(held.prepared.vote)

    return patch.object(Participant, "prepare", prepare)


def _after_taking_over(forget: Callable[[Transactions], None]) -> AbstractContextManager[object]:
    original = Leader.__init__

    def init(self: Leader, *args: Any) -> None:
        original(self, *args)
        forget(self.txns)

    return patch.object(Leader, "__init__", init)


def _locks_not_rebuilt() -> AbstractContextManager[object]:
    """A new leader knows what is prepared, but not what that locks."""
    return _after_taking_over(lambda txns: txns.locks.holders.clear())


def _hidden_not_rebuilt() -> AbstractContextManager[object]:
    """A new leader locks what is prepared, but shows its keys."""
    return _after_taking_over(lambda txns: txns.participant.hidden.clear())


def _hidden_shown() -> AbstractContextManager[object]:
    """A read shows what a key was before a transaction that may be decided."""
    original = reads.rows_at_once

    def rows_at_once(partitions: Mapping[int, Partition], *args: Any) -> list[bytes | None] | None:
        with contextlib.ExitStack() as stack:
            for partition in partitions.values():
                if partition.leader is not None:
                    stack.enter_context(patch.object(partition.leader.txns, "in_doubt", {}))
            return original(partitions, *args)

    return patch.object(reads, "rows_at_once", rows_at_once)


def _any_record_commits() -> AbstractContextManager[object]:
    """The primary tells of a commit whatever record it is asked about."""
    original = Primary.resolve

    def resolve(self: Primary, ask: InDoubt, *args: Any) -> Resolved | None:
        told = original(self, ask, *args)
        found = self._found(ask.txn, *args)
        if told is None or found is None or found[1].txn != ask.txn:
            return told
        return msgspec.structs.replace(told, commits=found[1].commits, then=found[1].then)

    return patch.object(Primary, "resolve", resolve)


def _without_a_vote() -> AbstractContextManager[object]:
    """A coordinator has enough when all participants but one have voted."""
    original = Coordinator._voted

    def voted(self: Coordinator, *args: Any) -> bool:
        is_vote = original(self, *args)
        if self._votes and len(self._votes) == len(self._prepares) - 1 and self._asked is None:
            self._decide(args[-1])
        return is_vote

    return patch.object(Coordinator, "_voted", voted)


def _abort_before_durable() -> AbstractContextManager[object]:
    """A primary tells that a transaction is aborted as soon as the record is appended."""
    original = Primary._abort

    def abort(self: Primary, ticket: object, name: Any, fault: Any, now: Instant) -> Any:
        original(self, object, name, fault, now)
        self._end._waiting.pop()  # type: ignore[attr-defined]
        return Transacted(name, False, False, True, [], fault)

    return patch.object(Primary, "_abort", abort)


def _decides_alone() -> AbstractContextManager[object]:
    """A participant takes it for aborted when the time of a transaction is over."""

    def due(self: Participant, now: Instant) -> list[InDoubt]:
        for name, held in list(self.held.items()):
            if not held.finish_seq and held.seq <= self._copy.commit_seq and now.mono_ms >= held.due_ms:
                self._finish(name, False, False, now)
        return []

    return patch.object(Participant, "due", due)


def _reads_not_locked() -> AbstractContextManager[object]:
    """A participant locks only what a transaction may write."""

    def take_prepared(self: Participant, prepared: Prepared, *args: Any) -> None:
        original(self, prepared, *args)
        self._locks.release(prepared.txn, set(prepared.keys) - prepared.written)

    original = Participant.take_prepared
    return patch.object(Participant, "take_prepared", take_prepared)


@contextlib.contextmanager
def _forgotten_at_once() -> Iterator[None]:
    """A primary forgets a decision when it is committed, whoever has not heard of it."""
    original = Primary.take_decided

    def take_decided(self: Primary, decided: Decided, *args: Any) -> None:
        original(self, decided, *args)
        if decided.prepares:
            self._forgettable[decided.txn.token] = None

    with patch.object(Primary, "take_decided", take_decided), patch.object(state, "KEEP_MS", 0):
        yield


def _not_filled() -> AbstractContextManager[object]:
    """A learner gets the data, but not what is prepared and decided."""
    return patch.object(state, "transferred_rows", lambda *_: iter(()))


def _abort_not_written() -> AbstractContextManager[object]:
    """A primary that knows nothing of a transaction whose time is over says that it is aborted, and forgets that."""
    original = Primary.resolve

    def resolve(self: Primary, ask: InDoubt, *args: Any) -> Resolved | None:
        if ask.gives_up and self._found(ask.txn, *args) is None:
            return Resolved(ask.txn, ask.pid, ask.epoch, ask.seq, False, False)
        return original(self, ask, *args)

    return patch.object(Primary, "resolve", resolve)


def _finished_twice() -> AbstractContextManager[object]:
    """A participant that is told again carries it out again."""
    original = Participant.finish

    def finish(self: Participant, ticket: object, asked: FinishTxn, view: Any, now: Instant) -> Any:
        held = self.held.get(asked.txn)
        if held is None or not held.finish_seq:
            return original(self, ticket, asked, view, now)
        return self._end.answer_at(self._finish(asked.txn, asked.commits, asked.then, now), ticket, Done())

    return patch.object(Participant, "finish", finish)


BROKEN: Mapping[str, tuple[Callable[[], AbstractContextManager[object]], str]] = {
    "vote_before_durable": (_vote_before_durable, ""),
    "locks_not_rebuilt": (_locks_not_rebuilt, ""),
    "hidden_not_rebuilt": (_hidden_not_rebuilt, "in_doubt"),
    "hidden_shown": (_hidden_shown, ""),
    "any_record_commits": (_any_record_commits, ""),
    "without_a_vote": (_without_a_vote, ""),
    "abort_before_durable": (_abort_before_durable, ""),
    "decides_alone": (_decides_alone, ""),
    "reads_not_locked": (_reads_not_locked, ""),
    "forgotten_at_once": (_forgotten_at_once, ""),
    "txns_not_filled": (_not_filled, "moves"),
    "abort_not_written": (_abort_not_written, ""),
    "finished_twice": (_finished_twice, ""),
}
