"""Which changes of an entry a node may ask for."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from cluster.control.leadership import objection
from kvstore.map_values import Entry, Rid, Transfer, TransferState

A, B, C, D = (Rid(node, node.upper().encode() * 16) for node in "abcd")
FIRST = Entry(1, "default", 1, 0, None, (A, B), (A, B))
LED = msgspec.structs.replace(FIRST, ver=4, epoch=2, leader=A, leader_boot=7)
MOVING = msgspec.structs.replace(LED, adding=(C,), moving=C, verified_epoch=2)
UNVERIFIED = msgspec.structs.replace(MOVING, verified_epoch=1)
LEAVING = msgspec.structs.replace(LED, removing=(B,))
LEARNING = msgspec.structs.replace(LED, in_sync=(A,), adding=(C, D))


def asked(stored: Entry, **changes: Any) -> Entry:
    return msgspec.structs.replace(stored, ver=stored.ver + 1, **changes)


def transferring(source: int, state: TransferState) -> Entry:
    """The entry of partition 1, which is source or target of a transfer."""
    return msgspec.structs.replace(LED, transfer=Transfer(9, source, 3 - source, state))


COPYING, HANDED = transferring(1, TransferState.COPYING), transferring(1, TransferState.HANDED)
SWITCHED, ABORTING = transferring(1, TransferState.SWITCHED), transferring(2, TransferState.ABORTING)
FILLED = transferring(2, TransferState.COPYING)


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        (COPYING, {"transfer": HANDED.transfer}),
        (COPYING, {"in_sync": (A,)}),
        (COPYING, {"epoch": 3}),
        (SWITCHED, {"transfer": None}),
        (ABORTING, {"transfer": None}),
        (FIRST, {"epoch": 1, "leader": A, "leader_boot": 7}),
        (LED, {"epoch": 3}),
        (LED, {}),
        (LED, {"in_sync": (A,)}),
        (LEARNING, {"in_sync": (A, B)}),
        (LEARNING, {"in_sync": (A, C)}),
        (LEARNING, {"in_sync": (A, C), "replicas": (A, B, C), "adding": (D,)}),
        (LEARNING, {"in_sync": (A, D), "replicas": (A, B, D), "adding": (C,)}),
        (LEARNING, {"in_sync": (A, D, C), "replicas": (A, B, C, D), "adding": ()}),
        (LEARNING, {"epoch": 3}),
        (MOVING, {"in_sync": (A, C), "replicas": (A, B, C), "adding": ()}),
        (LEAVING, {"in_sync": (A,)}),
        (msgspec.structs.replace(LED, leader=B, leader_boot=1), {"epoch": 3, "leader": A, "leader_boot": 7}),
    ],
)
def test_what_a_leader_may_ask_for(stored: Entry, changes: dict[str, Any]) -> None:
    assert objection(stored, asked(stored, **changes), "a", 7) is None


@pytest.mark.parametrize(
    ("stored", "changes"),
    [
        (LED, {"transfer": COPYING.transfer}),
        (LED, {"layout": 1}),
        (COPYING, {"transfer": None}),
        (COPYING, {"transfer": SWITCHED.transfer}),
        (COPYING, {"transfer": HANDED.transfer, "epoch": 3}),
        (FILLED, {"transfer": transferring(2, TransferState.HANDED).transfer}),
        (FILLED, {"transfer": None}),
        (HANDED, {"transfer": COPYING.transfer}),
        (HANDED, {"transfer": None}),
        (SWITCHED, {"transfer": COPYING.transfer}),
    ],
)
def test_what_only_control_says_of_a_transfer(stored: Entry, changes: dict[str, Any]) -> None:
    assert objection(stored, asked(stored, **changes), "a", 7) is not None


def test_nobody_leads_what_is_no_more() -> None:
    over = Entry(1, "default", 5, 2, None, (), ())
    assert objection(over, asked(over, epoch=3, leader=A, leader_boot=7), "a", 7) is not None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"epoch": 3, "leader": B}, "process that is to lead"),
        ({"epoch": 3, "leader": None}, "stays led"),
        ({"epoch": 3, "leader_boot": 6}, "process that is to lead"),
        ({"epoch": 4}, "rises by one"),
        ({"epoch": 1}, "rises by one"),
        ({"epoch": 3, "leader": Rid("a", b"X" * 16)}, "in-sync copy"),
        ({"leader": Rid("a", b"X" * 16)}, "in-sync copy"),
        ({"epoch": 3, "in_sync": (A,)}, "with a new epoch"),
        ({"epoch": 3, "in_sync": (B, A)}, "with a new epoch"),
        ({"epoch": 3, "replicas": (A,)}, "with a new epoch"),
        ({"epoch": 3, "adding": (C,)}, "with a new epoch"),
        ({"in_sync": (B,)}, "in sync with itself"),
        ({"in_sync": ()}, "in sync with itself"),
        ({"in_sync": (A, C)}, "copies"),
        ({"in_sync": (A, A)}, "copies"),
        ({"replicas": (A,)}, "changes no copy"),
        ({"replicas": (B, A)}, "changes no copy"),
        ({"replicas": (A, B, C)}, "changes no copy"),
        ({"adding": (C,)}, "changes no copy"),
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


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"replicas": (A, B, C), "adding": (D,)}, "as it gets in sync"),
        ({"in_sync": (A, C), "replicas": (A, B, C, D), "adding": ()}, "as it gets in sync"),
        ({"in_sync": (A, C), "replicas": (A, C, B), "adding": (D,)}, "changes no copy"),
        ({"in_sync": (A, C), "replicas": (A, C), "adding": (D,)}, "changes no copy"),
        ({"in_sync": (A, C), "replicas": (A, B, C)}, "changes no copy"),
        ({"in_sync": (A, C), "adding": (D,)}, "changes no copy"),
        ({"adding": (D, C)}, "changes no copy"),
        ({"adding": ()}, "changes no copy"),
    ],
)
def test_an_added_copy_is_placed_last_and_only_in_sync(changes: dict[str, Any], reason: str) -> None:
    refused = objection(LEARNING, asked(LEARNING, **changes), "a", 7)
    assert refused is not None
    assert reason in refused


def test_a_restarted_process_needs_a_new_epoch() -> None:
    assert objection(LED, asked(LED, leader_boot=8), "a", 8) == "a new leader needs a new epoch"
    assert objection(LED, asked(LED, leader_boot=8, epoch=3), "a", 8) is None


def test_another_in_sync_copy_needs_a_new_epoch() -> None:
    assert objection(LED, asked(LED, leader=B, leader_boot=1), "b", 1) == "a new leader needs a new epoch"


def test_a_copy_that_is_not_in_sync_does_not_lead() -> None:
    for learner, node in ((B, "b"), (C, "c")):
        wanted = asked(LEARNING, epoch=3, leader=learner, leader_boot=1)
        assert objection(LEARNING, wanted, node, 1) == "only an in-sync copy leads"


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"in_sync": (A, C), "replicas": (A, B, C), "adding": ()}, "verified in this epoch"),
        ({"verified_epoch": 2}, "a node changes only"),
        ({"moving": None}, "a node changes only"),
    ],
)
def test_a_copy_that_moves_gets_in_sync_only_as_control_says(changes: dict[str, Any], reason: str) -> None:
    assert reason in str(objection(UNVERIFIED, asked(UNVERIFIED, **changes), "a", 7))
