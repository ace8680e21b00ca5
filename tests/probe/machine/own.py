"""A client's own keys: what they may hold, what was asked of them, and the answers judged.

Guarantees: an answer that does not fit is an `Anomaly` that tells what was asked of its keys before. Leaves to others:
what is asked (`machine`, `many_keys`).
"""

from __future__ import annotations

import itertools
from collections import Counter, deque
from collections.abc import Callable, Mapping

from checkers.dictionary import ABSENT, ANY, UNKNOWN, Held, Key, Outcome, Write
from checkers.history import Anomaly
from probe.machine import wire
from probe.machine.exchange import Exchange, Told
from probe.machine.steps import ENDINGS, KEY_BYTES_MAX, LONG, Delete, Put

# A version that no key has.
NEVER = "1.1.1"
REMEMBERED, SHOWN = 1000, 12
SPELLINGS = 3

Judge = Callable[[Told], None]


def own_keys(prefix: bytes) -> list[bytes]:
    """The keys of a client, all of which begin with the prefix."""
    keys = []
    for ending in ENDINGS:
        key = prefix + ending
        keys.append(key[:-1].ljust(KEY_BYTES_MAX, LONG) if ending.endswith(LONG) else key)
    return keys


class Own:
    """Args:
    prefix: of its keys, which nobody else has.
    name: no other client of the cluster had it within the last 5 minutes; tokens begin with it.
    counts: where requests are counted by their kind, and as asked, judged, unknown (504 among them).

    Attributes:
    is_refused: whether the last request was promised to have done nothing, or got no answer.
    """

    def __init__(self, exchange: Exchange, prefix: bytes, name: str, counts: Counter[str]) -> None:
        self.prefix = prefix
        self.keys = own_keys(prefix)
        self.model: dict[bytes, Key] = {key: Key() for key in self.keys}
        self.counts = counts
        self.is_refused = False
        self._name = name
        self._exchange = exchange
        self._numbers = itertools.count(1)
        self._log: deque[tuple[frozenset[bytes], str]] = deque(maxlen=REMEMBERED)

    def ask(
        self,
        kind: str,
        keys: set[bytes],
        method: str,
        path: str,
        headers: Mapping[str, str],
        body: bytes | None,
        judge: Judge,
    ) -> None:
        """One request below /v1; `judge` raises what is wrong with its answer."""
        number = next(self._numbers)
        gateway = number % self._exchange.gateways
        told = self._exchange.ask(gateway, method, f"/v1{path}", headers, body)
        self.is_refused = told.is_unknown or told.did_nothing
        self.counts.update({kind: 1, "asked": 1, "judged": not self.is_refused})
        self.counts.update({"504": told.status == 504, "unknown": told.is_unknown})
        asked = f"{method} {path} {dict(headers)} {'' if body is None else body[:300]!r}"
        when = f"[{told.span.begin:.3f}..{told.span.end:.3f}] through gateway {gateway}"
        self._log.append((frozenset(keys), f"{when}: {asked} -> {told}"))
        try:
            judge(told)
        except (Anomaly, KeyError, TypeError, ValueError) as error:
            what = error if isinstance(error, Anomaly) else f"an answer that cannot be read: {error!r}"
            raise Anomaly(f"{self._name}, request {number}: {what}\n{self._context(keys)}") from error

    def log(self) -> str:
        """The latest requests and what they were told, a line each."""
        return "".join(f"{text}\n" for _, text in self._log)

    def _context(self, keys: set[bytes]) -> str:
        lines = [text for touched, text in self._log if touched & keys]
        return "\n".join(f"  {line}" for line in lines[-SHOWN:])

    def path(self, key: bytes) -> str:
        return f"/kv/{wire.spelled(key, self.counts['asked'] % SPELLINGS)}"

    def token(self, has_token: bool) -> dict[str, str]:
        return {"Idempotency-Key": f"{self._name} {next(self._numbers)}"} if has_token else {}

    def etag(self, condition: str, key: bytes) -> str:
        """What a condition's word means for a key now."""
        held = self.model[key]
        if condition == "now":
            return held.etag or NEVER
        if condition == "old":
            return next((etag for etag in reversed(held.etags) if etag != held.etag), NEVER)
        if condition == "other":
            return self.model[self.keys[self.keys.index(key) - 1]].etag or NEVER
        return {"absent": ABSENT, "any": ANY}.get(condition, condition)

    def written(self, op: Put | Delete) -> tuple[bytes, Write]:
        key = self.keys[op.key]
        condition = self.etag(op.condition, key)
        if isinstance(op, Delete):
            return key, Write(None, None, condition)
        return key, Write(Held(op.value, op.content_type), op.ttl_s, condition)

    def answer(self, key: bytes, write: Write, outcome: Outcome, told: Told) -> None:
        if not told.is_unknown and not outcome.is_definite and outcome is not UNKNOWN:
            raise Anomaly(f"no answer to a write: {told}")
        if outcome.status == 412:
            outcome = Outcome(412)
        self.model[key].answer(write, outcome, told.span)
