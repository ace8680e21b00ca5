"""Which changes of an entry a node may ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.control.leadership import objection
from kvstore.messages import Entry, Rid

A, B, C = Rid("a", b"A" * 16), Rid("b", b"B" * 16), Rid("c", b"C" * 16)
FIRST = Entry(1, "default", 1, 0, None, (A, B), (A, B))
LED = msgspec.structs.replace(FIRST, ver=4, epoch=2, leader=A, leader_boot=7)


def asked(stored: Entry, **changes: Any) -> Entry:
    return msgspec.structs.replace(stored, ver=stored.ver + 1, **changes)


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        (FIRST, {"epoch": 1, "leader": A, "leader_boot": 7}),
        (LED, {"epoch": 3}),
        (LED, {"in_sync": (A,)}),
        (msgspec.structs.replace(LED, in_sync=(A,), adding=(C,)), {"in_sync": (A, C)}),
        (msgspec.structs.replace(LED, leader=B), {"epoch": 3, "leader": A, "in_sync": (A,)}),
    ],
)
def test_a_leader_may_take_a_new_epoch_and_change_the_in_sync_set(stored: Entry, changes: dict[str, Any]) -> None:
    assert objection(stored, asked(stored, **changes), "a", 7) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 3, "leader": B}, "process that is to lead"),
        ({"epoch": 3, "leader": None}, "process that is to lead"),
        ({"epoch": 3, "leader_boot": 6}, "process that is to lead"),
        ({"epoch": 4}, "rises by one"),
        ({"epoch": 1}, "rises by one"),
        ({"epoch": 3, "leader": Rid("a", b"X" * 16)}, "in-sync copy"),
        ({"in_sync": (B,)}, "in sync with itself"),
        ({"in_sync": (A, C)}, "copies"),
        ({"in_sync": (A, A)}, "copies"),
        ({"replicas": (A,)}, "only leader"),
        ({"adding": (C,)}, "only leader"),
        ({"removing": (B,)}, "only leader"),
        ({"min_in_sync": 2}, "only leader"),
        ({"unclean_count": 1}, "only leader"),
        ({"keyspace": "other"}, "only leader"),
    ],
)
def test_anything_else_is_refused(changes: dict[str, Any], reason: str) -> None:
    refused = objection(LED, asked(LED, **changes), "a", 7)
    assert refused is not None
    assert reason in refused


def test_a_restarted_process_needs_a_new_epoch() -> None:
    assert objection(LED, asked(LED, leader_boot=8), "a", 8) == "a new leader needs a new epoch"
    assert objection(LED, asked(LED, leader_boot=8, epoch=3), "a", 8) is None


def test_a_node_that_is_not_in_sync_does_not_lead() -> None:
    alone = msgspec.structs.replace(LED, in_sync=(A,))
    assert objection(alone, asked(alone, epoch=3, leader=B, leader_boot=1, in_sync=(B,)), "b", 1) is not None
