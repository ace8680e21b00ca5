"""Telling participants what was decided, when their client is told already.

Guarantees: every participant is told until it has carried the decision out or the time is over; that all have is
reported only where each record on which a commit rests was named. Leaves to others: participants that are not reached
(they ask the primary). Sans-IO. PROTOCOL "Transactions".
"""

from __future__ import annotations

from collections.abc import Iterable

from cluster.txn.exchange import Exchange, Question
from kvstore.messages import Body, Done, FinishTxn, InDoubt, ResolveTxns, TxnName, TxnsResolved, Vote

# However late it was decided.
FINISH_S_MIN = 1.0


class Finishing:
    """Attributes:
    end_s: when to cease, but for what was decided late.
    """

    def __init__(self) -> None:
        self.end_s = 0.0
        self._fresh: list[Exchange] = []
        self._open: set[Exchange] = set()
        self._unfinished = 0
        self._has_all = False
        self._complete: TxnName | None = None

    @property
    def is_over(self) -> bool:
        """Whether nobody is left to be told."""
        return not self._open

    def take_fresh(self) -> list[Exchange]:
        """What is to be asked now."""
        fresh, self._fresh = self._fresh, []
        return fresh

    def take_complete(self) -> TxnName | None:
        """A commit that all participants have carried out by now; once."""
        complete, self._complete = self._complete, None
        return complete

    def is_awaited(self, exchange: Exchange) -> bool:
        """Whether this was not answered yet."""
        return exchange in self._open

    def give_up(self, exchange: Exchange) -> None:
        """This will not be answered."""
        self._open.discard(exchange)

    def commit(self, name: TxnName, votes: Iterable[Vote], then: bool, now_s: float) -> None:
        """The decision rests on these votes."""
        finishes = [FinishTxn(vote.pid, 0, name, vote.epoch, vote.seq, True, then) for vote in votes]
        self._unfinished = len(finishes)
        for finish in finishes:
            self._tell(finish.pid, finish, now_s)

    def abort(self, name: TxnName, pid: int, vote: Vote | None, now_s: float) -> None:
        """Nothing of this name is to happen in the partition."""
        epoch, seq = (vote.epoch, vote.seq) if vote else (0, 0)
        self._tell(pid, FinishTxn(pid, 0, name, epoch, seq, False, False), now_s)

    def resolve(self, name: TxnName, votes: Iterable[Vote], are_all: bool, now_s: float) -> None:
        """It is committed, and these votes may or may not be what that rests on: the primary knows.

        Args: are_all: all participants have voted.
        """
        self._has_all = are_all
        asks = [InDoubt(name, vote.pid, vote.epoch, vote.seq, False) for vote in votes]
        if asks:
            self._tell(name.primary, ResolveTxns(asks), now_s)

    def take(self, exchange: Exchange, question: FinishTxn | ResolveTxns, body: Body, now_s: float) -> bool:
        """An answer that is no fault; False where it does not fit the question."""
        if isinstance(question, ResolveTxns) and isinstance(body, TxnsResolved):
            return self._resolved(exchange, question, body, now_s)
        if isinstance(question, FinishTxn) and isinstance(body, Done):
            self._open.discard(exchange)
            self._finished(question)
            return True
        return False

    def _resolved(self, exchange: Exchange, question: ResolveTxns, told: TxnsResolved, now_s: float) -> bool:
        asked = {(ask.txn, ask.pid, ask.epoch, ask.seq) for ask in question.asks}
        outcomes = [one for one in told.outcomes if (one.txn, one.pid, one.epoch, one.seq) in asked]
        if len(outcomes) < len(asked):
            # Who leads the primary knows of all: the decision is durable.
            return False
        self._open.discard(exchange)
        # One that is aborted is never counted down: of what the commit rests on in its place nothing is known here.
        self._unfinished = len(outcomes) if self._has_all else 0
        for one in outcomes:
            finish = FinishTxn(one.pid, 0, one.txn, one.epoch, one.seq, one.commits, one.then)
            self._tell(one.pid, finish, now_s)
        return True

    def _finished(self, question: FinishTxn) -> None:
        if question.commits and self._unfinished:
            self._unfinished -= 1
            if not self._unfinished:
                self._complete = question.txn

    def _tell(self, pid: int, question: Question, now_s: float) -> None:
        end_s = max(self.end_s, now_s + FINISH_S_MIN)
        exchange = Exchange(pid, question, end_s, end_s)
        self._open.add(exchange)
        self._fresh.append(exchange)
