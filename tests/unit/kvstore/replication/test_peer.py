"""What a leader knows of one follower, and what it sends when there is nothing to send."""

from __future__ import annotations

from kvstore.instant import Instant
from kvstore.messages import Acked, Append, Entry, EpochVector, Rid
from kvstore.replication.copy import Copy, CopyName
from kvstore.replication.peer import ASK_AGAIN_MS, Peer
from kvstore.storage.memory import MemoryEngine

MINE, THEIRS = Rid("n1", b"1" * 16), Rid("n2", b"2" * 16)
ENTRY = Entry(1, "default", 2, 1, MINE, (MINE, THEIRS), (MINE, THEIRS))


def acked(full: bool) -> Acked:
    return Acked(1, THEIRS, 1, 0, 0, full)


def test_a_full_follower_is_asked_again_until_it_has_room() -> None:
    copy, peer = Copy(1, CopyName(1, MINE)), Peer(THEIRS)
    now = Instant(10_000, 0)
    peer.take_vector(EpochVector(1, THEIRS, 1, [], 0), copy, now)
    assert peer.next_append(copy, ENTRY, MemoryEngine().snapshot(), now) is None
    peer.take_ack(acked(full=False), now)
    assert peer.idle_append(copy, ENTRY, now) is None

    peer.take_ack(acked(full=True), now)
    for _ in range(3):
        assert peer.idle_append(copy, ENTRY, now) == Append(1, THEIRS, 1, 0, 0, 0, [])
        assert peer.idle_append(copy, ENTRY, now) is None
        now = Instant(now.mono_ms + ASK_AGAIN_MS, 0)
    peer.take_ack(acked(full=False), now)
    assert peer.idle_append(copy, ENTRY, now) is None
