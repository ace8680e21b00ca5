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
from kvstore.messages import Fault, Scanned

CLUSTER_ID = b"c" * 16
MOVED = Scanned([], [], True, [(1, Fault("wrong_leader", "moved"))])
UNEVEN = Scanned([b"a", b"b"], [b"1"], True, [])


class Asked:
    """A page that is asked of two nodes. `answers`: what each of them gave."""

    def __init__(self) -> None:
        self.calls: list[asyncio.Future[Any]] = []
        router: Any = SimpleNamespace(
            map=SimpleNamespace(keyspaces={"default": SimpleNamespace(strategy="consistent")}),
            by_leader=lambda _keyspace: {"n1": [(1, 1)], "n2": [(2, 1)]},
        )
        dispatcher: Any = SimpleNamespace(links=Mock(call=self._call), served=0)
        self.caller = Mock()
        pages = FastPages(dispatcher, router, cluster_id=CLUSTER_ID, page_bytes_max=1 << 20)
        assert pages.begin(self.caller, PageRequest("limit=3", ""))

    def _call(self, *_: object) -> asyncio.Future[Any]:
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
