"""One connection on a transport of wax: what leaves when, how each call ends, and who stops whom."""

from __future__ import annotations

import asyncio
import struct

import pytest
from unit.kvstore.rpc.wax import CAST, CLUSTER, End, WaxTransport

from kvstore.codec import FORMAT, encode_frame
from kvstore.messages import Acked, Done, Envelope, Failed, Fault, Frame, Read, ReadResult
from kvstore.rpc import connection as connection_module
from kvstore.rpc import framing as framing_module
from kvstore.rpc.connection import (
    PRIORITY_CONTROL,
    STRANGER_FRAME_BYTES_MAX,
    SWEEP_S,
    Connection,
    Lost,
    NotSent,
    TimedOut,
)
from kvstore.rpc.framing import HEAD_BYTES, PREAMBLE, FrameDecoder, frame_bytes


@pytest.fixture
async def dialler() -> End:
    return End(dialled=True)


@pytest.fixture
async def listener() -> End:
    end = End(dialled=False)
    end.connection.data_received(PREAMBLE)
    return end


async def turn() -> None:
    """Let this loop turn end."""
    await asyncio.sleep(0)


# ---- what leaves ----------------------------------------------------------------------------------------------------


async def test_the_side_that_dialled_says_the_preamble_first(dialler: End, listener: End) -> None:
    assert dialler.transport.writes == [PREAMBLE]
    assert listener.transport.writes == []


async def test_all_messages_of_a_turn_leave_in_one_write_and_control_first(dialler: End) -> None:
    dialler.connection.call(Read([]), 1)
    dialler.connection.cast(CAST)
    dialler.connection.call(Done(), 1, PRIORITY_CONTROL)
    dialler.connection.call(Read([]), 1)
    assert len(dialler.transport.writes) == 1
    await turn()
    assert len(dialler.transport.writes) == 2
    assert [type(envelope.body) for envelope in dialler.transport.envelopes()[0]] == [Acked, Done, Read, Read]
    dialler.connection.cast(CAST)
    await turn()
    assert len(dialler.transport.writes) == 3


async def test_a_call_tells_how_much_time_is_left(dialler: End) -> None:
    dialler.connection.call(Done(), 2.5)
    dialler.connection.call(Done(), 0.0001)
    await turn()
    assert [envelope.deadline_ms for envelope in dialler.transport.envelopes()[0]] == [2500, 1]


async def test_more_than_a_frame_holds_leaves_in_several(dialler: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "FRAME_BYTES_MAX", 200)
    for number in range(20):
        dialler.connection.cast(ReadResult(number, [b"v" * 60]))
    await turn()
    (sent,) = dialler.transport.envelopes()
    bodies = [envelope.body for envelope in sent]
    assert [body.now_ms for body in bodies if isinstance(body, ReadResult)] == list(range(20))
    frames = FrameDecoder().feed(dialler.transport.writes[1])
    assert len(list(frames)) > 4


async def test_a_message_that_no_frame_holds_takes_nothing_else_with_it(
    dialler: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "FRAME_BYTES_MAX", 200)
    monkeypatch.setattr(framing_module, "FRAME_BYTES_MAX", 200)
    before = dialler.connection.call(Read([]), 1)
    too_large = dialler.connection.call(ReadResult(1, [b"v" * 300]), 1)
    dialler.connection.cast(ReadResult(2, [b"v" * 300]))
    dialler.connection.call(Read([]), 1)
    await turn()
    assert [type(envelope.body) for envelope in dialler.transport.envelopes()[0]] == [Read, Read]
    with pytest.raises(NotSent, match="too large"):
        await too_large
    assert not before.done()


# ---- how a call ends ------------------------------------------------------------------------------------------------


async def test_each_answer_finds_its_call(dialler: End) -> None:
    calls = [dialler.connection.call(Read([]), 1) for _ in range(3)]
    await turn()
    numbers = [envelope.call for envelope in dialler.transport.envelopes()[0]]
    assert len(set(numbers)) == 3
    for number, answer in zip(reversed(numbers), (b"c", b"b", b"a"), strict=True):
        dialler.receive(ReadResult(0, [answer]), call=-number)
    assert [await call for call in calls] == [ReadResult(0, [answer]) for answer in (b"a", b"b", b"c")]


async def test_a_call_without_answer_times_out_and_a_late_answer_is_ignored(dialler: End) -> None:
    call = dialler.connection.call(Read([]), 0.01)
    await turn()
    (envelope,) = dialler.transport.envelopes()[0]
    with pytest.raises(TimedOut):
        await asyncio.wait_for(call, 20 * SWEEP_S)
    dialler.receive(Done(), call=-envelope.call)
    assert dialler.connection.is_open
    assert dialler.got == []


async def test_an_answer_to_nothing_is_ignored(dialler: End) -> None:
    dialler.receive(Done(), call=-77)
    dialler.receive(Done(), call=-(2**63))
    assert dialler.connection.is_open
    assert dialler.got == []


async def test_a_call_that_left_is_lost_and_one_that_did_not_was_not_sent(dialler: End) -> None:
    left = dialler.connection.call(Read([]), 1)
    await turn()
    kept = dialler.connection.call(Read([]), 1)
    dialler.connection.connection_lost(None)
    with pytest.raises(Lost):
        await left
    with pytest.raises(NotSent):
        await kept
    with pytest.raises(NotSent):
        dialler.connection.call(Read([]), 1)
    assert not dialler.connection.cast(CAST)
    assert dialler.closed == 1


async def test_a_call_behind_a_peer_that_does_not_read_was_not_sent(dialler: End) -> None:
    dialler.connection.pause_writing()
    call = dialler.connection.call(Read([]), 1)
    await turn()
    dialler.connection.connection_lost(None)
    with pytest.raises(NotSent):
        await call


async def test_a_closed_connection_tells_its_callers_why(dialler: End) -> None:
    call = dialler.connection.call(Read([]), 1)
    await turn()
    dialler.connection.close("the first reason")
    dialler.connection.close("another")
    assert dialler.transport.is_aborted
    dialler.connection.connection_lost(None)
    with pytest.raises(Lost, match="the first reason"):
        await call


async def test_a_caller_that_went_away_harms_nobody(dialler: End) -> None:
    call = dialler.connection.call(Read([]), 0.01)
    await turn()
    call.cancel()
    (envelope,) = dialler.transport.envelopes()[0]
    dialler.receive(Done(), call=-envelope.call)
    await asyncio.sleep(2 * SWEEP_S)
    dialler.connection.connection_lost(None)
    assert dialler.closed == 1


# ---- what arrives ---------------------------------------------------------------------------------------------------


async def test_calls_and_casts_reach_the_handler_in_order_and_are_answered(listener: End) -> None:
    listener.receive(Read([]), call=5)
    listener.receive(CAST)
    listener.receive(Read([]), call=6)
    assert [envelope.call for envelope in listener.got] == [5, 0, 6]
    listener.connection.answer(6, Done())
    listener.connection.answer(5, Failed(Fault("conflict", "no")))
    await turn()
    (sent,) = listener.transport.envelopes()
    assert [(envelope.call, type(envelope.body)) for envelope in sent] == [(-6, Done), (-5, Failed)]


async def test_a_stream_is_understood_byte_by_byte() -> None:
    listener = End(dialled=False)
    frame = Frame(FORMAT, CLUSTER, 0, [Envelope(3, 10, Read([]))])
    for byte in PREAMBLE + frame_bytes(encode_frame(frame)):
        listener.connection.data_received(bytes([byte]))
    assert [envelope.call for envelope in listener.got] == [3]


async def test_a_frame_of_another_cluster_closes_and_nothing_of_it_is_handled(listener: End) -> None:
    listener.receive(CAST)
    listener.receive(CAST, cluster_id=b"another!")
    assert len(listener.got) == 1
    assert listener.transport.is_aborted
    assert "another cluster" in listener.connection.close_reason


async def test_a_dialler_refuses_an_answer_from_another_cluster(dialler: End) -> None:
    dialler.receive(CAST, cluster_id=b"another!")
    assert dialler.got == []
    assert dialler.transport.is_aborted


@pytest.mark.parametrize(
    "data",
    [
        struct.pack(">I", 2**32 - 1),
        frame_bytes(b"\xc1"),
        frame_bytes(b""),
        frame_bytes(encode_frame(Frame(FORMAT + 1, CLUSTER, 0, []))),
    ],
)
async def test_bytes_that_are_no_frame_close_and_what_follows_is_not_read(listener: End, data: bytes) -> None:
    good = frame_bytes(encode_frame(Frame(FORMAT, CLUSTER, 0, [Envelope(0, 0, CAST)])))
    listener.connection.data_received(data + good)
    assert listener.got == []
    assert listener.transport.is_aborted
    assert listener.connection.close_reason.startswith("bad frame")


async def test_nothing_is_handled_after_the_handler_closed() -> None:
    got = []

    def handler(connection: Connection, envelope: Envelope) -> None:
        got.append(envelope)
        connection.close("enough")

    connection = Connection(handler, cluster_id=CLUSTER, dialled=True)
    connection.connection_made(WaxTransport())
    frame = frame_bytes(encode_frame(Frame(FORMAT, CLUSTER, 0, [Envelope(0, 0, CAST)])))
    connection.data_received(frame + frame)
    assert len(got) == 1


async def test_what_nobody_asked_for_an_answer_to_gets_none_and_is_not_counted(
    listener: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "UNANSWERED_MAX", 2)
    for _ in range(5):
        listener.receive(Read([]), call=0)
        listener.connection.answer(0, Done())
    await turn()
    assert listener.transport.envelopes() == []
    for number in (1, 2, 3):
        listener.receive(Read([]), call=number)
    assert not listener.transport.reads


# ---- strangers ------------------------------------------------------------------------------------------------------


async def test_a_stranger_has_no_more_held_for_it_than_a_hello_takes() -> None:
    listener = End(dialled=False, hello_timeout_s=60)
    listener.connection.data_received(PREAMBLE + frame_bytes(bytes(STRANGER_FRAME_BYTES_MAX + 1))[:HEAD_BYTES])
    assert listener.transport.is_aborted
    assert listener.connection.close_reason.startswith("bad frame")


async def test_who_was_taken_in_sends_frames_of_any_size_from_then_on() -> None:
    def take_in(connection: Connection, envelope: Envelope) -> None:
        got.append(envelope)
        connection.role = "node"

    got: list[Envelope] = []
    connection = Connection(take_in, cluster_id=None, dialled=False, hello_timeout_s=60)
    transport = WaxTransport()
    connection.connection_made(transport)
    small, large = (
        frame_bytes(encode_frame(Frame(FORMAT, CLUSTER, 0, [Envelope(0, 0, ReadResult(1, [bytes(size)]))])))
        for size in (1, STRANGER_FRAME_BYTES_MAX + 1)
    )
    connection.data_received(PREAMBLE + small + large)
    connection.data_received(large)
    assert len(got) == 3
    assert not transport.is_aborted
    connection.close()
    connection.connection_lost(None)


# ---- bounded queues -------------------------------------------------------------------------------------------------


async def test_what_waits_for_a_slow_peer_is_bounded_and_leaves_in_one_write(
    dialler: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "OUTBOX_MESSAGES_MAX", 3)
    dialler.connection.pause_writing()
    assert dialler.connection._write_paused
    calls = [dialler.connection.call(Read([]), 1) for _ in range(3)]
    with pytest.raises(NotSent, match="full"):
        dialler.connection.call(Read([]), 1)
    assert [dialler.connection.cast(CAST) for _ in range(4)] == [True, True, True, False]
    await turn()
    assert len(dialler.transport.writes) == 1
    dialler.connection.resume_writing()
    await turn()
    assert len(dialler.transport.writes) == 2
    assert len(dialler.transport.envelopes()[0]) == 6
    assert not any(call.done() for call in calls)
    for call in calls:
        call.cancel()


async def test_a_peer_that_asks_faster_than_it_is_answered_is_read_no_further(
    listener: End, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection_module, "UNANSWERED_MAX", 8)
    for number in range(1, 9):
        listener.receive(Read([]), call=number)
    assert listener.transport.reads
    listener.receive(Read([]), call=9)
    assert not listener.transport.reads
    for number in range(1, 5):
        listener.connection.answer(number, Done())
        assert not listener.transport.reads
    listener.connection.answer(5, Done())
    assert listener.transport.reads


async def test_a_peer_that_does_not_read_its_answers_is_read_no_further(listener: End) -> None:
    listener.connection.pause_writing()
    assert not listener.transport.reads
    listener.connection.resume_writing()
    assert listener.transport.reads


async def test_the_side_that_dialled_always_reads_so_that_two_slow_sides_never_wait_for_each_other(
    dialler: End,
) -> None:
    dialler.connection.pause_writing()
    assert dialler.transport.reads


async def test_both_reasons_to_stop_reading_must_be_gone(listener: End, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_module, "UNANSWERED_MAX", 2)
    for number in (1, 2, 3):
        listener.receive(Read([]), call=number)
    listener.connection.pause_writing()
    for number in (1, 2, 3):
        listener.connection.answer(number, Done())
    assert not listener.transport.reads
    listener.connection.resume_writing()
    assert listener.transport.reads
