"""However nodes cut their pages, fail and lose partitions to each other: every key once, in order, none in silence."""

from __future__ import annotations

import math
import random
from collections import Counter

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.gateway.scan_merge import NO_LIMIT, FirstItems, ItemStyle, KeyRange, ScanMerge
from kvstore.messages import Fault, Scan, Scanned
from kvstore.scan.items import PLAIN, ItemForm, key_in, keys_of

STYLE = ItemStyle(ItemForm.JSON, False)
MOVED = Fault("wrong_leader", "moved")
PARTS = 12
NODES = ("n1", "n2", "n3")


def item_of(key: bytes, tells: bool) -> bytes:
    """An item, which tells its key or does not."""
    return PLAIN % (key, b"of %b" % key, 1, 1, 7, b"text/plain") if tells else b"<%b>" % key


def key_of(item: bytes) -> bytes:
    return item[1:-1] if item.startswith(b"<") else key_in(item)


class Cluster:
    """Keys in partitions, partitions on nodes; answers as nodes do, but for what `rng` lets fail."""

    def __init__(self, rng: random.Random, keys: int, trouble: float) -> None:
        self.rng = rng
        self.trouble = trouble
        self.keys = {b"%05d" % rng.randrange(100_000): rng.randrange(PARTS) for _ in range(keys)}
        self.leaders = {pid: rng.choice(NODES) for pid in range(PARTS)}
        self.asked: list[tuple[str, Scan]] = []

    def by_leader(self) -> dict[str, list[tuple[int, int]]]:
        groups: dict[str, list[tuple[int, int]]] = {}
        for pid, node in self.leaders.items():
            groups.setdefault("" if self.rng.random() < self.trouble / 4 else node, []).append((pid, 1))
        return groups

    def answer(self, node: str, scan: Scan) -> Scanned | None:
        self.asked.append((node, scan))
        if self.rng.random() < self.trouble:
            pid = self.rng.randrange(PARTS)
            self.leaders[pid] = self.rng.choice(NODES)
        if self.rng.random() < self.trouble / 2:
            return None
        asked = {pid for pid, _ in scan.parts}
        led = {pid for pid in asked if self.leaders[pid] == node}
        found = sorted(
            (
                key
                for key, pid in self.keys.items()
                if pid in led and scan.start <= key and (not scan.end or key < scan.end)
            ),
            reverse=scan.reverse,
        )
        page = found[: min(scan.limit, self.rng.randint(1, 9))]
        is_done = len(page) == len(found)
        tells = not scan.reverse and self.rng.random() < 0.5
        items = [item_of(key, tells) for key in page]
        return Scanned([] if tells else page, items, is_done, [(pid, MOVED) for pid in sorted(asked - led)])


def run(cluster: Cluster, merge: ScanMerge) -> list[bytes]:
    """Carry a scan out; the keys in the order in which they left."""
    found: list[bytes] = []
    for _ in range(10_000):
        if merge.is_over:
            return found
        for pid in sorted(merge.unassigned):
            merge.assign(cluster.leaders[pid], [(pid, 1)])
        asks = merge.asks()
        cluster.rng.shuffle(asks)
        for node, scan in asks:
            page = cluster.answer(node, scan)
            if page is None:
                merge.lose(node)
            else:
                merge.take_page(node, page)
        piece = merge.take()
        assert [*map(key_of, piece.items)] == piece.keys
        found += piece.keys
    raise AssertionError("the scan does not end")


@given(
    st.integers(0, 2**32),
    st.integers(0, 120),
    st.sampled_from((0.0, 0.1, 0.5)),
    st.booleans(),
    st.booleans(),
    st.none() | st.integers(1, 50),
)
def test_every_key_leaves_once_and_in_order(
    seed: int, keys: int, trouble: float, reverse: bool, reads_ahead: bool, limit: int | None
) -> None:
    cluster = Cluster(random.Random(seed), keys, trouble)
    wanted = KeyRange(b"1", b"8", reverse)
    merge = ScanMerge(
        cluster.by_leader(),
        wanted,
        STYLE,
        limit=NO_LIMIT if limit is None else limit,
        page_bytes=64,
        reads_ahead=reads_ahead,
    )
    expected = sorted((key for key in cluster.keys if b"1" <= key < b"8"), reverse=reverse)
    assert run(cluster, merge) == expected[:limit]


def test_nothing_leaves_while_a_partition_is_not_answered_for() -> None:
    merge = ScanMerge({"n1": [(1, 1)], "": [(2, 1)]}, KeyRange(), STYLE, page_bytes=100)
    merge.asks()
    merge.take_page("n1", Scanned([b"a"], [b"A"], True, []))
    assert merge.take().keys == []
    assert not merge.is_over
    merge.give_up({2})
    assert merge.take().keys == [b"a"]
    assert merge.is_over
    assert merge.missing == {2}


def test_a_node_that_gives_no_answer_loses_its_own_partitions_only() -> None:
    merge = ScanMerge({"n1": [(1, 1), (4, 1)], "n2": [(2, 1)], "": [(3, 1)]}, KeyRange(), STYLE, page_bytes=100)
    merge.asks()
    assert merge.lose("n1") == [1, 4]
    assert merge.unassigned == {1, 3, 4}


def test_a_new_leader_is_asked_from_behind_the_last_key_that_left() -> None:
    merge = ScanMerge({"n1": [(1, 1), (2, 1)]}, KeyRange(b"a", b"z"), STYLE, page_bytes=100)
    merge.asks()
    merge.take_page("n1", Scanned([b"b", b"c"], [b"B", b"C"], False, []))
    assert merge.take().keys == [b"b", b"c"]
    merge.asks()
    merge.take_page("n1", Scanned([b"d"], [b"D"], True, [(2, MOVED)]))
    assert merge.unassigned == {2}
    assert merge.take().keys == []
    merge.assign("n2", [(2, 3)])
    [(node, scan)] = merge.asks()
    assert (node, scan.parts, scan.start, scan.end) == ("n2", [(2, 3)], b"c\x00", b"z")


def test_what_waits_of_a_node_is_dropped_when_it_loses_a_partition() -> None:
    merge = ScanMerge({"n1": [(1, 1), (2, 1)], "n2": [(3, 1)]}, KeyRange(), STYLE, page_bytes=100, reads_ahead=True)
    merge.asks()
    merge.take_page("n1", Scanned([b"b", b"m"], [b"B", b"M"], False, []))
    merge.take_page("n2", Scanned([b"c"], [b"C"], False, []))
    assert merge.take().keys == [b"b", b"c"]
    merge.asks()
    merge.take_page("n1", Scanned([b"p"], [b"P"], True, [(2, MOVED)]))
    assert merge.unassigned == {1, 2}


def test_a_page_asks_each_node_for_little_more_than_its_share() -> None:
    by_leader = {node: [(number * 3 + index, 1) for number in range(21)] for index, node in enumerate(NODES)}
    merge = ScanMerge(by_leader, KeyRange(), STYLE, limit=101, page_bytes=1 << 20)
    limits = [scan.limit for _, scan in merge.asks()]
    assert max(limits) <= math.ceil(101 / 3 + 1.5 * math.sqrt(101 / 3)) + 1
    assert sum(limits) >= 101


@given(st.integers(0, 2**32))
def test_a_node_is_asked_for_no_more_once_enough_of_it_waits(seed: int) -> None:
    cluster = Cluster(random.Random(seed), 200, 0.0)
    merge = ScanMerge(cluster.by_leader(), KeyRange(), STYLE, limit=30, page_bytes=1 << 20)
    run(cluster, merge)
    assert all(scan.limit <= 30 for _, scan in cluster.asked)
    assert max(Counter(node for node, _ in cluster.asked).values()) <= 31


def test_a_stream_asks_a_node_for_more_only_when_little_of_it_waits() -> None:
    merge = ScanMerge({"n1": [(1, 1)], "n2": [(2, 1)]}, KeyRange(), STYLE, page_bytes=100, reads_ahead=True)
    merge.asks()
    merge.take_page("n1", Scanned([b"x", b"y"], [b"X" * 40, b"Y" * 40], False, []))
    merge.take_page("n2", Scanned([b"a"], [b"A" * 100], False, []))
    assert merge.take().keys == [b"a"]
    assert [node for node, _ in merge.asks()] == ["n2"]


@pytest.mark.parametrize("reverse", [False, True])
def test_an_empty_range_is_over_before_anybody_is_asked(reverse: bool) -> None:
    merge = ScanMerge({"n1": [(1, 1)]}, KeyRange(b"b", b"b", reverse), STYLE, page_bytes=100)
    assert merge.is_over
    assert merge.asks() == []


@given(
    st.lists(st.lists(st.integers(0, 60), unique=True, max_size=20), max_size=3),
    st.lists(st.integers(0, 8), min_size=3, max_size=3),
    st.integers(1, 12),
    st.booleans(),
    st.sets(st.integers(0, 60)),
)
@example([[0, 1], [5, 6]], [1, 2, 0], 2, False, set())
@example([[0, 1], [5, 6]], [1, 2, 0], 2, False, {0, 5})
@example([[0, 1], [5, 6]], [2, 1, 0], 2, True, set())
@example([[1, 2], [3, 4, 5]], [1, 2, 0], 2, False, set())
@example([[1, 2], [3, 4, 5]], [1, 2, 0], 2, False, {2, 3})
@example([[8, 9], [5, 6, 7]], [1, 2, 0], 2, True, set())
def test_the_first_items_of_what_nodes_answered_are_those_of_all_after_a_second_answer_of_some_at_most(
    nodes: list[list[int]], cuts: list[int], limit: int, reverse: bool, untold: set[int]
) -> None:
    """`untold`: a page that begins with one of these keys has keys besides items, which do not tell them."""
    untold = {*range(61)} if reverse else untold
    owners = {number: node for node, numbers in enumerate(nodes) for number in numbers}
    mine = {
        str(node): sorted((n for n, owner in owners.items() if owner == node), reverse=reverse) for node in range(3)
    }
    pages, lasts = {}, []
    for node, cut in zip(mine, cuts, strict=True):
        pages[node] = page_of(mine[node], 0, cut, untold)
        if cut < len(mine[node]):
            lasts.append(keys_of(pages[node])[-1] if cut else None)
    expected = [b"%02d" % number for number in sorted(owners, reverse=reverse)]
    wanted = expected[:limit]
    reached = [key for key in wanted if all(last and (key >= last if reverse else key <= last) for last in lasts)]
    first = FirstItems(limit, reverse)
    for node, page in pages.items():
        first.add(node, page)
    found = first.take()
    if found is None:
        assert lasts
        assert len(reached) < limit or sum(len(page.items) for page in pages.values()) == limit, (
            "whether there are more is not known"
        )
        wanting = first.wanting()
        assert bool(wanting) == all(lasts), "one that gave nothing may have any number of them"
        for node, end, count in wanting:
            assert end == keys_of(pages[node])[-1]
            first.add(node, page_of(mine[node], len(keys_of(pages[node])), count, untold))
        found = first.take() if wanting else None
    if found is not None:
        assert [*map(key_of, found[0])] == wanted
        assert found[1] == (wanted[-1] if len(expected) > limit else None)
    else:
        assert None in lasts


def page_of(numbers: list[int], begin: int, count: int, untold: set[int]) -> Scanned:
    keys = [b"%02d" % number for number in numbers[begin : begin + count]]
    tells = untold.isdisjoint(numbers[begin : begin + 1])
    items = [item_of(key, tells) for key in keys]
    return Scanned([] if tells else keys, items, begin + count >= len(numbers), [])
