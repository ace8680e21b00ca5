"""Merging what nodes answer to a scan into one ordered stream.

Guarantees: items leave in the order of keys, each key once, and only up to where every partition that is asked is
known, so nothing is left out in silence: a partition is waited for until a node answers for it, or somebody gives it
up. A node has at most one page under way and is not asked for much more than is wanted of it. What a partition's new
leader is asked for begins behind the last key that left. Leaves to others: who leads what, and the calls (`scans`).
Sans-IO. PROTOCOL "Range scans".
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter

import msgspec

from kvstore.messages import Fault, Scan, Scanned
from kvstore.scan.items import ItemForm, key_in, keys_of

NO_LIMIT = 1 << 40


class KeyRange(msgspec.Struct, frozen=True, array_like=True):
    """Keys from `start` up to but not including `end`, without an end where that is empty; `reverse`: from the end
    down."""

    start: bytes = b""
    end: bytes = b""
    reverse: bool = False

    def after(self, key: bytes) -> KeyRange:
        """What is left of the range when the scan has come to `key`."""
        if self.reverse:
            return KeyRange(self.start, key, True)
        return KeyRange(key + b"\x00", self.end)

    @property
    def is_empty(self) -> bool:
        return bool(self.end) and self.start >= self.end


class ItemStyle(msgspec.Struct, frozen=True):
    """How items are written."""

    form: ItemForm
    keys_only: bool


class Piece(msgspec.Struct, frozen=True):
    """A run of the scan: keys in order, and the item of each. The last one names the partitions that were given up."""

    keys: list[bytes]
    items: list[bytes]
    missing: tuple[int, ...] = ()


class _Source:
    """A node, the partitions it is asked for, and what of its pages has not left yet."""

    def __init__(self, parts: Sequence[tuple[int, int]], rest: KeyRange) -> None:
        self.parts = parts
        self.rest = rest
        self.covered: bytes | None = None
        self.is_done = False
        self.is_asked = False
        self.keys: list[bytes] = []
        self.items: list[bytes] = []
        self.held_bytes = 0

    def add(self, page: Scanned) -> None:
        keys = keys_of(page)
        self.keys += keys
        self.items += page.items
        self.held_bytes += sum(map(len, page.items))
        self.is_done = page.is_done
        if keys:
            self.covered = keys[-1]
            self.rest = self.rest.after(self.covered)

    def take(self, count: int) -> list[tuple[bytes, bytes]]:
        items = self.items[:count]
        taken = list(zip(self.keys[:count], items, strict=True))
        del self.keys[:count], self.items[:count]
        self.held_bytes -= sum(map(len, items))
        return taken


class ScanMerge:
    """One scan.

    Args:
        by_leader: the partitions of the keyspace, as (pid, version of the map entry), by the node that leads them;
            those without leader under no name.
        limit: how many items are wanted.
        page_bytes: about how large a node's page may be.
        reads_ahead: whether a node is asked for its next page before the last one has left.

    Attributes:
        unassigned: partitions that no node is asked for.
        missing: partitions that were given up.
        rest, left: what has not left yet of the range, and of the items that are wanted.
        page_bytes, reads_ahead: as given; they may be changed.
    """

    def __init__(
        self,
        by_leader: Mapping[str, Sequence[tuple[int, int]]],
        keys: KeyRange,
        style: ItemStyle,
        *,
        limit: int = NO_LIMIT,
        page_bytes: int,
        reads_ahead: bool = False,
    ) -> None:
        self.unassigned = {pid for pid, _ in by_leader.get("", ())}
        self.missing: set[int] = set()
        self.rest = keys
        self.left = limit
        self._partitions = max(1, sum(map(len, by_leader.values())))
        self._style = style
        self.page_bytes = page_bytes
        self.reads_ahead = reads_ahead
        self._sources = {node: _Source(parts, keys) for node, parts in by_leader.items() if node}

    @property
    def is_over(self) -> bool:
        """Whether everything that is wanted has left."""
        if self.left <= 0 or self.rest.is_empty:
            return True
        return not self.unassigned and all(one.is_done and not one.keys for one in self._sources.values())

    def assign(self, node: str, parts: Iterable[tuple[int, int]]) -> None:
        """Ask `node` for these partitions, by these versions of their map entries; nothing is under way there."""
        former = self._sources.get(node)
        given = [*parts] if former is None else [*former.parts, *parts]
        self.unassigned.difference_update(pid for pid, _ in given)
        self._sources[node] = _Source(given, self.rest)

    def give_up(self, pids: Iterable[int]) -> None:
        """Go on without these unassigned partitions."""
        given_up = set(pids)
        self.unassigned -= given_up
        self.missing |= given_up

    def asks(self) -> list[tuple[str, Scan]]:
        """What to ask now; each is to be answered by `take_page` or `lose`."""
        if self.is_over:
            return []
        held_bytes_max = self.page_bytes // 2 if self.reads_ahead else 0
        asked = [
            (node, source)
            for node, source in self._sources.items()
            if not source.is_done and not source.is_asked and source.held_bytes <= held_bytes_max
        ]
        for _, source in asked:
            source.is_asked = True
        return [(node, self._ask(source)) for node, source in asked]

    def _ask(self, source: _Source) -> Scan:
        rest, style = source.rest, self._style
        return Scan(
            list(source.parts),
            rest.start,
            rest.end,
            share_of(self.left, len(source.parts), self._partitions),
            self.page_bytes,
            rest.reverse,
            int(style.form),
            style.keys_only,
        )

    def take_page(self, node: str, page: Scanned) -> list[tuple[int, Fault]]:
        """The answer of a node; returns what it does not answer for, which is unassigned again."""
        source = self._sources[node]
        source.is_asked = False
        if page.faults and source.keys:
            # What waits holds keys of the partitions that failed, which begin anew behind the last key that left.
            self.lose(node)
            return page.faults
        if page.faults:
            failed = {pid for pid, _ in page.faults}
            self.unassigned.update(pid for pid, _ in source.parts if pid in failed)
            source.parts = [part for part in source.parts if part[0] not in failed]
        source.add(page)
        if not source.parts:
            del self._sources[node]
        return page.faults

    def lose(self, node: str) -> list[int]:
        """A node gave no answer: its partitions, which are returned, are unassigned again."""
        lost = [pid for pid, _ in self._sources.pop(node).parts]
        self.unassigned.update(lost)
        return lost

    def take(self) -> Piece:
        """Everything that may leave now."""
        sources = self._sources.values()
        live = [one for one in sources if not one.is_done]
        if self.unassigned or any(one.covered is None for one in live):
            return Piece([], [])
        reverse = self.rest.reverse
        frontiers = [one.covered for one in live if one.covered is not None]
        bound = (max(frontiers) if reverse else min(frontiers)) if frontiers else None
        pairs: list[tuple[bytes, bytes]] = []
        for source in sources:
            pairs += source.take(_count_up_to(source.keys, bound, reverse))
        pairs.sort(key=itemgetter(0), reverse=reverse)
        del pairs[self.left :]
        self.left -= len(pairs)
        if pairs:
            self.rest = self.rest.after(pairs[-1][0])
        return Piece([key for key, _ in pairs], [item for _, item in pairs])


def share_of(wanted: int, parts: int, partitions: int) -> int:
    """How many of the items that are wanted of all partitions to ask of a node with so many of them: its share and a
    little more, which is mostly enough."""
    share = wanted * parts / partitions
    return min(wanted, math.ceil(share + 1.5 * math.sqrt(share)) + 1)


class FirstItems:
    """The first items of a range, of pages without faults that nodes gave of their parts of it, merged as they come.

    Args:
        limit: how many there are at most.
    """

    __slots__ = ("_end_of", "_is_open", "_item_of", "_limit", "_order", "_reverse")

    def __init__(self, limit: int, reverse: bool) -> None:
        self._limit = limit
        self._reverse = reverse
        # The items themselves while all pages have none but those that tell their keys, else the keys.
        self._order: list[bytes] = []
        self._item_of: dict[bytes, bytes] | None = None
        # Of each node that has more: the last one of `_order` that it gave.
        self._end_of: dict[str, bytes] = {}
        self._is_open = False

    def add(self, node: str, page: Scanned) -> None:
        """The first page of a node, or what follows the one before."""
        if page.keys and self._item_of is None:
            self._go_by_keys()
        order = page.items
        if self._item_of is not None:
            order = keys_of(page)
            self._item_of.update(zip(order, page.items, strict=True))
        if page.is_done:
            self._end_of.pop(node, None)
        elif order:
            self._end_of[node] = order[-1]
        else:
            self._is_open = True
        self._order += order
        self._order.sort(reverse=self._reverse)

    def _go_by_keys(self) -> None:
        keys = [*map(key_in, self._order)]
        self._item_of = dict(zip(keys, self._order, strict=True))
        self._order = keys
        self._end_of = {node: key_in(end) for node, end in self._end_of.items()}

    def take(self) -> tuple[list[bytes], bytes | None] | None:
        """The items, and the key of the last one if there are more; None where the pages do not reach that far."""
        order, ends, limit = self._order, self._end_of.values(), self._limit
        if self._is_open:
            return None
        if len(order) <= limit:
            return None if ends else (self._items(order), None)
        last = order[limit - 1]
        if ends and (last < max(ends) if self._reverse else last > min(ends)):
            return None
        return self._items(order[:limit]), self._key(last)

    def _items(self, order: list[bytes]) -> list[bytes]:
        item_of = self._item_of
        return order if item_of is None else [item_of[key] for key in order]

    def _key(self, last: bytes) -> bytes:
        return key_in(last) if self._item_of is None else last

    def wanting(self) -> list[tuple[str, bytes, int]]:
        """Of each node whose pages do not reach that far: its last key, and how many further ones are enough for sure.
        Nothing where no number is."""
        if self._is_open:
            return []
        # One more tells whether this is the last page.
        lacks = ((node, end, self._limit - self._order.index(end)) for node, end in self._end_of.items())
        return [(node, self._key(end), count) for node, end, count in lacks if count > 0]


def _count_up_to(keys: list[bytes], bound: bytes | None, reverse: bool) -> int:
    """How many of these ordered keys are not beyond `bound`."""
    if bound is None:
        return len(keys)
    if not reverse:
        return bisect_left(keys, bound + b"\x00")
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] >= bound:
            low = middle + 1
        else:
            high = middle
    return low
