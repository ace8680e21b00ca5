"""Primaries are told which transactions all have finished: together, and no more of them than there is room for."""

from __future__ import annotations

import asyncio

import pytest
from unit.cluster.txn.fake_links import FakeLinks, led_by

from cluster.txn import finished
from cluster.txn.finished import FinishedNames
from kvstore.map_values import Entry
from kvstore.messages import TxnName, TxnsFinished

ENTRIES = {1: led_by(1, "n1"), 2: led_by(2, "n2"), 3: led_by(3, None)}


def name(number: int, primary: int = 1) -> TxnName:
    return TxnName(primary, number.to_bytes(16, "big"), 1)


def told(links: FakeLinks) -> list[tuple[str, list[TxnName]]]:
    return [(node, body.txns) for node, body in links.said if isinstance(body, TxnsFinished)]


@pytest.fixture
async def links(monkeypatch: pytest.MonkeyPatch) -> FakeLinks:
    monkeypatch.setattr(finished, "PAUSE_S", 0.02)
    return FakeLinks()


def names_of(links: FakeLinks) -> FinishedNames:
    def entry_of(pid: int) -> Entry | None:
        return ENTRIES.get(pid)

    return FinishedNames(links, entry_of)  # type: ignore[arg-type]


async def test_a_node_is_told_of_all_that_ended_within_a_pause_at_once(links: FakeLinks) -> None:
    names = names_of(links)
    for number, primary in enumerate((1, 2, 1)):
        names.add(name(number, primary))
    assert not links.said
    await asyncio.sleep(0.1)
    assert told(links) == [("n1", [name(0), name(2)]), ("n2", [name(1, 2)])]
    names.add(name(9))
    await asyncio.sleep(0.1)
    assert told(links)[2:] == [("n1", [name(9)])]


async def test_who_closes_tells_what_there_is_and_nothing_later(links: FakeLinks) -> None:
    names = names_of(links)
    for number in range(3):
        names.add(name(number))
    names.close()
    assert len(links.said) == 1
    await asyncio.sleep(0.1)
    assert len(links.said) == 1


async def test_nobody_is_told_where_nobody_leads_the_primary(links: FakeLinks) -> None:
    names = names_of(links)
    for primary in (3, 4, 1):
        names.add(name(primary, primary))
    names.close()
    assert told(links) == [("n1", [name(1)])]


async def test_no_more_are_kept_and_told_at_once_than_there_is_room_for(
    links: FakeLinks, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finished, "NAMES_MAX", 5)
    monkeypatch.setattr(finished, "MESSAGE_NAMES_MAX", 2)
    names = names_of(links)
    for number in range(9):
        names.add(name(number))
    names.close()
    assert told(links) == [("n1", [name(0), name(1)]), ("n1", [name(2), name(3)]), ("n1", [name(4)])]
