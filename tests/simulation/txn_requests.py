"""Transactions that clients asked for, and what they were told: held against what was committed.

A request is known by the token of its name. One with a client's token may be sent through several gateways, at the
same time and again later; each of these is a send.
"""

from __future__ import annotations

from simulation.history import History
from simulation.txn_model import Expected, seen
from simulation.violation import Violation
from simulation.world import World

from cluster.txn.transaction import Transaction, TxnOutcome, txn_id
from kvstore.errors import KvError, OutcomeUnknown, TokenReused
from kvstore.messages import TxnName


class TxnRequest:
    """One transaction, and all its sends."""

    def __init__(self, name: TxnName, transaction: Transaction) -> None:
        self.name = name
        self.transaction = transaction
        self.primaries: set[int] = set()
        self.sends = 0
        self.open = 0
        self.committed_ms: float | None = None
        self.expected: Expected | None = None

    def committed(self, now_ms: float, expected: Expected) -> None:
        """Its decision is committed, and this is what it comes to."""
        if not self.open:
            raise Violation(f"{self.name} is committed, and everybody who asked was told that nothing would be changed")
        self.committed_ms, self.expected = now_ms, expected


class TxnRequests:
    """Args: history: counts what clients are told."""

    def __init__(self, world: World, history: History) -> None:
        self._world = world
        self._history = history
        self._requests: dict[bytes, TxnRequest] = {}

    def find(self, name: TxnName) -> TxnRequest:
        """The request of that name."""
        request = self._requests.get(name.token)
        if request is None or name.primary not in request.primaries:
            raise Violation(f"nobody asked for {name}")
        return request

    def begin(self, name: TxnName, transaction: Transaction) -> TxnSend:
        """A client sends a transaction, under the name of its first attempt."""
        request = self._requests.setdefault(name.token, TxnRequest(name, transaction))
        request.primaries.add(name.primary)
        request.sends += 1
        request.open += 1
        self._history.count("txn_asked")
        return TxnSend(request, self._world.now_ms, self._history)

    def is_committed(self, token: bytes) -> bool:
        request = self._requests.get(token)
        return request is not None and request.committed_ms is not None


class TxnSend:
    """A client has sent `request` through one gateway; as long as it is not told how it ended it may still happen."""

    def __init__(self, request: TxnRequest, asked_ms: float, history: History) -> None:
        self.request = request
        self._asked_ms = asked_ms
        self._history = history

    def told(self, result: TxnOutcome | KvError) -> None:
        """What the client is told is so: all of it happened, or nothing did."""
        if isinstance(result, TxnOutcome):
            self._check_outcome(result)
            self._history.count("txn_done")
        elif isinstance(result, OutcomeUnknown):
            self._history.count("txn_unknown")
            return
        else:
            self._check_refusal(result)
            self._history.count("txn_refused")
        self.request.open -= 1

    def _check_outcome(self, outcome: TxnOutcome) -> None:
        request, expected = self.request, self.request.expected
        if expected is None:
            raise Violation(f"{outcome} was told, and {request.name} is not committed")
        # Its primary is the one by which it was asked for first, and it may have taken several attempts.
        ids = txn_id(request.name).split("-")[1], outcome.id.split("-")[1]
        if ids[0] != ids[1] or (outcome.then, seen(outcome.results)) != (expected.then, expected.results):
            raise Violation(f"{request.name}: {outcome} was told, it came to {expected}")

    def _check_refusal(self, error: KvError) -> None:
        request = self.request
        if isinstance(error, TokenReused):
            raise Violation(f"{request.name}: a token that stands for nothing else was refused")
        done_ms = request.committed_ms
        # Of a request that is sent again, 503 tells only that this attempt did nothing.
        is_about_all = request.sends == 1 or (done_ms is not None and done_ms < self._asked_ms and error.status < 429)
        if done_ms is not None and is_about_all:
            raise Violation(f"{request.name} was committed at {done_ms:.1f}; who asked was told {error!r}")
