"""Scans, counts and removals of ranges of a client's own keys.

Guarantees: each page is judged as it stands when it is asked for, whatever was written since the one before; a cursor
may be used at another gateway than the one that made it; a stream that is cut off is no answer. Leaves to others: keys
of one request (`machine`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from urllib.parse import quote_from_bytes

from checkers.dictionary import KEY_ALONE, UNKNOWN, Found, Write
from checkers.history import Anomaly
from checkers.key_range import KeyRange, judge_count, judge_page
from probe.machine import wire
from probe.machine.exchange import Told
from probe.machine.own import Judge, Own
from probe.machine.steps import Count, Next, Page, Range, Remove, Stream, Walk

LIMIT_DEFAULT = 100
# The parameter that a range with its bounds the wrong way round is refused by.
REFUSED_BY = "start"


class Scanner:
    """Args: own: whose keys are scanned. The last scan by pages can be gone on with."""

    def __init__(self, own: Own) -> None:
        self._own = own
        self._cursor = ""
        self._rest = KeyRange()

    def page(self, step: Page) -> None:
        """The first page of a scan."""
        within, query = self._range(step.range)
        if step.is_reverse:
            within, query = replace(within, is_reverse=True), f"{query}&reverse=true"
        self._cursor = ""
        if _is_upside_down(within):
            self._refused(f"{query}{_page_query(step)}", step.form)
            return
        self._rest = within
        self._page(f"{query}{_page_query(step)}", step)

    def next(self, step: Next) -> None:
        """The next page of the last scan, if there is one."""
        if self._cursor:
            self._page(f"?cursor={self._cursor}{_page_query(step)}", step)

    def walk(self, step: Walk) -> None:
        """Page after page, until the last or one that is refused."""
        self.page(step.first)
        following = Next(step.first.limit, step.first.keys_only, step.first.form)
        while self._cursor and not self._own.is_refused:
            self.next(following)

    def stream(self, step: Stream) -> None:
        """All of a range, as lines."""
        within, query = self._range(step.range)
        if step.is_reverse:
            within, query = replace(within, is_reverse=True), f"{query}&reverse=true"
        query += _page_query(step)
        if _is_upside_down(within):
            self._refused(query, "ndjson")
            return

        def judge(told: Told) -> None:
            if told.did_nothing or told.is_unknown:
                return
            _check_kind(told, wire.NDJSON)
            documents = [wire.decode(line, wire.JSON) for line in told.body.splitlines()]
            items = _items(documents, "json", step.keys_only)
            if step.limit is not None and len(items) > step.limit:
                raise Anomaly(f"{len(items)} items, at most {step.limit} were asked for")
            is_last = step.limit is None or len(items) < step.limit
            judge_page(self._own.model, within, items, told.span, is_last=is_last)

        self._ask("scan stream", "GET", query, {"Accept": wire.NDJSON}, judge)

    def count(self, step: Count) -> None:
        """How many keys there are."""
        within, query = self._range(step.range)
        query += "&count=true"
        if _is_upside_down(within):
            self._refused(query, "json")
            return

        def judge(told: Told) -> None:
            if told.did_nothing or told.is_unknown:
                return
            _check_kind(told, wire.JSON)
            document = wire.decode(told.body, wire.JSON)
            if set(document) != {"count"}:
                raise Anomaly(f"no count: {told}")
            judge_count(self._own.model, within, document["count"], told.span)

        self._ask("count", "GET", query, {}, judge)

    def remove(self, step: Remove) -> None:
        """Delete a range."""
        within, query = self._range(step.range)
        query += "&confirm=true"
        if _is_upside_down(within):
            self._refused(query, "json", "DELETE")
            return

        def judge(told: Told) -> None:
            if told.did_nothing:
                return
            keys = within.of(self._own.model)
            if told.is_unknown:
                for key in keys:
                    self._own.model[key].answer(Write(None), UNKNOWN, told.span)
                return
            _check_kind(told, wire.NDJSON)
            judge_count(self._own.model, within, _removed(told), told.span)
            for key in keys:
                self._own.model[key].gone(told.span)

        self._ask("remove range", "DELETE", query, {}, judge)

    # ---- pages --------------------------------------------------------------------------------------------------

    def _page(self, query: str, step: Page | Next) -> None:
        media = wire.MEDIA_TYPES[step.form]

        def judge(told: Told) -> None:
            if told.did_nothing or told.is_unknown:
                return
            _check_kind(told, media)
            document = wire.decode(told.body, media)
            if not set(document) <= {"items", "cursor"}:
                raise Anomaly(f"no page: {told}")
            items = _items(document["items"], step.form, step.keys_only)
            limit = LIMIT_DEFAULT if step.limit is None else step.limit
            cursor = document.get("cursor", "")
            if len(items) > limit or (cursor and not items):
                raise Anomaly(f"{len(items)} items, at most {limit} were asked for: {told}")
            self._rest = judge_page(self._own.model, self._rest, items, told.span, is_last=not cursor)
            self._cursor = cursor

        kind = "scan page" if isinstance(step, Page) else "scan next page"
        self._ask(kind, "GET", query, {"Accept": media}, judge)

    def _refused(self, query: str, form: str, method: str = "GET") -> None:
        """A range that ends before it begins."""

        def judge(told: Told) -> None:
            if told.did_nothing or told.is_unknown:
                return
            if (told.status, told.code) != (400, "bad_parameter") or REFUSED_BY.encode() not in told.body:
                raise Anomaly(f"a range that ends before it begins: {told}")

        self._ask("bad range", method, query, {"Accept": wire.MEDIA_TYPES[form]}, judge)

    def _ask(self, kind: str, method: str, query: str, headers: Mapping[str, str], judge: Judge) -> None:
        self._own.ask(kind, set(self._own.keys), method, f"/kv{query}", headers, None, judge)

    def _range(self, asked: Range) -> tuple[KeyRange, str]:
        """What a range means, and the beginning of its query; nobody else's keys are in it."""
        keys, prefix = self._own.keys, self._own.prefix
        if asked.prefix is not None:
            prefix = keys[asked.prefix][: max(len(prefix), len(keys[asked.prefix]) - asked.cut)]
        start = b"" if asked.start is None else keys[asked.start]
        end = None if asked.end is None else keys[asked.end]
        bounds = {"prefix": prefix, "start": start, "end": end}
        given = [f"{name}={quote_from_bytes(bound, safe='/')}" for name, bound in bounds.items() if bound]
        return KeyRange(start, end, prefix), f"?{'&'.join(given)}"


def _is_upside_down(within: KeyRange) -> bool:
    return within.end is not None and within.start > within.end


def _page_query(step: Page | Next | Stream) -> str:
    limit = "" if step.limit is None else f"&limit={step.limit}"
    return f"{limit}{'&keys_only=true' if step.keys_only else ''}"


def _check_kind(told: Told, media: str) -> None:
    if told.status != 200 or told.headers.get("content-type") != media:
        raise Anomaly(f"no answer to a scan, {media} was asked for: {told}")


def _items(documents: Sequence[wire.Document], form: str, keys_only: bool) -> list[tuple[bytes, Found]]:
    """The key of each item, and what it tells."""
    items = []
    for document in documents:
        key = wire.data_of(document, "key", form)
        if keys_only and not set(document) <= {"key", "key_b64"}:
            raise Anomaly(f"more than a key: {document}")
        items.append((key, KEY_ALONE if keys_only else wire.found_of(document, form)))
    return items


def _removed(told: Told) -> int:
    """How many keys are told to be removed, at the end of all lines of progress."""
    lines = [wire.decode(line, wire.JSON) for line in told.body.splitlines()]
    numbers = [int(line["deleted"]) for line in lines]
    is_ended = bool(lines) and lines[-1].get("done") is True and not any("done" in line for line in lines[:-1])
    if not is_ended or numbers != sorted(numbers):
        raise Anomaly(f"no progress of a removal: {told}")
    return numbers[-1]
