"""What a node did to its store and said to others, as `iolog.c` recorded it, and the disk that a loss of power leaves.

Guarantees: events are in the order of their beginning, on one clock for all processes of the machine; `power_image`
holds a write for certain only where a sync that began after it had ended well, or the write itself was synchronous.
Leaves to others: what a record of a store means.
"""

from __future__ import annotations

import random
import struct
import subprocess
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import IntEnum
from pathlib import Path

from kvstore.codec import decode_frame
from kvstore.messages import Envelope
from kvstore.rpc.framing import HEAD_BYTES, PREAMBLE, FrameDecoder

SOURCE = Path(__file__).with_name("iolog.c")
PAGE_BYTES = 4096

_RECORD = struct.Struct("=QQQqqIII")


class Call(IntEnum):
    WRITE = 1
    SYNC = 2
    SEND = 3
    RECEIVE = 4


@dataclass(frozen=True, slots=True)
class Event:
    """One call. `result` is what it returned, or the negative errno; `bytes` what it moved."""

    begin_ns: int
    end_ns: int
    call: Call
    inode: int
    offset: int
    result: int
    is_dsync: bool
    bytes: bytes


@dataclass(frozen=True, slots=True)
class Message:
    """One message of a connection (`inode`). Its first byte passed the kernel not before `begin_ns`, its last byte not
    after `end_ns`."""

    begin_ns: int
    end_ns: int
    inode: int
    envelope: Envelope


def build(folder: Path) -> Path:
    """Compile the library with `cc`; returns its path."""
    library = folder / "iolog.so"
    subprocess.run(["cc", "-O2", "-Wall", "-Werror", "-shared", "-fPIC", "-o", library, SOURCE], check=True)
    return library


def environment(library: Path, log: Path, fault: Path | None = None) -> dict[str, str]:
    """The variables under which a process is recorded in `log`."""
    variables = {"LD_PRELOAD": str(library), "IOLOG_FILE": str(log)}
    return variables if fault is None else {**variables, "IOLOG_FAULT": str(fault)}


def read_log(path: Path) -> list[Event]:
    """All events of one process, in the order of their beginning."""
    data = path.read_bytes()
    events = []
    start = 0
    while start < len(data):
        begin_ns, end_ns, inode, offset, result, call, is_dsync, length = _RECORD.unpack_from(data, start)
        start += _RECORD.size
        moved = data[start : start + length]
        events.append(Event(begin_ns, end_ns, Call(call), inode, offset, result, bool(is_dsync), moved))
        start += length
    return sorted(events, key=lambda event: event.begin_ns)


def messages(events: Sequence[Event], call: Call) -> Iterator[Message]:
    """The messages that were sent, or received, on all connections of the RPC."""
    streams: dict[int, list[Event]] = defaultdict(list)
    for event in events:
        if event.call is call and event.bytes:
            streams[event.inode].append(event)
    for inode, parts in streams.items():
        stream = b"".join(part.bytes for part in parts)
        if stream.startswith((b"GET ", b"POST ", b"HTTP/")):
            continue
        ends = []
        position = 0
        for part in parts:
            position += len(part.bytes)
            ends.append(position)
        start = len(PREAMBLE) if stream.startswith(PREAMBLE) else 0
        for body in FrameDecoder().feed(stream[start:]):
            end = start + HEAD_BYTES + len(body)
            first, last = parts[bisect_right(ends, start)], parts[bisect_right(ends, end - 1)]
            for envelope in decode_frame(body).messages:
                yield Message(first.begin_ns, last.end_ns, inode, envelope)
            start = end


def power_image(events: Sequence[Event], at_ns: int, rng: random.Random | None = None) -> bytes:
    """The store's file as a loss of power at `at_ns` may leave it.

    Args:
        rng: None leaves out every write that was not synced; else each page of such a write is there or not by chance.
    """
    good_syncs = [e for e in events if e.call is Call.SYNC and e.result == 0 and e.end_ns < at_ns]
    last_sync_ns = max((sync.begin_ns for sync in good_syncs), default=0)
    image = bytearray()
    for event in events:
        if event.call is not Call.WRITE or event.begin_ns >= at_ns or event.result <= 0:
            continue
        certain = event.end_ns < last_sync_ns or (event.is_dsync and event.end_ns < at_ns)
        if certain:
            _lay(image, event.offset, event.bytes)
        elif rng is not None:
            for start in range(0, len(event.bytes), PAGE_BYTES):
                if rng.random() < 0.5:
                    _lay(image, event.offset + start, event.bytes[start : start + PAGE_BYTES])
    return bytes(image)


def _lay(image: bytearray, offset: int, data: bytes) -> None:
    end = offset + len(data)
    if len(image) < end:
        image.extend(bytes(end - len(image)))
    image[offset:end] = data
