"""Clients that make transactions, on the very keys that others read and write alone."""

from __future__ import annotations

from collections.abc import Callable

from simulation.gateway_calls import CallFaults, GatewayCalls
from simulation.timeline import Timeline
from simulation.txn_gateways import SimGateway
from simulation.world import World

from cluster.txn.transaction import Transaction, TxnOutcome
from kvstore.errors import KvError
from kvstore.messages import OpKind, TxnIf, TxnOp
from kvstore.versions import etag

GATEWAYS = 2
TXN_CLIENTS = 4
COUNTERS = 2
PATIENCE_MS = 1500
PAUSE_MS = (5, 200)
DIE_CHANCE = 0.05
DIE_MS = 60
TWICE = (0.1, 0.5)
KEYS_WANTED = (2, 4, 100)
AGAIN = 0.5
AGAIN_MS = 4000


def counters_of(pid: int) -> list[bytes]:
    """Keys that only transactions write, most of them to count."""
    return [b"p%d-c%d" % (pid, number) for number in range(COUNTERS)]


class TxnClients:
    """Args: new_gateway: makes one, of the next incarnation; keys: those that others write too, by partition."""

    def __init__(
        self,
        world: World,
        timeline: Timeline,
        calls: GatewayCalls,
        new_gateway: Callable[[], SimGateway],
        keys: dict[int, list[bytes]],
    ) -> None:
        self.is_loading = True
        self.calls = calls
        self._world = world
        self._timeline = timeline
        self._new_gateway = new_gateway
        self._gateways: list[SimGateway] = []
        self._keys = {pid: [*of_pid, *counters_of(pid)] for pid, of_pid in keys.items()}
        self._twice = 0.0
        self._written = 0
        self._tokens = 0

    def begin(self) -> None:
        """Start the gateways and the clients."""
        rng = self._world.rng
        self.calls.faults = CallFaults(
            lose=rng.choice((0, 0.02, 0.1)),
            repeat=rng.choice((0, 0.1, 0.3)),
            late=rng.choice((0, 0.05, 0.2)),
            late_ms=rng.choice((100, 1000, 4000)),
        )
        self._twice = rng.choice(TWICE)
        self._narrow(rng.choice(KEYS_WANTED))
        self._gateways = [self._new_gateway() for _ in range(GATEWAYS)]
        for _ in range(TXN_CLIENTS):
            self._world.at(rng.uniform(0, 200), self._next)

    def _narrow(self, count: int) -> None:
        """Make transactions on so many keys of each partition only, so that they meet."""
        for pid, keys in self._keys.items():
            self._keys[pid] = self._world.rng.sample(keys, min(count, len(keys)))

    def heal(self) -> None:
        """Nothing new is asked for, and nothing that is on its way is harmed."""
        self.is_loading = False
        self.calls.faults = CallFaults()

    def kill_gateways(self) -> None:
        """All die; others are started in their place."""
        for gateway in self._gateways:
            gateway.die()
        self._gateways = [self._new_gateway() for _ in self._gateways]

    # ---- one after the other ------------------------------------------------------------------------------------

    def _next(self) -> None:
        if not self.is_loading:
            return
        rng = self._world.rng
        transaction = self._random()
        ended: list[None] = []

        def end() -> None:
            if not ended:
                ended.append(None)
                self._world.at(rng.uniform(*PAUSE_MS), self._next)

        def told(result: TxnOutcome | KvError | None) -> None:
            if not ended and transaction.token and self.is_loading and rng.random() < AGAIN:
                self._world.at(rng.uniform(0, AGAIN_MS), lambda: self._send(transaction, lambda _: None))
            end()

        for _ in range(2 if transaction.token and rng.random() < self._twice else 1):
            self._send(transaction, told)
        self._world.at(PATIENCE_MS, lambda: told(None))

    def _send(self, transaction: Transaction, told: Callable[[TxnOutcome | KvError], None]) -> None:
        """Through one gateway or the other, which may die in the midst."""
        rng = self._world.rng
        place = rng.randrange(len(self._gateways))
        gateway = self._gateways[place]
        gateway.transact(transaction, told)
        if rng.random() < DIE_CHANCE:
            self._world.at(rng.uniform(0, DIE_MS), lambda: self._replace(gateway))

    def _replace(self, gateway: SimGateway) -> None:
        if gateway in self._gateways:
            gateway.die()
            self._gateways[self._gateways.index(gateway)] = self._new_gateway()

    # ---- what they ask for --------------------------------------------------------------------------------------

    def _random(self) -> Transaction:
        rng = self._world.rng
        pids = rng.sample(sorted(self._keys), rng.choice((1, 2, 2, 3)))
        keys = [key for pid in pids for key in rng.sample(self._keys[pid], rng.choice((1, 1, 2)))]
        token = ""
        if rng.random() < 0.5:
            self._tokens += 1
            token = f"t{self._tokens}"
        conditions = tuple(self._condition(key) for key in keys if rng.random() < 0.2)
        then = [self._operation(index, key) for index, key in enumerate(self._shuffled(keys))]
        if rng.random() < 0.2:
            then.append(self._operation(len(then), rng.choice(keys)))
        chosen = [key for key in keys if rng.random() < 0.4] if conditions else []
        otherwise = [self._operation(index, key) for index, key in enumerate(chosen)]
        return Transaction("default", conditions, tuple(then), tuple(otherwise), token)

    def _shuffled(self, keys: list[bytes]) -> list[bytes]:
        return self._world.rng.sample(keys, len(keys))

    def _condition(self, key: bytes) -> TxnIf:
        rng, newest = self._world.rng, self._timeline.newest(key)
        kind = rng.random()
        if kind < 0.4 or newest.value is None:
            return TxnIf(key, exists=rng.random() < 0.5)
        if kind < 0.7:
            return TxnIf(key, value=newest.value)
        return TxnIf(key, etag=etag(newest.pid, newest.epoch, newest.seq))

    def _operation(self, index: int, key: bytes) -> TxnOp:
        rng = self._world.rng
        kind = rng.random()
        is_counter = key[3:4] == b"c"
        if kind < 0.35:
            return TxnOp(index, OpKind.GET, key)
        if kind < 0.45:
            return TxnOp(index, OpKind.DELETE, key)
        if is_counter or kind < 0.47:
            return TxnOp(index, OpKind.INCR, key, by=rng.randint(-3, 9))
        self._written += 1
        ttl_ms = rng.randint(50, 2000) if kind < 0.52 else None
        value = b"%s=t%d." % (key, self._written) + b"x" * rng.choice((0, 0, 300))
        return TxnOp(index, OpKind.PUT, key, value, ttl_ms=ttl_ms)
