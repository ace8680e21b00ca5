"""What a gate says at a look is what its reasons say."""

from __future__ import annotations

from itertools import product

from unit.kvstore.story import Story

from kvstore.map_values import Transfer, TransferState
from kvstore.replication.peer import LEASE_MS


def test_every_key_is_served_where_there_is_no_reason_against_one() -> None:
    story = Story()
    leader = story.lead().leader
    story.beat()
    hidden = Transfer(1, 2, 1, TransferState.COPYING)
    served = 0
    for serving, passing, frozen, hides, ver, late in product((False, True), repeat=6):
        leader.is_serving, leader.is_passing_on = serving, passing
        leader.frozen_ms, leader.hidden = 0 if frozen else None, hidden if hides else None
        now = story.now._replace(mono_ms=story.now.mono_ms + late * 2 * LEASE_MS)
        is_served = leader.refuses_reads(now) is None and leader.hidden is None and not ver
        assert leader.serves_every_key(leader.ver + ver, now.mono_ms) == is_served
        served += is_served
    assert served == 1
