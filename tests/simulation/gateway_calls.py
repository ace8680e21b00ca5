"""Calls of a simulated gateway to nodes: lost, late, doubled, with answers that come too late or never.

Every message goes through the real codec. A call that is doubled stands for an attempt that its sender has given up:
its answer reaches nobody, nor does a refusal of the other one, and it does nothing new where that was refused before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

import msgspec
from simulation.network import CLUSTER_ID
from simulation.sim_node import SimNode
from simulation.txn_checkers import TxnWatch
from simulation.world import World

from kvstore.codec import FORMAT, decode_frame, encode_frame
from kvstore.doubts import TxnCall
from kvstore.map_values import Entry
from kvstore.messages import Body, Envelope, Failed, Fault, Frame, ResolveTxns, Transact, TxnName, TxnsFinished

Question = TxnCall | ResolveTxns
B = TypeVar("B", bound=Body)


@dataclass(frozen=True)
class CallFaults:
    """Chances per message; `late_ms` is how late a late one may be."""

    lose: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    late_ms: float = 3000.0


class Call:
    """One call; `settled` hears of its end once, while its gateway lives: an answer, or why there is none."""

    __slots__ = ("is_doubled", "is_open", "is_refused", "question", "settled")

    def __init__(self, question: Question, settled: Callable[[Body | None], None]) -> None:
        self.question = question
        self.settled = settled
        self.is_open = True
        self.is_refused = False
        self.is_doubled = False

    def settle(self, answer: Body | None) -> None:
        if self.is_open:
            self.is_open = False
            self.settled(answer)


class GatewayCalls:
    """What lies between all gateways and nodes."""

    def __init__(self, world: World, nodes: dict[str, SimNode], watch: TxnWatch) -> None:
        self.faults = CallFaults()
        self.sent: list[Call] = []
        self.on_answer: Callable[[Body], None] = lambda answer: None
        self._world = world
        self._nodes = nodes
        self._watch = watch

    def is_up(self, node: str) -> bool:
        """Whether the node's connection stands, as far as the gateway's kernel knows."""
        return self._nodes[node].is_up or self._world.rng.random() < 0.2

    def call(self, node: str, question: Question, timeout_ms: float, settled: Callable[[Body | None], None]) -> None:
        """Ask a node; `settled` gets None where no answer comes in time."""
        question = _on_wire(question)
        call = Call(question, settled)
        self.sent.append(call)
        rng, faults = self._world.rng, self.faults
        self._world.at(timeout_ms, lambda: call.settle(None))
        if rng.random() >= faults.lose:
            self._world.at(self._delay_ms(), lambda: self._arrive(node, call))
        if rng.random() < faults.repeat:
            self._world.at(rng.uniform(0, faults.late_ms), lambda: self.arrive_again(node, call))

    def tell(self, node: str, told: TxnsFinished) -> None:
        """Say something that has no answer."""
        if self._world.rng.random() >= self.faults.lose:
            self._world.at(self._delay_ms(), lambda: self._nodes[node].txn_news("gateway", _on_wire(told)))

    def arrive_again(self, node: str, call: Call, entry: Entry | None = None) -> None:
        """The call arrives once more, long after. Args: entry: it bears the version of this one, None for its own."""
        if call.is_refused and isinstance(call.question, Transact):
            return
        call.is_doubled = True
        question = call.question
        if entry is not None and not isinstance(question, ResolveTxns):
            question = msgspec.structs.replace(question, ver=entry.ver)
        known = self._watch.known(question)
        self._ask(node, question, lambda answer: self._check(question, answer, known))

    def _delay_ms(self) -> float:
        rng = self._world.rng
        return rng.uniform(0.1, 1.5) + (rng.uniform(0, self.faults.late_ms) if rng.random() < self.faults.late else 0)

    def _arrive(self, node: str, call: Call) -> None:
        known = self._watch.known(call.question)

        def answered(answer: Body) -> None:
            self._check(call.question, answer, known)
            call.is_refused = call.is_refused or isinstance(answer, Failed)
            if call.is_doubled and call.is_refused and isinstance(call.question, Transact):
                return
            if self._world.rng.random() >= self.faults.lose:
                self._world.at(self._delay_ms(), lambda: call.settle(_on_wire(answer)))

        self._ask(node, call.question, answered)

    def _ask(self, node: str, question: Question, answered: Callable[[Body], None]) -> None:
        if isinstance(question, ResolveTxns):
            self._nodes[node].txn_ask(question, answered)
        elif self._nodes[node].is_up:
            self._nodes[node].transact(
                question, lambda answer: answered(Failed(answer) if isinstance(answer, Fault) else answer)
            )

    def _check(self, question: Question, answer: Body, known: TxnName | None) -> None:
        self._watch.told(question, answer, known)
        self.on_answer(answer)


def _on_wire(body: B) -> B:
    """As it is read at the other end."""
    (envelope,) = decode_frame(encode_frame(Frame(FORMAT, CLUSTER_ID, 0, [Envelope(1, 0, body)]))).messages
    assert isinstance(envelope.body, type(body))
    return envelope.body
