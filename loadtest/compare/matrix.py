"""Which loads are measured, on which systems.

Guarantees: what is left out is told in words. Leaves to others: how long each is measured. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

GET, PUT, MIXED = "GET", "PUT", "95/5"
BATCH_GET, BATCH_PUT = "batch of 100 gets", "batch of 100 puts"
READ_SHARE = {GET: 100, PUT: 0, MIXED: 95, BATCH_GET: 100, BATCH_PUT: 0}
BATCH_OPS = 100
KEYS = {100: 10_000, 1024: 10_000, 65536: 1_000}
CONNECTIONS = (1, 16, 64, 256)
OWN, ALWAYS = "kvstore", "redis-always"


@dataclass(frozen=True, order=True)
class Combo:
    """One kind of load."""

    value_bytes: int
    op: str
    connections: int

    @property
    def is_batch(self) -> bool:
        return self.op in (BATCH_GET, BATCH_PUT)

    @property
    def ops_per_request(self) -> int:
        return BATCH_OPS if self.is_batch else 1


SMALL = tuple(Combo(100, op, count) for op in (GET, PUT, MIXED) for count in CONNECTIONS)
LARGE = (
    *(Combo(1024, op, 64) for op in (GET, PUT, MIXED)),
    *(Combo(65536, op, 64) for op in (GET, PUT)),
    Combo(65536, GET, 16),
)
BATCHES = tuple(Combo(100, op, 64) for op in (BATCH_GET, BATCH_PUT))
QUICK = (Combo(100, GET, 64), Combo(100, PUT, 64))

LEFT_OUT = (
    "1 KiB and 64 KiB at other numbers of connections than 64 (GET of 64 KiB also at 16), and 95/5 of 64 KiB",
    "Redis with `appendfsync always`: GET but of 100 B at 64 connections, and 95/5 but of 100 B at 64 connections, "
    "for reads do not come to its log",
    "64 KiB has 1,000 keys instead of 10,000, so that filling all systems does not take longer than measuring them",
    "etcd through its followers, and through gRPC (which is faster than its JSON gateway)",
    "batches, on the others: etcd's and Redis's have other meanings",
)


def combos_of(system: str, quick: bool = False) -> Sequence[Combo]:
    """What is measured on a system."""
    if quick:
        return QUICK
    everything = (*SMALL, *LARGE)
    if system == OWN:
        return (*everything, *BATCHES)
    if system != ALWAYS:
        return everything
    at_64 = Combo(100, GET, 64), Combo(100, MIXED, 64)
    return tuple(combo for combo in everything if combo.op == PUT or combo in at_64)
