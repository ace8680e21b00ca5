"""What a leader believes of a follower: only what it named as durable, and nothing while it is silent."""

from __future__ import annotations

import pytest
from unit.kvstore.story import PID

from kvstore.instant import Instant
from kvstore.map_values import Entry, Rid
from kvstore.messages import Acked, BeginBackfill, CutTail, EpochVector, Reconcile
from kvstore.replication import peer as peer_module
from kvstore.replication.copy import Copy
from kvstore.replication.copy_rows import CopyName
from kvstore.replication.log import Held, Log
from kvstore.replication.peer import ASK_AGAIN_MS, ORDER_AGAIN_MS, SILENCE_MS, Peer, PeerState, Role
from kvstore.storage.memory import MemoryEngine
from kvstore.storage.records import Record, RecordType, decode_log_row, encode_log_row

N1, N2 = Rid("n1", b"leader.........."), Rid("n2", b"follower........")
ENTRY = Entry(PID, "default", 7, 2, N1, (N1, N2), (N1, N2))
START = Instant(50_000, 0)
VIEW = MemoryEngine().snapshot()


def after(ms: int) -> Instant:
    return Instant(START.mono_ms + ms, 0)


def grow(copy: Copy, epoch: int = 2, value: bytes = b"v") -> None:
    record = Record(RecordType.PUT, b"k", value)
    row, _ = encode_log_row(epoch, copy.log.end + 1, 0, copy.log.end_checksum, [record])
    copy.append(Held(row, decode_log_row(row)))


@pytest.fixture
def copy() -> Copy:
    """A leader of epoch 2 with seqs 1 to 3 of epoch 1 and 4 of its own, one row each."""
    copy = Copy(1, CopyName(PID, N1))
    for epoch in (1, 1, 1, 2):
        grow(copy, epoch)
    return copy


@pytest.fixture
def peer() -> Peer:
    peer = Peer(N2, Role.MEMBER, START)
    peer.ask_vector(ENTRY, START)
    return peer


def vector(starts: list[tuple[int, int]], end: int) -> EpochVector:
    return EpochVector(PID, N2, 2, starts, end)


def ack(end: int, commit_seq: int = 0, full: bool = False, backfilling: bool = False) -> Acked:
    return Acked(PID, N2, 2, end, commit_seq, full, backfilling)


def streaming(peer: Peer, copy: Copy) -> Peer:
    peer.take_vector(vector([(1, 1), (2, 4)], 4), copy, START)
    return peer


def test_it_is_asked_first_and_sent_nothing_before_it_answered(copy: Copy) -> None:
    peer = Peer(N2, Role.MEMBER, START)
    assert peer.ask_vector(ENTRY, START) == Reconcile(PID, N2, 2, 7)
    assert peer.next_append(copy, ENTRY, VIEW, START) is None
    assert peer.idle_append(copy, ENTRY, START) is None
    assert (peer.is_alive, peer.acked) == (False, 0)


def test_equal_logs_stream_from_their_end(peer: Peer, copy: Copy) -> None:
    assert peer.take_vector(vector([(1, 1), (2, 4)], 4), copy, START) is None
    assert (peer.state, peer.is_alive, peer.acked) == (PeerState.STREAMING, True, 4)
    assert peer.next_append(copy, ENTRY, VIEW, START) is None


@pytest.mark.parametrize("end", [0, 1, 2, 3])
def test_a_log_that_is_behind_is_sent_what_it_lacks(peer: Peer, copy: Copy, end: int) -> None:
    assert peer.take_vector(vector([(1, 1)] if end else [], end), copy, START) is None
    assert peer.acked == end
    append = peer.next_append(copy, ENTRY, VIEW, START)
    assert append is not None
    assert (append.prev_seq, len(append.rows)) == (end, 4 - end)
    assert peer.acked == end, "rows that were sent are not rows that are held"
    assert peer.next_append(copy, ENTRY, VIEW, START) is None


def test_a_divergent_tail_is_cut_before_anything_is_streamed(peer: Peer, copy: Copy) -> None:
    assert peer.take_vector(vector([(1, 1)], 5), copy, START) == CutTail(PID, N2, 2, 3)
    assert (peer.state, peer.acked) == (PeerState.CUTTING, 0)
    assert peer.next_append(copy, ENTRY, VIEW, START) is None
    peer.take_ack(ack(3), START)
    assert (peer.state, peer.acked) == (PeerState.STREAMING, 3)


def test_a_follower_that_was_to_be_cut_and_answers_another_end_is_asked_again(peer: Peer, copy: Copy) -> None:
    peer.take_vector(vector([(1, 1)], 5), copy, START)
    peer.take_ack(ack(4), START)
    assert peer.state is PeerState.CUTTING
    assert peer.is_silent(copy, after(ASK_AGAIN_MS))
    peer.ask_vector(ENTRY, after(ASK_AGAIN_MS))
    assert peer.take_vector(vector([(1, 1), (2, 4)], 4), copy, after(ASK_AGAIN_MS)) is None
    assert peer.state is PeerState.STREAMING


def test_a_late_vector_never_has_a_streaming_follower_cut(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    assert peer.take_vector(vector([(1, 1)], 5), copy, START) is None
    assert (peer.state, peer.acked) == (PeerState.STREAMING, 4)


def test_a_late_vector_of_the_copy_that_began_anew_does_not_call_its_data_complete(copy: Copy) -> None:
    learner = Peer(N2, Role.LEARNER, START)
    learner.ask_vector(ENTRY, START)
    before = vector([(1, 1)], 9)
    assert learner.take_vector(before, copy, START) == CutTail(PID, N2, 2, 3)
    learner.take_ack(ack(3), START)
    copy.log = Log(7, 0, 0, [(1, 1), (2, 4)], [])
    assert isinstance(learner.next_append(copy, ENTRY, VIEW, START), BeginBackfill)
    learner.take_vector(EpochVector(PID, N2, 2, [(1, 1), (2, 4)], 7, backfilling=True), copy, START)
    learner.take_vector(before, copy, START)
    assert learner.is_backfilling
    learner.take_ack(ack(7), START)
    assert not learner.is_backfilling


def test_a_gap_takes_the_stream_back_to_the_followers_end(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    grow(copy)
    grow(copy)
    assert peer.next_append(copy, ENTRY, VIEW, START) is not None
    assert peer.take_vector(vector([(1, 1), (2, 4)], 5), copy, START) is None
    append = peer.next_append(copy, ENTRY, VIEW, START)
    assert append is not None
    assert (append.prev_seq, len(append.rows)) == (5, 1)
    assert peer.acked == 5


def test_an_ack_never_goes_back(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    peer.take_ack(ack(2), START)
    assert peer.acked == 4


def test_bytes_under_way_are_bounded(peer: Peer, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "APPEND_BYTES_MAX", 1000)
    monkeypatch.setattr(peer_module, "WINDOW_BYTES", 3000)
    streaming(peer, copy)
    for _ in range(20):
        grow(copy, value=bytes(500))
    sent = []
    while (append := peer.next_append(copy, ENTRY, VIEW, START)) is not None:
        sent.append(append)
    assert 3000 <= sum(len(row) for append in sent for row in append.rows) < 4000
    assert all(sum(map(len, append.rows)) <= 1000 for append in sent)
    first = sent[0].prev_seq + len(sent[0].rows)
    peer.take_ack(ack(first - 1), START)
    assert peer.next_append(copy, ENTRY, VIEW, START) is None
    peer.take_ack(ack(first), START)
    append = peer.next_append(copy, ENTRY, VIEW, START)
    assert append is not None
    assert append.prev_seq == sent[-1].prev_seq + len(sent[-1].rows)


def test_a_value_larger_than_the_window_goes_through(peer: Peer, copy: Copy, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peer_module, "APPEND_BYTES_MAX", 10)
    monkeypatch.setattr(peer_module, "WINDOW_BYTES", 10)
    streaming(peer, copy)
    grow(copy, value=bytes(1000))
    append = peer.next_append(copy, ENTRY, VIEW, START)
    assert append is not None
    assert len(append.rows) == 1


def test_silence_with_rows_under_way_ends_its_being_alive(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    grow(copy)
    assert peer.next_append(copy, ENTRY, VIEW, after(5000)) is not None
    assert not peer.is_silent(copy, after(5000 + SILENCE_MS - 1))
    assert peer.is_alive
    assert peer.is_silent(copy, after(5000 + SILENCE_MS))
    assert not peer.is_alive


@pytest.mark.parametrize(("end", "is_silent"), [(4, True), (5, False)])
def test_only_an_ack_with_progress_ends_the_silence(peer: Peer, copy: Copy, end: int, is_silent: bool) -> None:
    streaming(peer, copy)
    grow(copy)
    grow(copy)
    peer.next_append(copy, ENTRY, VIEW, START)
    peer.take_ack(ack(end), after(900))
    assert peer.is_silent(copy, after(1000)) is is_silent


def test_an_idle_follower_is_never_silent(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    assert not peer.is_silent(copy, after(1_000_000))
    assert peer.is_alive


def test_a_question_without_answer_is_asked_again(peer: Peer, copy: Copy) -> None:
    assert not peer.is_silent(copy, after(ASK_AGAIN_MS - 1))
    assert peer.is_silent(copy, after(ASK_AGAIN_MS))
    peer.ask_vector(ENTRY, after(ASK_AGAIN_MS))
    assert not peer.is_silent(copy, after(ASK_AGAIN_MS + 1))


def test_news_of_what_is_committed_is_repeated_until_it_is_known(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    assert peer.idle_append(copy, ENTRY, START) is None
    copy.commit(4)
    news = peer.idle_append(copy, ENTRY, START)
    assert news is not None
    assert (news.commit_seq, news.rows, news.prev_seq, news.prev_checksum) == (4, [], 4, copy.log.end_checksum)
    assert peer.idle_append(copy, ENTRY, after(ASK_AGAIN_MS - 1)) is None
    assert peer.idle_append(copy, ENTRY, after(ASK_AGAIN_MS)) == news
    peer.take_ack(ack(4, commit_seq=4), after(ASK_AGAIN_MS))
    assert peer.idle_append(copy, ENTRY, after(10_000)) is None


def test_a_full_follower_is_asked_again_until_it_has_room(peer: Peer, copy: Copy) -> None:
    streaming(peer, copy)
    peer.take_ack(ack(4), START)
    assert peer.idle_append(copy, ENTRY, START) is None
    peer.take_ack(ack(4, full=True), START)
    for turn in range(3):
        now = after(turn * ASK_AGAIN_MS)
        question = peer.idle_append(copy, ENTRY, now)
        assert question is not None
        assert question.rows == []
        assert peer.idle_append(copy, ENTRY, now) is None
    peer.take_ack(ack(4), after(3 * ASK_AGAIN_MS))
    assert peer.idle_append(copy, ENTRY, after(3 * ASK_AGAIN_MS)) is None


def test_a_full_learner_that_is_filled_gets_no_rows_but_is_asked_until_it_has_room(copy: Copy) -> None:
    learner = streaming(Peer(N2, Role.LEARNER, START), copy)
    learner.take_ack(ack(4, full=True, backfilling=True), START)
    grow(copy)
    assert not learner.can_send(copy)
    for turn in range(3):
        now = after(turn * ASK_AGAIN_MS)
        assert learner.next_append(copy, ENTRY, VIEW, now) is None
        question = learner.idle_append(copy, ENTRY, now)
        assert question is not None
        assert (question.rows, question.prev_seq, question.prev_checksum) == ([], 0, 0)
    learner.take_ack(ack(4, backfilling=True), START)
    assert learner.next_append(copy, ENTRY, VIEW, START) is not None


@pytest.mark.parametrize("role", [Role.LEARNER, Role.MEMBER])
def test_a_full_follower_whose_data_is_complete_gets_rows_for_deletes_make_room(role: Role, copy: Copy) -> None:
    peer = streaming(Peer(N2, role, START), copy)
    peer.take_ack(ack(4, full=True), START)
    grow(copy)
    assert peer.next_append(copy, ENTRY, VIEW, START) is not None


def test_a_full_learner_that_has_not_begun_anew_is_told_so_again(copy: Copy) -> None:
    for _ in range(3):
        grow(copy)
    copy.log.release(6)
    learner = Peer(N2, Role.LEARNER, START)
    for _ in range(2):
        learner.take_vector(vector([(1, 1), (2, 4)], 4), copy, START)
        learner.take_ack(ack(4, full=True), START)
        assert isinstance(learner.next_append(copy, ENTRY, VIEW, START), BeginBackfill)


def test_a_learner_that_does_not_begin_anew_is_told_so_again_soon_and_then_now_and_then(copy: Copy) -> None:
    for _ in range(3):
        grow(copy)
    copy.log.release(6)
    learner, now = Peer(N2, Role.LEARNER, START), START
    for wait_ms in (ASK_AGAIN_MS, ORDER_AGAIN_MS, ORDER_AGAIN_MS):
        learner.take_vector(vector([(1, 1), (2, 4)], 4), copy, now)
        assert isinstance(learner.next_append(copy, ENTRY, VIEW, now), BeginBackfill)
        assert learner.has_to_begin
        assert not learner.is_silent(copy, Instant(now.mono_ms + wait_ms - 1, 0))
        now = Instant(now.mono_ms + wait_ms, 0)
        assert learner.is_silent(copy, now)
        learner.ask_vector(ENTRY, now)
    learner.take_vector(EpochVector(PID, N2, 2, [(1, 1), (2, 4)], 6, backfilling=True), copy, now)
    assert not learner.has_to_begin


@pytest.mark.parametrize("what", ["is_alive", "is_backfilling"])
def test_one_that_is_silent_or_lacks_data_neither_begins_to_join_nor_has_joined(copy: Copy, what: str) -> None:
    peer = streaming(Peer(N2, Role.LEARNER, START), copy)
    peer.granted_ms = START.mono_ms

    def turn() -> None:
        setattr(peer, what, not getattr(peer, what))

    assert peer.is_near(copy, START)
    turn()
    assert not peer.is_near(copy, START)
    turn()
    peer.begin_join(copy)
    assert peer.has_joined
    turn()
    assert not peer.has_joined
