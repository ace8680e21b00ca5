"""A scan that meets a row which cannot be read stops the copy it lies in, and is answered as if none led it."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from unit.kvstore.node.test_scanner_beside_transactions import DEADLINE_MS, Asker, Turns, loop_turns, page
from unit.kvstore.story import PID
from unit.kvstore.test_damaged_rows import Damaged

from kvstore.messages import Counted, CountKeys, Scan, Scanned
from kvstore.node.scanner import Scanner
from kvstore.scan.items import ItemForm


async def asked_of(story: Damaged, scan: Scan | CountKeys) -> Any:
    """The answer to a scan of its one partition."""
    asker = Asker()
    turns = Turns(story.n1)
    Scanner(turns).ask(asker, 1, scan, DEADLINE_MS)  # type: ignore[arg-type]
    await loop_turns()
    answer = asker.answers[1]
    assert isinstance(answer, Scanned | Counted)
    return answer


@pytest.mark.parametrize("form", ItemForm)
@pytest.mark.parametrize("keys_only", [False, True])
async def test_its_copy_stops(form: ItemForm, keys_only: bool) -> None:
    story = Damaged(nodes=1)
    answer = await asked_of(story, msgspec.structs.replace(page(story.n1), form=int(form), keys_only=keys_only))
    assert [(pid, fault.code) for pid, fault in answer.faults] == [(PID, "no_leader")]
    assert not answer.keys
    assert story.has_stopped()


async def test_a_range_without_it_is_answered() -> None:
    story = Damaged(nodes=1)
    answer = await asked_of(story, page(story.n1, b"l"))
    assert not answer.faults
    assert not story.n1.partition.is_quarantined


async def test_a_count_that_has_to_read_it_stops_its_copy() -> None:
    story = Damaged(nodes=1)
    story.pass_ms(61_000)
    asked = CountKeys([(PID, story.n1.partition.ver, b"")], b"")
    answer = await asked_of(story, asked)
    assert [(pid, fault.code) for pid, fault in answer.faults] == [(PID, "no_leader")]
    assert story.has_stopped()
