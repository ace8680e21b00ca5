"""One transaction, seen by who coordinates it: whom to ask what, and what its client is told.

Guarantees: the primary is asked to commit only when all participants have voted yes; a client is told of a commit when
it is durable, of an abort when that is durable or nothing can have been prepared, and of neither while an unanswered
question may have committed it: then the outcome is unknown; participants are told the decision on the very record that
they voted with. Takes events and a time, and returns effects. Leaves to others: sending and timers (`driver`), what is
left undone when its time is over (the participants ask the primary). Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from enum import Enum, auto

import msgspec

from cluster.txn.effects import AllFinished, Answer, Effect
from cluster.txn.exchange import Ask, Exchange, Exchanges, Question
from cluster.txn.finishing import Finishing
from cluster.txn.transaction import Transaction, TxnOutcome, txn_id
from cluster.txn.votes import bounded, fault_of, fits, merged, possible_only
from kvstore.errors import KvError, NoLeader, OutcomeUnknown, TokenReused, TxnConflict, from_code
from kvstore.messages import (
    AbortTxn,
    AskTxn,
    Body,
    Failed,
    Fault,
    FinishTxn,
    Prepare,
    ResolveTxns,
    Transact,
    Transacted,
    TxnKnown,
    TxnName,
    TxnPart,
    Vote,
    Voted,
)

# Of the time of a transaction: participants have so much to vote, so that the rest is enough to abort it.
VOTING = 0.8
# The last attempt has so much, so that it is not sent only to be lost.
RESERVE = 0.1
RESTARTS_MAX = 4
# What a node says that does not lead the partition.
AGAIN = frozenset(("wrong_leader", "no_leader"))


class _Phase(Enum):
    VOTING = auto()
    DECIDING = auto()
    ABORTING = auto()
    ENDED = auto()


class Coordinator:
    """Args:
    name: of its first attempt.
    parts: what is asked of each partition.
    exchanges: new ones, of this transaction alone.
    timeout_s: how long it may take in all.
    answer_bytes_max: the values of its results take so many bytes at most.
    """

    def __init__(
        self,
        transaction: Transaction,
        name: TxnName,
        parts: Mapping[int, TxnPart],
        exchanges: Exchanges,
        *,
        timeout_s: float,
        answer_bytes_max: int,
    ) -> None:
        self._transaction = transaction
        self._name = name
        self._parts = parts
        self._exchanges = exchanges
        self._timeout_s = timeout_s
        self._answer_bytes_max = answer_bytes_max
        self._began_s = 0.0
        self._restarts = 0
        self._effects: list[Effect] = []
        self._phase = _Phase.VOTING
        self._prepares: dict[int, Exchange] = {}
        self._votes: dict[int, Vote] = {}
        # The question to the primary that is to be answered, and whether one before it may yet commit.
        self._asked: Exchange | None = None
        self._may_commit = False
        self._refusal: KvError | None = None
        self._finishing = Finishing()

    # ---- events -------------------------------------------------------------------------------------------------

    def start(self, now_s: float) -> list[Effect]:
        """Begin; once, before all else."""
        self._began_s = now_s
        self._finishing.end_s = now_s + self._timeout_s
        self._begin(now_s)
        return self._taken()

    def answered(self, ask: Ask, body: Body, now_s: float) -> list[Effect]:
        """The node answered; a newer map entry in a fault is taken elsewhere, before this."""
        exchange = ask.exchange
        exchange.is_out, exchange.was_sent = False, True
        if isinstance(body, Failed) and body.fault.code == "outcome_unknown":
            return self.lost(ask, body.fault.detail, now_s)
        if self._is_awaited(exchange):
            if isinstance(body, Failed):
                self._failed(exchange, body.fault, now_s)
            elif not self._take(exchange, body, now_s):
                return self.lost(ask, f"an answer of node {ask.node} that does not fit", now_s)
        return self._taken()

    def not_sent(self, ask: Ask, reason: str, now_s: float) -> list[Effect]:
        """The call never left."""
        exchange = ask.exchange
        exchange.is_out = False
        if self._is_awaited(exchange):
            exchange.reason = NoLeader(f"the leader {ask.node} cannot be reached: {reason}")
            if not self._may_repeat(exchange) or not self._exchanges.pause_unsent(exchange, ask.node, now_s):
                self._give_up(exchange, now_s)
        return self._taken()

    def lost(self, ask: Ask, reason: str, now_s: float) -> list[Effect]:
        """The call was sent, and nobody knows what became of it."""
        exchange = ask.exchange
        exchange.is_out, exchange.was_sent, exchange.is_unknown = False, True, True
        if self._is_awaited(exchange):
            self._again(exchange, NoLeader(f"no answer from node {ask.node}: {reason}"), now_s)
        return self._taken()

    def entries_changed(self, pids: Collection[int], now_s: float) -> list[Effect]:
        """The map has newer entries of these partitions."""
        return self._resume(self._exchanges.take_waiting_for(pids), now_s)

    def tick(self, now_s: float) -> list[Effect]:
        """It is `wake_s`, or later."""
        return self._resume(self._exchanges.take_due(now_s), now_s)

    @property
    def wake_s(self) -> float | None:
        """When `tick` is to be called."""
        return self._exchanges.wake_s

    @property
    def is_over(self) -> bool:
        """Whether the client is answered and the participants are told."""
        return self._phase is _Phase.ENDED and self._finishing.is_over

    # ---- asking, again and again --------------------------------------------------------------------------------

    def _resume(self, paused: Iterable[Exchange], now_s: float) -> list[Effect]:
        """Ask those whose pauses ended at once; one that cannot be asked any more may be the end of others."""
        for exchange in paused:
            if self._may_repeat(exchange):
                self._ask(exchange, now_s)
        return self._taken()

    def _ask(self, exchange: Exchange, now_s: float) -> None:
        if not self._exchanges.attempt(exchange, now_s, self._effects.append):
            self._give_up(exchange, now_s)

    def _ask_primary(self, question: Question, now_s: float) -> None:
        exchange = self._asked = Exchange(self._name.primary, question, *self._until(1.0))
        self._ask(exchange, now_s)

    def _until(self, share: float) -> tuple[float, float]:
        """When attempts cease to begin and to be waited for, where so much of the time is theirs."""
        end_s = self._began_s + self._timeout_s * share
        return end_s - self._timeout_s * RESERVE * share, end_s

    def _again(self, exchange: Exchange, reason: KvError, now_s: float) -> None:
        exchange.reason = reason
        if not self._may_repeat(exchange) or not self._exchanges.pause(exchange, now_s):
            self._give_up(exchange, now_s)

    def _may_repeat(self, exchange: Exchange) -> bool:
        return self._phase is _Phase.VOTING or not isinstance(exchange.question, Prepare)

    def _is_awaited(self, exchange: Exchange) -> bool:
        """Whether what becomes of it still matters."""
        question = exchange.question
        if isinstance(question, FinishTxn | ResolveTxns):
            return self._finishing.is_awaited(exchange)
        if isinstance(question, Prepare):
            return self._prepares.get(exchange.pid) is exchange
        return self._asked is exchange

    def _take(self, exchange: Exchange, body: Body, now_s: float) -> bool:
        """An answer that is no fault; False where it does not fit the question."""
        question = exchange.question
        if isinstance(question, Prepare):
            return isinstance(body, Voted) and self._voted(question, body.vote, now_s)
        if isinstance(question, Transact | AbortTxn):
            return isinstance(body, Transacted) and self._told(exchange, body, now_s)
        if isinstance(question, AskTxn):
            if isinstance(body, TxnKnown):
                self._prepare(now_s)
            return isinstance(body, TxnKnown)
        return self._finishing.take(exchange, question, body, now_s) and self._tell(now_s)

    def _failed(self, exchange: Exchange, fault: Fault, now_s: float) -> None:
        question = exchange.question
        error = NoLeader(fault.detail) if fault.code in AGAIN else from_code(fault.code, fault.detail)
        if isinstance(question, Transact | AbortTxn) and isinstance(error, TokenReused):
            # Another transaction has been committed in the place of this one.
            self._end_aborted(error, now_s)
        elif isinstance(question, Prepare) and fault.code not in AGAIN:
            if self._phase is _Phase.VOTING:
                self._abort(error, now_s)
        elif isinstance(question, Transact) and fault.code not in AGAIN and (self._prepares or not exchange.is_unknown):
            self._not_decided(exchange, error, now_s)
        else:
            self._again(exchange, error, now_s)

    def _give_up(self, exchange: Exchange, now_s: float) -> None:
        """No attempt will be made any more."""
        question = exchange.question
        if isinstance(question, FinishTxn | ResolveTxns):
            self._finishing.give_up(exchange)
        elif isinstance(question, Prepare):
            if self._phase is _Phase.VOTING:
                self._abort(exchange.error, now_s)
        elif isinstance(question, AskTxn):
            self._end(exchange.error)
        elif isinstance(question, AbortTxn):
            self._not_aborted(exchange.error)
        elif exchange.is_unknown:
            self._end(OutcomeUnknown(str(exchange.error)))
        else:
            self._not_decided(exchange, exchange.error, now_s)

    # ---- voting -------------------------------------------------------------------------------------------------

    def _begin(self, now_s: float) -> None:
        """Begin the attempt of this name."""
        self._phase = _Phase.VOTING
        self._prepares, self._votes = {}, {}
        self._may_commit = False
        if len(self._parts) == 1:
            self._transact(now_s)
        elif self._exchanges.is_led(self._name.primary):
            self._prepare(now_s)
        else:
            # Nobody's keys are locked for the sake of a primary that is not there.
            self._ask_primary(AskTxn(self._name.primary, 0, self._name), now_s)

    def _prepare(self, now_s: float) -> None:
        self._asked = None
        ttl_ms = max(1, int((self._began_s + self._timeout_s - now_s) * 1000))
        until = self._until(VOTING)
        name = self._name
        self._prepares = {
            pid: Exchange(pid, Prepare(pid, 0, name, part, ttl_ms), *until)
            for pid, part in self._parts.items()
            if pid != name.primary
        }
        for exchange in self._prepares.values():
            if self._phase is _Phase.VOTING:
                self._ask(exchange, now_s)

    def _voted(self, prepare: Prepare, vote: Vote, now_s: float) -> bool:
        if vote.pid != prepare.pid or not fits(vote, prepare.part):
            return False
        self._votes[vote.pid] = bounded(vote, self._votes.values(), self._answer_bytes_max)
        if self._phase is _Phase.VOTING and len(self._votes) == len(self._prepares):
            self._decide(now_s)
        return True

    def _decide(self, now_s: float) -> None:
        votes = list(self._votes.values())
        asks_primary = bool(self._parts[self._name.primary].conditions)
        error = fault_of(votes, asks_primary)
        if error is None:
            self._transact(now_s)
        else:
            self._abort(error, now_s)

    def _transact(self, now_s: float) -> None:
        self._phase = _Phase.DECIDING
        primary = self._name.primary
        part = self._parts[primary]
        votes = possible_only(list(self._votes.values()), bool(part.conditions))
        self._ask_primary(Transact(primary, 0, self._name, part, votes), now_s)

    # ---- the primary's word -------------------------------------------------------------------------------------

    def _told(self, exchange: Exchange, told: Transacted, now_s: float) -> bool:
        """The decision; False where it is none on this transaction."""
        asked, name = self._name, told.txn
        # What clients may ask again another primary has decided, if the keys have changed their partition since.
        is_ours = name.primary == asked.primary and name.attempt >= asked.attempt
        is_former = name.primary != asked.primary and asked.is_clients
        if name.token != asked.token or not (is_ours or is_former):
            return False
        if told.commits:
            return self._committed(told, now_s)
        may_be_ours = name == asked and (exchange.is_unknown or self._may_commit)
        error = self._refusal or (from_code(told.fault.code, told.fault.detail) if told.fault else None)
        if asked.is_clients and not told.is_new and not (may_be_ours and error):
            self._restart(name.attempt + 1, error, now_s)
        elif error is None and not told.is_new:
            self._end_aborted(NoLeader("the transaction took too long, and was given up"), now_s)
        else:
            self._end_aborted(error or TxnConflict("the primary has aborted the transaction"), now_s)
        return True

    def _committed(self, told: Transacted, now_s: float) -> bool:
        # The decision may rest on what another gateway has prepared.
        is_anothers = self._name.is_clients and not told.is_new
        asked = self._transaction.then if told.then else self._transaction.otherwise
        votes = [] if is_anothers else list(self._votes.values())
        results = merged([*(vote.branch(told.then).results for vote in votes), told.results], len(asked))
        if results is None:
            self._may_commit = True
            return False
        self._end(TxnOutcome(txn_id(told.txn), told.then, results, len(self._parts)))
        if told.txn != self._name:
            self._finish_aborted(now_s)
        elif is_anothers:
            are_all = len(self._votes) == len(self._prepares)
            self._finishing.resolve(self._name, self._votes.values(), are_all, now_s)
        else:
            self._finishing.commit(self._name, votes, told.then, now_s)
        return self._tell(now_s)

    def _not_decided(self, exchange: Exchange, error: KvError, now_s: float) -> None:
        """This very question to commit did nothing."""
        if self._prepares:
            self._may_commit = exchange.is_unknown
            self._abort(error, now_s)
        else:
            self._end(error)

    def _abort(self, error: KvError, now_s: float) -> None:
        self._phase = _Phase.ABORTING
        self._refusal = error
        self._exchanges.drop(Prepare)
        name = self._name
        if name.is_clients:
            concerns = any(exchange.is_out or exchange.was_sent for exchange in self._prepares.values())
        else:
            concerns = any(map(self._may_have_prepared, self._prepares.values()))
        if concerns:
            self._ask_primary(AbortTxn(name.primary, 0, name), now_s)
        else:
            self._end(error)

    def _not_aborted(self, reason: KvError) -> None:
        """Nobody knows, or will ever say, whether it is aborted."""
        assert self._refusal is not None, "there was a reason to abort it"
        if self._may_commit or self._name.is_clients:
            self._end(OutcomeUnknown(f"{self._refusal}; then, to abort it: {reason}"))
        else:
            self._end(self._refusal)

    def _restart(self, attempt: int, error: KvError | None, now_s: float) -> None:
        """What was asked for by this name was aborted before, so it has to be asked for by another."""
        has_time = now_s < self._until(VOTING)[0] and self._restarts < RESTARTS_MAX
        if not has_time:
            self._end_aborted(error or TxnConflict("earlier attempts were aborted, and there is no time left"), now_s)
            return
        self._restarts += 1
        self._finish_aborted(now_s)
        self._refusal = None
        self._name = msgspec.structs.replace(self._name, attempt=attempt)
        self._begin(now_s)

    def _end_aborted(self, error: KvError, now_s: float) -> None:
        self._end(error)
        self._finish_aborted(now_s)

    def _end(self, result: TxnOutcome | KvError) -> None:
        self._phase = _Phase.ENDED
        self._asked = None
        self._effects.append(Answer(result))

    def _finish_aborted(self, now_s: float) -> None:
        for pid, exchange in self._prepares.items():
            if self._may_have_prepared(exchange):
                self._finishing.abort(self._name, pid, self._votes.get(pid), now_s)
        self._tell(now_s)

    def _tell(self, now_s: float) -> bool:
        """Tell the participants what is to be told."""
        for exchange in self._finishing.take_fresh():
            self._ask(exchange, now_s)
        complete = self._finishing.take_complete()
        if complete is not None:
            self._effects.append(AllFinished(complete))
        return True

    def _may_have_prepared(self, exchange: Exchange) -> bool:
        return exchange.is_out or exchange.is_unknown or exchange.pid in self._votes

    def _taken(self) -> list[Effect]:
        taken, self._effects = self._effects, []
        return taken
