"""What an operator sees and does of transactions that are prepared and not finished.

Guarantees: while somebody leads the primary and answers, only the primary decides; where nobody does, an operator's
word is carried out on every partition that has the transaction prepared, and logged before it is sent; a node that did
not answer is named. Leaves to others: text forms (`txn_operator_routes`), the decision (the primary). PROTOCOL
"Transactions".
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TypeVar

import msgspec
import structlog

from cluster.gateway.links import NodeLinks
from cluster.gateway.router import Router
from cluster.gateway.txn_bodies import branch_name
from cluster.txn.transaction import TxnStanding, TxnState, txn_id
from kvstore.errors import Conflict, NoLeader, NotFound, OutcomeUnknown
from kvstore.map_values import Standing
from kvstore.messages import (
    AbortTxn,
    AskTxn,
    Body,
    Done,
    Failed,
    ForceFinish,
    ListPrepared,
    PreparedTxn,
    PreparedTxns,
    Transacted,
    TxnKnown,
    TxnName,
)
from kvstore.rpc.connection import NotSent, RpcError

ATTEMPT_S = 2.0
POLL_S = 0.1
# Longer than a change of leader takes: who is silent for so long has no successor yet.
PATIENCE_S = 10.0

_Answer = TypeVar("_Answer", bound=Body)


class Prepared(msgspec.Struct, frozen=True):
    """What is prepared, oldest first, and the nodes that did not say."""

    txns: tuple[PreparedTxn, ...]
    missing: tuple[str, ...]


class Forced(msgspec.Struct, frozen=True):
    """The partitions that carried an operator's word out, and the nodes of which nobody knows what they hold."""

    partitions: tuple[int, ...]
    missing: tuple[str, ...]


class _Silence(Exception):
    """Nobody who leads the partition answered; `was_asked` where a question may have arrived."""

    def __init__(self, reason: str, was_asked: bool) -> None:
        super().__init__(reason)
        self.was_asked = was_asked


class TxnOperators:
    """Args: links: to the nodes of `router`'s map; patience_s: how long a leader is waited for."""

    def __init__(self, router: Router, links: NodeLinks, *, patience_s: float = PATIENCE_S) -> None:
        self._router = router
        self._links = links
        self._patience_s = patience_s
        self._log = structlog.get_logger()
        self._loop = asyncio.get_running_loop()

    async def prepared(self, name: TxnName | None = None) -> Prepared:
        """What the nodes have prepared, all or of this name."""
        nodes = sorted(node.id for node in self._router.map.nodes.values() if node.standing is not Standing.REMOVED)
        answers = await asyncio.gather(*(self._prepared_at(node, name) for node in nodes))
        found = [txn for answer in answers if answer is not None for txn in answer.txns]
        missing = tuple(node for node, answer in zip(nodes, answers, strict=True) if answer is None)
        return Prepared(tuple(sorted(found, key=lambda txn: (-txn.age_ms, txn.pid))), missing)

    async def settle(self, name: TxnName) -> TxnStanding:
        """Have the primary decide that it is aborted, unless it has decided; returns what it decided.

        Raises:
            NotFound: it is neither decided nor prepared anywhere.
            NoLeader: nobody who leads the primary answered.
            OutcomeUnknown: as before, and it may have decided.
        """
        if name.primary not in self._router.map.entries:
            raise NotFound("there is no transaction of this id")
        silent = f"partition {name.primary}, which decides, does not answer"
        try:
            known = await self._led(name.primary, lambda pid, ver: AskTxn(pid, ver, name), TxnKnown)
        except _Silence as silence:
            raise NoLeader(f"{silent}: {silence}") from silence
        if known.is_decided:
            return _standing(known.commits, known.then)
        found = await self.prepared(name)
        if not found.txns and not found.missing:
            raise NotFound("there is no transaction of this id")
        try:
            decided = await self._led(name.primary, lambda pid, ver: AbortTxn(pid, ver, name), Transacted)
        except _Silence as silence:
            kind = OutcomeUnknown if silence.was_asked else NoLeader
            raise kind(f"{silent}: {silence}") from silence
        # A later attempt stands there only when this one is aborted.
        return _standing(decided.commits and decided.txn == name, decided.then)

    async def force(self, name: TxnName, *, commits: bool, then: bool) -> Forced:
        """Stand in for the decision of a primary that nobody leads.

        Raises:
            Conflict: somebody leads it, who decides.
            NotFound: no node has it prepared.
            NoLeader: no node that answered has it prepared.
            OutcomeUnknown: not every partition that has it prepared carried it out; the same word may be given again.
        """
        if await self._is_led(name):
            raise Conflict(f"partition {name.primary} has a leader, who decides: resolve it without an outcome")
        found = await self.prepared(name)
        if not found.txns:
            if found.missing:
                raise NoLeader(f"it is not prepared where that is known; no answer from {', '.join(found.missing)}")
            raise NotFound("there is no transaction of this id that is prepared")
        pids = tuple(sorted({txn.pid for txn in found.txns}))
        self._log.warning(
            "transaction_resolved_by_operator",
            txn=txn_id(name),
            outcome="commit" if commits else "abort",
            branch=branch_name(then) if commits else "",
            partitions=pids,
        )
        ends = await asyncio.gather(*(self._forced(pid, name, commits, then) for pid in pids))
        if failures := [f"partition {pid}: {end}" for pid, end in zip(pids, ends, strict=True) if end]:
            raise OutcomeUnknown(f"give the same outcome again, for it is not carried out in {'; '.join(failures)}")
        return Forced(pids, found.missing)

    async def _forced(self, pid: int, name: TxnName, commits: bool, then: bool) -> str:
        """Finish it in one partition; returns why that is not known to be done, if so."""
        try:
            await self._led(pid, lambda at, ver: ForceFinish(at, ver, name, commits, then), Done)
        except _Silence as silence:
            return str(silence)
        return ""

    async def _is_led(self, name: TxnName) -> bool:
        if name.primary not in self._router.map.entries:
            return False
        try:
            await self._led(name.primary, lambda pid, ver: AskTxn(pid, ver, name), TxnKnown)
        except _Silence:
            return False
        return True

    async def _prepared_at(self, node: str, name: TxnName | None) -> PreparedTxns | None:
        answer = await self._ask(node, ListPrepared(name))
        return answer if isinstance(answer, PreparedTxns) else None

    async def _led(self, pid: int, question: Callable[[int, int], Body], kind: type[_Answer]) -> _Answer:
        """The answer of whoever leads a partition to a question that is safe to repeat; raises `_Silence`."""
        give_up_s = self._loop.time() + self._patience_s
        was_asked = False
        while True:
            entry = self._router.map.entries.get(pid)
            answer: Body | RpcError = NotSent("it has no leader")
            if entry is not None and entry.leader is not None:
                answer = await self._ask(entry.leader.node, question(pid, entry.ver))
            if isinstance(answer, kind):
                return answer
            was_asked |= isinstance(answer, RpcError) and not isinstance(answer, NotSent)
            if self._loop.time() > give_up_s:
                raise _Silence(_reason(answer), was_asked)
            if not (isinstance(answer, Failed) and self._learns(answer)):
                await asyncio.sleep(POLL_S)

    async def _ask(self, node: str, question: Body) -> Body | RpcError:
        try:
            answer = await self._links.call(node, question, ATTEMPT_S)
        except NotSent as error:
            return error
        except RpcError as error:
            self._links.failed(node)
            return error
        self._links.answered(node)
        return answer

    def _learns(self, failed: Failed) -> bool:
        """Whether the map changed by it."""
        before = self._router.map
        if failed.fault.entry is not None:
            self._router.take_entry(failed.fault.entry)
        return self._router.map is not before


def _standing(commits: bool, then: bool) -> TxnStanding:
    return TxnStanding(TxnState.COMMITTED, then) if commits else TxnStanding(TxnState.ABORTED)


def _reason(answer: Body | RpcError) -> str:
    if isinstance(answer, Failed):
        return answer.fault.detail
    return str(answer) if isinstance(answer, RpcError) else "an answer of the wrong kind"
