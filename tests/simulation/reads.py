"""Reads of simulated clients, and what their answers must be.

A strong or quorum read, and a scan, shows what was committed at some moment between question and answer; a stale one,
at some moment of the lag that it tells, counted by the clock of the node that answered.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import msgpack
from simulation.history import History
from simulation.sim_node import SimNode
from simulation.timeline import Timeline
from simulation.violation import Violation
from simulation.world import World

from kvstore.messages import Fault, ReadOne, ReadStale, Scan, Scanned, StaleResult
from kvstore.scan.items import ItemForm, keys_of
from kvstore.scan.page import ScanPage
from kvstore.storage.records import carried, decode_value, encode_value

ITEM = {ItemForm.JSON: json.loads, ItemForm.MSGPACK: msgpack.unpackb}
MAX_STALE_MS = (None, None, 20, 700, 2000, 8000)


class Reads:
    """Args: history: counts the answers, and remembers the versions that were seen."""

    def __init__(self, world: World, history: History, timeline: Timeline) -> None:
        self._world = world
        self._history = history
        self._timeline = timeline

    def is_stale_next(self) -> bool:
        """Whether the next read is one that any copy may answer."""
        return self._world.rng.random() < 0.4

    def read_led(self, node: SimNode, read: ReadOne, answered: Any) -> None:
        """Ask the node that should lead."""
        asked_ms = self._world.now_ms
        is_quorum = self._world.rng.random() < 0.4
        kind = "quorum" if is_quorum else "strong"

        def check(row: bytes | Fault | None) -> None:
            if not isinstance(row, Fault):
                self._check(kind, read.key, read.pid, row, asked_ms)
            answered(row)

        node.read(read, check, is_quorum)

    def is_scan_next(self) -> bool:
        """Whether the next read of a leader is one of many keys."""
        return self._world.rng.random() < 0.15

    def scan_led(self, node: SimNode, pid: int, ver: int, keys: Sequence[bytes], answered: Any) -> None:
        """Scan a partition, at the node that should lead it; `keys` are all that may be in it."""
        asked_ms, rng = self._world.now_ms, self._world.rng
        limit, is_reverse = rng.choice((3, 100)), rng.random() < 0.5
        # Only upwards and in JSON are there pages at a look.
        form = ItemForm.MSGPACK if is_reverse else ItemForm.JSON
        scan = Scan([(pid, ver)], b"", b"", limit, 1 << 20, is_reverse, form, False)

        def check(page: ScanPage | Scanned | Fault) -> None:
            if not isinstance(page, Fault):
                self._history.counts["plain_page"] += isinstance(page, Scanned)
                self._check_page(page, scan, keys, asked_ms)
            answered(page)

        node.scan(scan, check)

    def _check_page(self, page: ScanPage | Scanned, scan: Scan, keys: Sequence[bytes], asked_ms: float) -> None:
        """All of a page, and all that it does not have, was so at some moment since it was asked for."""
        told = keys_of(page) if isinstance(page, Scanned) else page.keys
        if told != sorted(set(told), reverse=scan.reverse):
            raise Violation(f"a page is not in order: {told}")
        rows: dict[bytes, bytes | None] = {}
        for key, item in zip(told, map(ITEM[ItemForm(scan.form)], page.items), strict=True):
            if item["key"] not in (key, key.decode()):
                raise Violation(f"the item of {key!r} is of {item['key']!r}")
            origin, epoch, seq = (int(part, 16) for part in item["etag"].split("."))
            value = item["value"] if isinstance(item["value"], bytes) else item["value"].encode()
            rows[key] = carried(encode_value(epoch, seq, 0, item["content_type"], value), origin)
        last = told[-1] if told else b""
        for key in keys:
            if page.is_done or (key >= last if scan.reverse else key <= last):
                self._check("scan", key, 0, rows.pop(key, None), asked_ms)
        if rows:
            raise Violation(f"a page has what is not in its partition: {sorted(rows)}")

    def read_stale(self, node: SimNode, read: ReadOne, layout: int, answered: Any) -> None:
        """Ask a node that has a copy."""
        asked = ReadStale(read, self._world.rng.choice(MAX_STALE_MS), layout)

        def check(answer: StaleResult | Fault | bytes | None) -> None:
            if isinstance(answer, StaleResult):
                self._check_stale(node, asked, answer)
            elif not isinstance(answer, Fault):
                self._check_stale(node, asked, StaleResult(0, 0, answer))
            answered(answer)

        node.read_stale(asked, check)

    def _check_stale(self, node: SimNode, asked: ReadStale, answer: StaleResult) -> None:
        if asked.max_stale_ms is not None and answer.lag_ms > asked.max_stale_ms:
            raise Violation(f"{answer.lag_ms} ms behind, where {asked.max_stale_ms} were allowed")
        self._history.counts["behind"] += answer.lag_ms > 0
        from_ms = self._world.now_ms - answer.lag_ms / node.rate
        self._check("stale", asked.read.key, asked.read.pid, answer.row, from_ms)

    def _check(self, kind: str, key: bytes, pid: int, row: bytes | None, from_ms: float) -> None:
        self._history.counts[kind] += 1
        if not self._timeline.was(key, pid, row, from_ms, self._world.now_ms):
            span = f"{from_ms:.1f} to {self._world.now_ms:.1f}"
            seq = None if row is None else decode_value(row).seq
            raise Violation(f"{kind} read of {key!r}: {seq} from {span}, committed: {self._timeline.history(key)}")
        if row is not None and kind != "stale":
            stored = decode_value(row)
            self._history.saw(key, (stored.origin or pid, stored.epoch, stored.seq))
