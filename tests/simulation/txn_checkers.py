"""What must hold of transactions: I9, all or nothing, and one order for all that happens.

A transaction counts as one moment, that at which its decision is committed. There it is carried out once more, on a
model (`txn_model`), with what every key is at that moment; what partitions made of it, and what clients are told, must
be the same. As each lies between question and answer, and so does what single keys are held against (`timeline`), all
together are strictly serializable.
"""

from __future__ import annotations

from collections.abc import Callable

from simulation.layouts import Layouts
from simulation.timeline import Timeline
from simulation.txn_model import Expected, Model, keys_of, seen
from simulation.txn_requests import TxnRequests
from simulation.violation import Violation
from simulation.world import World

from kvstore.messages import (
    SCOPE_BYTES,
    AbortTxn,
    Body,
    Done,
    FinishTxn,
    Transact,
    Transacted,
    TxnName,
    Vote,
    Voted,
)
from kvstore.storage.records import LogRow, Record, decode_value
from kvstore.txn.records import Decided, Effect, Finished, Forgotten, Prepared, payload_of

At = tuple[int, int, int]


class TxnWatch:
    """Follows the records of all partitions in the order in which they are committed.

    Attributes:
        on_record: called with each kind of record of a transaction once it is checked.
        look: has what was committed in this very step come here.
    """

    def __init__(self, world: World, timeline: Timeline, requests: TxnRequests, layouts: Layouts) -> None:
        self.prepared: dict[tuple[int, TxnName], tuple[Prepared, float]] = {}
        self.decided: dict[TxnName, Decided] = {}
        self.undone: dict[bytes, Decided] = {}
        self.finished: set[tuple[int, TxnName]] = set()
        self.on_record: Callable[[type], None] = lambda kind: None
        self.look: Callable[[], None] = lambda: None
        self._world = world
        self._timeline = timeline
        self._requests = requests
        self._pid_of = layouts.pid_of
        self._committed: dict[bytes, TxnName] = {}
        self._records: dict[At, Prepared] = {}
        self._locks: dict[bytes, TxnName] = {}

    # ---- the logs -----------------------------------------------------------------------------------------------

    def committed(self, pid: int, head: LogRow, seq: int, record: Record) -> None:
        """This record has just been called committed for the first time."""
        if record.key:
            self._check_unlocked(f"{pid}/{seq}", {record.key})
            return
        payload = payload_of(record)
        if isinstance(payload, Prepared):
            self._prepare((pid, head.epoch, seq), payload)
        elif isinstance(payload, Decided):
            self._decide((pid, head.epoch, seq), payload)
        elif isinstance(payload, Finished):
            self._finish(pid, payload)
        elif isinstance(payload, Forgotten):
            self._forget(payload)
        if payload is not None:
            self.on_record(type(payload))

    def _check_unlocked(self, at: str, keys: set[bytes]) -> None:
        locked = {key: self._locks[key] for key in keys if key in self._locks}
        if locked:
            raise Violation(f"locks: {at} is about {locked}")

    def _prepare(self, at: At, prepared: Prepared) -> None:
        pid, name = at[0], prepared.txn
        if at != (prepared.vote.pid, *prepared.at) or (pid, name) in self.prepared:
            raise Violation(f"{name} is prepared at {at}, its vote says {prepared.at}")
        asked = self._requests.find(name).transaction
        # One that was cut into parts by an older layout may lack keys that came here since: it cannot be committed.
        if not {key for key in keys_of(asked) if self._pid_of(key) == pid}.issuperset(prepared.keys):
            raise Violation(f"{name} locks {prepared.keys} in partition {pid}")
        self._check_turn(name)
        self._check_unlocked(f"{at}: {name}", set(prepared.keys))
        self._locks |= dict.fromkeys(prepared.keys, name)
        self._records[at] = prepared
        self.prepared[pid, name] = prepared, self._world.now_ms

    def _check_turn(self, name: TxnName) -> None:
        """An attempt begins when the one before is durably aborted."""
        if name.attempt == 1:
            return
        formers = [one for one in self.decided if (one.token, one.attempt) == (name.token, name.attempt - 1)]
        if not formers or any(self.decided[one].commits for one in formers):
            raise Violation(f"{name} began, and the attempt before is {formers}")

    def _decide(self, at: At, decided: Decided) -> None:
        name = decided.txn
        known = self._committed.get(name.token)
        # A primary that the key left does not hear of what the next one commits, and may abort what was asked of it.
        is_other = known is not None and (decided.commits or known.primary == name.primary)
        if name in self.decided or is_other:
            raise Violation(f"{name} was decided twice: {self.decided.get(name)}, then {decided}")
        self.decided[name] = decided
        if decided.commits:
            self._check_turn(name)
            self._commit(at, decided)
        elif decided.effects or decided.prepares:
            raise Violation(f"{name} is aborted, and does {decided.effects}")

    def _commit(self, at: At, decided: Decided) -> None:
        """The moment of a transaction."""
        name = decided.txn
        request = self._requests.find(name)
        pids = {self._pid_of(key) for key in keys_of(request.transaction)}
        parts = self._parts(decided)
        if {at[0], *parts} != pids or at[0] != name.primary:
            raise Violation(f"{name} is committed in {at[0]} with votes of {sorted(parts)}; it is about {sorted(pids)}")
        own = {key for key in keys_of(request.transaction) if self._pid_of(key) == at[0]}
        if own.union(*(one.keys for one in parts.values())) != keys_of(request.transaction):
            raise Violation(f"{name} is committed without locks on all of its keys: {parts}")
        self._check_unlocked(f"{at}: {name}", own)
        versions = {at[0]: at[1:], **{pid: one.at for pid, one in parts.items()}}
        expected = Model(request.transaction, self._timeline.newest, versions, self._pid_of).expected()
        self._check_effects(at, decided, parts, expected)
        for key, value in expected.writes.items():
            pid = self._pid_of(key)
            self._timeline.changed(key, pid, *versions[pid], value)
        self._committed[name.token] = name
        if decided.prepares:
            self.undone[name.token] = decided
        request.committed(self._world.now_ms, expected)

    def _parts(self, decided: Decided) -> dict[int, Prepared]:
        """The prepare records that a commit rests on: each is committed, and nobody has ended it."""
        parts = {}
        for prepare in decided.prepares:
            prepared = self._records.get(prepare)
            if prepared is None or self.prepared.get((prepare[0], decided.txn), (None,))[0] is not prepared:
                raise Violation(f"{decided.txn} is committed on {prepare}, which is {prepared}")
            parts[prepare[0]] = prepared
        return parts

    def _check_effects(self, at: At, decided: Decided, parts: dict[int, Prepared], expected: Expected) -> None:
        """What all partitions do, and tell, is what the model says."""
        name, then = decided.txn, decided.then
        effects = [*self._seen(at, decided.effects)]
        results = seen(decided.results)
        for pid, prepared in parts.items():
            effects += self._seen((pid, *prepared.at), prepared.effects(then))
            results += seen(prepared.vote.branch(then).results)
        if then != expected.then or dict(effects) != expected.writes or len(effects) != len(expected.writes):
            raise Violation(f"{name} does {effects}, then={then}, where {expected} was to be done")
        if expected.results is None or sorted(set(results), key=repr) != sorted(expected.results, key=repr):
            raise Violation(f"{name} tells {results}, where {expected.results} was to be told")

    def _finish(self, pid: int, finished: Finished) -> None:
        """I9: a prepared record ends only as the decision in its primary says."""
        name = finished.txn
        prepared, _ = self.prepared.pop((pid, name), (None, 0.0))
        at = (pid, finished.epoch, finished.seq)
        if prepared is None:
            if finished.seq or finished.commits or finished.effects:
                raise Violation(f"I9: partition {pid} ends what is not prepared: {finished}")
            return
        decided = self.decided.get(name)
        rests_on_it = decided is not None and decided.commits and at in decided.prepares
        effects = prepared.effects(decided.then) if decided is not None and rests_on_it else []
        is_right = (finished.epoch, finished.seq) == prepared.at and finished.commits == rests_on_it
        if not is_right or finished.effects != effects or not (decided or self._is_anothers(name)):
            raise Violation(f"I9: partition {pid} ends {prepared} by {finished}, decided is {decided}")
        for key in prepared.keys:
            del self._locks[key]

    def _is_anothers(self, name: TxnName) -> bool:
        """Whether its client's token stands for another request or attempt, so that nobody can ever commit it."""
        scope = name.token[:SCOPE_BYTES]
        is_others = name.is_clients and any(token[:SCOPE_BYTES] == scope for token in self._committed)
        # Or what another primary decided, before the keys changed their partition, is known to its own.
        return is_others or any(one.token == name.token and one.attempt >= name.attempt for one in self.decided)

    def _forget(self, forgotten: Forgotten) -> None:
        for token in forgotten.tokens:
            decided = self.undone.pop(token, None)
            for pid, epoch, seq in decided.prepares if decided is not None else ():
                held, _ = self.prepared.get((pid, decided.txn), (None, 0.0)) if decided is not None else (None, 0.0)
                if held is not None and held.at == (epoch, seq):
                    raise Violation(f"{token!r} is forgotten, and partition {pid} has not carried it out")

    # ---- what is told -------------------------------------------------------------------------------------------

    def known(self, asked: Body) -> TxnName | None:
        """What is committed under the token in a question to a primary that is put now."""
        self.look()
        known = self._committed.get(asked.txn.token) if isinstance(asked, AbortTxn | Transact) else None
        if known is None or known.primary == asked.pid:
            return known
        # Who the smallest key has left since does not hear of it; who has it now does.
        keys = keys_of(self._requests.find(known).transaction)
        return known if self._pid_of(min(keys)) == asked.pid else None

    def told(self, asked: Body, answer: Body, known: TxnName | None) -> None:
        """A node answers a coordinator: what it says is so durably, and no attempt is told of in the place of another
        one that was `known` to be committed when the question was put."""
        self.look()
        if isinstance(answer, Voted):
            self._check_vote(answer.vote)
        elif isinstance(answer, Transacted):
            decided = self.decided.get(answer.txn)
            is_same = decided is not None and (decided.commits, decided.then) == (answer.commits, answer.then)
            # A participant that became its primary ended it by what another primary had decided of the same attempt.
            is_same |= decided is None and not answer.commits and self._is_anothers(answer.txn)
            if not is_same or known not in (None, answer.txn):
                raise Violation(f"a primary tells {answer}, committed is {decided}, and {known} before it was asked")
        elif isinstance(answer, Done) and isinstance(asked, FinishTxn):
            held, _ = self.prepared.get((asked.pid, asked.txn), (None, 0.0))
            if held is not None and (not asked.commits or held.at == (asked.epoch, asked.seq)):
                raise Violation(f"a participant has done {asked}, and has it prepared")

    def _check_vote(self, vote: Vote) -> None:
        if (vote.pid, vote.epoch, vote.seq) not in self._records:
            raise Violation(f"{vote} was told before its record was committed")

    def _seen(self, at: At, effects: list[Effect]) -> list[tuple[bytes, bytes | None]]:
        """Effects as the model tells them; each row bears the version of its record."""
        told: list[tuple[bytes, bytes | None]] = []
        for effect in effects:
            stored = None if effect.row is None else decode_value(effect.row)
            if self._pid_of(effect.key) != at[0] or (stored is not None and (stored.epoch, stored.seq) != at[1:]):
                raise Violation(f"{effect.key!r} gets {stored} by {at}")
            told.append((effect.key, None if stored is None else stored.value))
        return told
