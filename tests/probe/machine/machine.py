"""A client that takes steps on keys of its own and judges every answer against a plain dict.

Guarantees: a refusal changes nothing, what has no outcome is open (`checkers.dictionary`), and a request that is sent
again under its token has the outcome of the first. Leaves to others: which steps, and whom to harm.
"""

from __future__ import annotations

import time
from collections import deque

from checkers.dictionary import ABSENT, ANY, KEY_ALONE, UNKNOWN, Found, Key, Outcome, Write
from checkers.history import FOR_EVER, Anomaly
from probe.machine.exchange import Told
from probe.machine.many_keys import batch, import_, judge_batch
from probe.machine.own import Own
from probe.machine.requests import Request
from probe.machine.scanning import Scanner
from probe.machine.steps import (
    Batch,
    Count,
    Delete,
    Get,
    Import,
    Next,
    Page,
    Put,
    Remove,
    Resend,
    Reuse,
    Step,
    Stream,
    Wait,
    Walk,
)

TOKENS_MAX = 8
# A server forgets a token after 5 minutes.
TOKEN_S_MAX = 200.0
SOON_S = 1.0
MATCH, NONE_MATCH = "If-Match", "If-None-Match"
# The header and the word for a version that a read's condition means.
READ_CONDITIONS = {
    "": ("", ""),
    "match now": (MATCH, "now"),
    "match old": (MATCH, "old"),
    "none match now": (NONE_MATCH, "now"),
    "none match old": (NONE_MATCH, "old"),
}
QUERIES = {
    "strong": "",
    "quorum": "?consistency=quorum",
    "stale": "?consistency=stale",
    "stale, 0.5 s": "?consistency=stale&max_stale=0.5",
}
STALE_S_MAX = {"stale": FOR_EVER, "stale, 0.5 s": 0.5}


class Machine:
    """Takes steps, one after the other; see `Own` for its keys."""

    def __init__(self, own: Own) -> None:
        self.own = own
        self._scanner = Scanner(own)
        self._sent: deque[Request] = deque(maxlen=TOKENS_MAX)

    def take(self, step: Step) -> None:
        """Ask, and judge the answer; raises `Anomaly`."""
        match step:
            case Put():
                self._put(step)
            case Delete():
                self._delete(step)
            case Get():
                self._get(step)
            case Batch():
                self._send(batch(self.own, step))
            case Import():
                import_(self.own, step)
            case Resend():
                self._resend(step)
            case Reuse():
                self._reuse(step)
            case Page():
                self._scanner.page(step)
            case Next():
                self._scanner.next(step)
            case Walk():
                self._scanner.walk(step)
            case Stream():
                self._scanner.stream(step)
            case Count():
                self._scanner.count(step)
            case Remove():
                self._scanner.remove(step)
            case Wait():
                self._wait(step.seconds)

    # ---- one key ------------------------------------------------------------------------------------------------

    def _put(self, step: Put) -> None:
        key, write = self.own.written(step)
        query = "" if step.ttl_s is None else f"?ttl={step.ttl_s}"
        headers = {"Content-Type": step.content_type, **_condition_headers(write.condition)}
        headers.update(self.own.token(step.has_token))
        self._send(Request("put", "PUT", self.own.path(key) + query, headers, step.value, [(key, write)]))

    def _delete(self, step: Delete) -> None:
        key, write = self.own.written(step)
        headers = {**_condition_headers(write.condition), **self.own.token(step.has_token)}
        self._send(Request("delete", "DELETE", self.own.path(key), headers, None, [(key, write)]))

    def _send(self, request: Request) -> None:
        """Ask what writes, and remember it if it has a token."""

        def judge(told: Told) -> None:
            if request.kind == "batch":
                judge_batch(self.own, request, told)
            else:
                self._judge_write(request, told)

        if "Idempotency-Key" in request.headers and request not in self._sent:
            self._sent.append(request)
        self.own.ask(request.kind, request.keys, request.method, request.path, request.headers, request.body, judge)

    def _judge_write(self, request: Request, told: Told) -> None:
        ((key, write),) = request.ops
        assert write is not None
        if told.did_nothing:
            return
        outcome = UNKNOWN if told.is_unknown else Outcome(told.status, told.headers.get("etag", "").strip('"'))
        is_put = write.result is not None
        if told.status in (201, 204) and (bool(outcome.etag) != is_put or (told.status == 201 and not is_put)):
            raise Anomaly(f"no answer to {request.method}: {told}")
        self.own.answer(key, write, outcome, told)

    def _get(self, step: Get) -> None:
        key = self.own.keys[step.key]
        held = self.own.model[key]
        name, word = READ_CONDITIONS[step.condition]
        is_stale = step.consistency in STALE_S_MAX
        condition = self.own.etag(word, key) if name and not is_stale else ""
        headers = {name: f'"{condition}"'} if condition else {}

        def judge(told: Told) -> None:
            if told.did_nothing or told.is_unknown:
                return
            found = _found(told, is_head=step.is_head)
            if is_stale:
                _judge_stale(held, found, told, STALE_S_MAX[step.consistency])
            else:
                _judge_read(held, found, told, name, condition)

        kind = f"{'head' if step.is_head else 'get'} {step.consistency.partition(',')[0]}"
        path = self.own.path(key) + QUERIES[step.consistency]
        self.own.ask(kind, {key}, "HEAD" if step.is_head else "GET", path, headers, None, judge)

    # ---- once more ----------------------------------------------------------------------------------------------

    def _resend(self, step: Resend) -> None:
        request = self._earlier(step.back)
        if request is not None:
            self.own.counts["sent again"] += 1
            self._send(request)

    def _reuse(self, step: Reuse) -> None:
        request = self._earlier(step.back)
        if request is None or request.method != "PUT" or request.ops[0][1] is None or not request.ops[0][1].outcome:
            return

        def judge(told: Told) -> None:
            if not (told.did_nothing or told.is_unknown) and (told.status, told.code) != (422, "token_reused"):
                raise Anomaly(f"the token was another request's: {told}")

        body = (request.body or b"") + b" and more"
        self.own.ask("token reused", request.keys, "PUT", request.path, request.headers, body, judge)

    def _wait(self, seconds: float) -> None:
        """Let time pass, if that may be the end of a key."""
        soon = time.monotonic() + SOON_S
        held = (state for key in self.own.model.values() for state in key.maybe if state is not None)
        if any(state.expires is not None and state.expires[0] < soon for state in held):
            time.sleep(seconds)

    def _earlier(self, back: int) -> Request | None:
        recent = [one for one in self._sent if time.monotonic() - one.asked_at < TOKEN_S_MAX]
        return recent[-1 - back] if back < len(recent) else None


def _judge_read(held: Key, found: Found | None, told: Told, name: str, condition: str) -> None:
    """A read, or under a condition of that name what it says of the version."""
    if condition and told.status == 304 and name == NONE_MATCH:
        if found is None or found.etag != condition:
            raise Anomaly(f"304 for another version: {told}")
    elif condition and told.status == 412 and name == MATCH:
        held.see(KEY_ALONE, told.span)
        held.answer(Write(None, None, condition), Outcome(412), told.span)
        return
    elif told.status not in (200, 404):
        raise Anomaly(f"no answer to a read: {told}")
    elif found is not None and condition and (found.etag == condition) == (name == NONE_MATCH):
        raise Anomaly(f"answered in spite of its condition: {told}")
    held.see(found, told.span)


def _judge_stale(held: Key, found: Found | None, told: Told, s_max: float) -> None:
    if told.status not in (200, 404):
        raise Anomaly(f"no answer to a read: {told}")
    lag_s = int(told.headers["x-kv-lag-ms"]) / 1000
    if lag_s > s_max:
        raise Anomaly(f"{lag_s} s behind, at most {s_max} s were asked for: {told}")
    held.see_stale(found, lag_s, told.span)


def _condition_headers(condition: str) -> dict[str, str]:
    if condition == ABSENT:
        return {"If-None-Match": "*"}
    if condition == ANY:
        return {"If-Match": "*"}
    return {"If-Match": f'"{condition}"'} if condition else {}


def _found(told: Told, *, is_head: bool) -> Found | None:
    """What an answer to a read tells; None where there is nothing, or nothing is told."""
    if told.status == 404 and not is_head and told.code != "key_not_found":
        raise Anomaly(f"no answer to a read: {told}")
    headers = told.headers
    etag = headers.get("etag", "").strip('"')
    if told.status == 304:
        return Found(etag=etag, is_whole=False)
    if told.status != 200:
        return None
    kind = headers.get("content-type")
    ttl_s = float(headers["x-kv-ttl"]) if "x-kv-ttl" in headers else None
    if is_head:
        return Found(None, kind, etag, int(headers.get("content-length", "-1")), ttl_s)
    return Found(told.body, kind, etag, None, ttl_s)
