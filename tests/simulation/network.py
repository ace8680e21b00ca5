"""A network between nodes: frames through the real codec, late, twice, torn or never.

A torn frame ends the connection, as it does on TCP; bytes already under way still arrive after their sender's death.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from simulation.world import World

from kvstore.codec import FORMAT, CodecError, decode_frame, encode_frame
from kvstore.messages import Body, Envelope, Frame
from kvstore.rpc.framing import FrameDecoder, FramingError, frame_bytes

CLUSTER_ID = b"simulate"
REPEATED_LATE_MS = 1000


@dataclass(frozen=True)
class Faults:
    """Chances per frame; `late_ms` is how late a late frame may be."""

    lose: float = 0.0
    repeat: float = 0.0
    late: float = 0.0
    tear: float = 0.0
    late_ms: float = 3000.0


class Network:
    """Args: deliver: (to, from, body); broken: (node, peer) when the connection of node to peer was lost."""

    def __init__(
        self,
        world: World,
        deliver: Callable[[str, str, Body], None],
        broken: Callable[[str, str], None],
    ) -> None:
        self.faults = Faults()
        self.counts = {"sent": 0, "lost": 0, "repeated": 0, "late": 0, "torn": 0}
        self._world = world
        self._deliver = deliver
        self._broken = broken
        self._cut: set[tuple[str, str]] = set()
        self._repeated_late: tuple[type[Body], ...] = ()

    def cut(self, source: str, target: str) -> None:
        """Nothing gets from `source` to `target` any more."""
        self._cut.add((source, target))

    def mend(self) -> None:
        """Every direction works again."""
        self._cut.clear()

    def mend_one(self, source: str, target: str) -> None:
        """What `source` says gets to `target` again."""
        self._cut.discard((source, target))

    def repeat_late(self, *kinds: type[Body]) -> None:
        """Messages of these kinds arrive once more, up to a second later."""
        self._repeated_late = kinds

    def heal(self) -> None:
        """Every direction works again, and no frame is harmed from now on."""
        self.mend()
        self.faults = Faults()
        self._repeated_late = ()

    @property
    def is_whole(self) -> bool:
        """Whether no direction is cut."""
        return not self._cut

    def can_reach(self, source: str, target: str) -> bool:
        return (source, target) not in self._cut

    def send(self, source: str, target: str, body: Body) -> None:
        """Send one message in a frame of its own."""
        rng, faults, counts = self._world.rng, self.faults, self.counts
        counts["sent"] += 1
        if (source, target) in self._cut or rng.random() < faults.lose:
            counts["lost"] += 1
            return
        data = frame_bytes(encode_frame(Frame(FORMAT, CLUSTER_ID, 1, [Envelope(0, 0, body)])))
        if rng.random() < faults.tear:
            counts["torn"] += 1
            self._tear(source, target, data)
            return
        copies = 1
        if rng.random() < faults.repeat:
            counts["repeated"] += 1
            copies = 2
        for _ in range(copies):
            delay_ms = rng.uniform(0.1, 1.5)
            if rng.random() < faults.late:
                counts["late"] += 1
                delay_ms += rng.uniform(0, faults.late_ms)
            self._world.at(delay_ms, lambda: self._arrive(source, target, data))
        if isinstance(body, self._repeated_late):
            counts["repeated"] += 1
            self._world.at(rng.uniform(1, REPEATED_LATE_MS), lambda: self._arrive(source, target, data))

    def _tear(self, source: str, target: str, data: bytes) -> None:
        """Part of the frame arrives, or a byte of it is wrong; either way the connection ends."""
        rng = self._world.rng
        decoder = FrameDecoder()
        torn = data[: rng.randrange(len(data))]
        if rng.random() < 0.3:
            place = rng.randrange(len(data))
            torn = data[:place] + bytes([data[place] ^ (1 << rng.randrange(8))]) + data[place + 1 :]
        try:
            for body in decoder.feed(torn):
                decode_frame(body)
                raise AssertionError("a torn frame was taken for a whole one")
        except (FramingError, CodecError):
            pass
        self._broken(source, target)

    def _arrive(self, source: str, target: str, data: bytes) -> None:
        for body in FrameDecoder().feed(data):
            for envelope in decode_frame(body).messages:
                self._deliver(target, source, envelope.body)
