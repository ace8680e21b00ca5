"""A page of the short way is answered once, and handed back as soon as it cannot be."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest

from cluster.gateway.fast_pages import FastPages
from cluster.gateway.fast_requests import PageRequest
from cluster.gateway.scan_merge import FirstItems
from kvstore.messages import Fault, Scan, Scanned
from kvstore.rpc.connection import NotSent

CLUSTER_ID = b"c" * 16
MOVED = Scanned([], [], True, [(1, Fault("wrong_leader", "moved"))])
UNEVEN = Scanned([b"a", b"b"], [b"1"], True, [])


class Asked:
    """A page that is asked of two nodes; `calls_fail`: from now on they cannot be."""

    def __init__(self, query: str = "limit=3") -> None:
        self.calls_fail = False
        self.calls: list[asyncio.Future[Any]] = []
        self.scans: list[tuple[str, Scan]] = []
        router: Any = SimpleNamespace(
            map=SimpleNamespace(keyspaces={"default": SimpleNamespace(strategy="consistent")}),
            by_leader=lambda _keyspace: {"n1": [(1, 1)], "n2": [(2, 1)]},
        )
        dispatcher: Any = SimpleNamespace(links=Mock(call=self._call), served=0)
        self.caller = Mock()
        pages = FastPages(dispatcher, router, cluster_id=CLUSTER_ID, page_bytes_max=1 << 20)
        assert pages.begin(self.caller, PageRequest(query, ""))

    def _call(self, node: str, scan: Scan, _timeout_s: float) -> asyncio.Future[Any]:
        if self.calls_fail:
            raise NotSent("cut")
        self.scans.append((node, scan))
        self.calls.append(asyncio.get_running_loop().create_future())
        return self.calls[-1]

    async def answer(self, *answers: Scanned) -> None:
        for answer in answers:
            self.calls.pop(0).set_result(answer)
            await asyncio.sleep(0)


async def test_it_is_answered_when_all_nodes_have_answered() -> None:
    asked = Asked()
    await asked.answer(Scanned([b"b"], [b"2"], True, []))
    asked.caller.answer_fast.assert_not_called()
    await asked.answer(Scanned([b"a", b"c"], [b"1", b"3"], True, []))
    (answer,) = asked.caller.answer_fast.call_args.args
    assert answer.body == b'{"items":[1,2,3]}'
    asked.caller.take_long_way.assert_not_called()


async def test_a_node_whose_keys_do_not_reach_far_enough_is_asked_once_more_for_what_is_wanting() -> None:
    asked = Asked()
    await asked.answer(Scanned([b"a", b"b"], [b"1", b"2"], False, []), Scanned([b"d", b"e"], [b"4", b"5"], False, []))
    asked.caller.answer_fast.assert_not_called()
    ((node, scan),) = asked.scans[2:]
    assert (node, scan.parts, scan.start, scan.limit) == ("n1", [(1, 1)], b"b\x00", 2)
    await asked.answer(Scanned([b"c", b"f"], [b"3", b"6"], False, []))
    (answer,) = asked.caller.answer_fast.call_args.args
    assert answer.body.startswith(b'{"items":[1,2,3],"cursor":"')
    asked.caller.take_long_way.assert_not_called()


@pytest.mark.parametrize("limit", ["limit=3", "limit=3&reverse=true"])
async def test_it_is_handed_back_where_a_second_answer_is_not_enough_either(limit: str) -> None:
    asked = Asked(limit)
    await asked.answer(Scanned([b"m"], [b"1"], False, []), Scanned([], [], True, []))
    await asked.answer(Scanned([b"n" if limit == "limit=3" else b"l"], [b"2"], False, []))
    asked.caller.take_long_way.assert_called_once_with()
    assert len(asked.scans) == 3


async def test_it_is_handed_back_where_nobody_can_be_asked_for_more() -> None:
    asked = Asked()
    asked.calls_fail = True
    await asked.answer(Scanned([b"a"], [b"1"], False, []), Scanned([], [], True, []))
    asked.caller.take_long_way.assert_called_once_with()


@pytest.mark.parametrize("answer", [MOVED, UNEVEN], ids=["moved", "uneven"])
async def test_it_is_handed_back_once_and_what_comes_later_is_not_merged(
    answer: Scanned, monkeypatch: pytest.MonkeyPatch
) -> None:
    added = Mock()
    monkeypatch.setattr(FirstItems, "add", added)
    asked = Asked()
    await asked.answer(answer)
    asked.caller.take_long_way.assert_called_once_with()
    await asked.answer(Scanned([b"b"], [b"2"], True, []))
    asked.caller.take_long_way.assert_called_once_with()
    asked.caller.answer_fast.assert_not_called()
    added.assert_not_called()


async def test_who_asked_is_told_once_where_what_a_node_says_breaks_it(monkeypatch: pytest.MonkeyPatch) -> None:
    bug = RuntimeError("a bug")
    monkeypatch.setattr(FirstItems, "add", Mock(side_effect=bug))
    asked = Asked()
    await asked.answer(Scanned([b"a"], [b"1"], True, []), Scanned([b"b"], [b"2"], True, []))
    asked.caller.fail.assert_called_once_with(bug)
    asked.caller.take_long_way.assert_not_called()
    asked.caller.answer_fast.assert_not_called()


async def test_so_it_is_where_the_page_cannot_be_made() -> None:
    asked = Asked()
    bug = asked.caller.has_room.side_effect = RuntimeError("a bug")
    await asked.answer(Scanned([b"a"], [b"1"], True, []), Scanned([b"b"], [b"2"], True, []))
    asked.caller.fail.assert_called_once_with(bug)
    asked.caller.answer_fast.assert_not_called()
