"""Keys that rise with time, put at full speed into a `range` keyspace that begins with one partition: `rising.py`.

Keys are ids as the gateway makes them, of several workers in turn. The keyspace has to split by itself. Judged at the
end: no request failed, each sent once; no node took more than `SHARE_MAX` times its even share of the writes, as the
nodes count them (`kvstore_node_writes_total`); a scan of 100 keys from anywhere holds exactly the keys that were
acknowledged, and touches two partitions at most, by the ranges that the keyspace then has. Returns 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import itertools
import json
import random
import re
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import uvloop
from closed_loop import ClosedLoop
from keyspaces import Ranges, ask, make, told
from latencies import percentile_ms
from load_records import positive
from open_loop import Request, Tally
from own_cluster import cluster

from cluster.control.messages import IdWindow
from cluster.gateway.ids import EPOCH_MS, IdMaker
from kvstore.errors import OperatorError

NAME = "rising"
SHARE_MAX = 1.5
TOUCHED_MAX = 2
SCAN_KEYS = 100
WORKERS = 8
TIMEOUT_S = 10.0
DAY_MS = 86_400_000
_WRITES = re.compile(r"^kvstore_node_writes_total (\S+)$", re.MULTILINE)


class Missed(AssertionError):
    """Something that was to hold does not."""


class Rising:
    """Requests with rising keys, and the keys that were acknowledged."""

    def __init__(self, netloc: str, value_bytes: int) -> None:
        self.acknowledged: list[bytes] = []
        self._head = f" HTTP/1.1\r\nHost: {netloc}\r\nContent-Length: {value_bytes}\r\n\r\n".encode()
        self._value = random.randbytes(value_bytes)
        now_ms = int(time.time() * 1000) - EPOCH_MS
        self._makers = itertools.cycle([_maker(worker, now_ms) for worker in range(1, WORKERS + 1)])

    def next_request(self) -> tuple[str, bytes]:
        """A put of the next key, by each worker in turn."""
        [number] = next(self._makers).draw(1, int(time.time() * 1000) - EPOCH_MS) or [0]
        return "PUT", b"PUT %b%b%b%b" % (_PATH, str(number).encode(), self._head, self._value)

    def on_ok(self, request: Request) -> None:
        """Note the key of a put that was acknowledged."""
        start = len(b"PUT ") + len(_PATH)
        self.acknowledged.append(request.wire[start : request.wire.index(b" ", start)])


_PATH = f"/v1/keyspaces/{NAME}/kv/".encode()


def _maker(worker: int, now_ms: int) -> IdMaker:
    maker = IdMaker(worker)
    maker.take(IdWindow(worker, now_ms, now_ms + DAY_MS))
    return maker


def uneven(writes: Mapping[str, int]) -> float:
    """How many times its even share the node took that took most."""
    return max(writes.values()) * len(writes) / max(1, sum(writes.values()))


def writes_of(gateway: str) -> dict[str, int]:
    """The writes that each node has taken, by its own count."""
    found = {}
    for node in told(f"{gateway}/v1/cluster")["nodes"]:
        match = _WRITES.search(ask(f"http://{node['address']}/metrics")[1].decode())
        found[node["id"]] = int(float(match.group(1))) if match else 0
    return found


def ranges_of(document: Mapping[str, Any]) -> Ranges:
    """The ranges of a keyspace, as `GET /v1/keyspaces/NAME` tells them."""
    starts = [_bytes_of(one, "start") for one in document["placement"]]
    return Ranges(starts[1:], [one["id"] for one in document["placement"]])


def _bytes_of(document: Mapping[str, Any], name: str) -> bytes:
    packed = document.get(f"{name}_b64")
    return str(document.get(name, "")).encode() if packed is None else base64.b64decode(packed)


def check_page(keys: Sequence[bytes], acknowledged: Sequence[bytes], at: int) -> None:
    """Keys of a scan that began at place `at` of those acknowledged, which are in order; raises `Missed`."""
    wanted = acknowledged[at : at + SCAN_KEYS]
    if list(keys) != list(wanted):
        differs = next((i for i, pair in enumerate(zip(keys, wanted, strict=False)) if pair[0] != pair[1]), len(keys))
        raise Missed(f"a scan of {len(keys)} keys from {wanted[0]!r} differs at {differs} from what was acknowledged")


def scan(gateway: str, acknowledged: Sequence[bytes], count: int) -> list[int]:
    """So many scans from anywhere; returns how many partitions each touched."""
    ranges = ranges_of(told(f"{gateway}/v1/keyspaces/{NAME}"))
    touched = []
    for _ in range(count):
        at = random.randrange(max(1, len(acknowledged) - SCAN_KEYS))
        query = f"start={acknowledged[at].decode()}&limit={SCAN_KEYS}&keys_only=true"
        page = told(f"{gateway}/v1/keyspaces/{NAME}/kv?{query}")
        keys = [item["key"].encode() for item in page["items"]]
        check_page(keys, acknowledged, at)
        touched.append(ranges.touched(keys[0], keys[-1]))
    return touched


async def put(gateway: str, rising: Rising, options: argparse.Namespace) -> Tally:
    """The load, with a line for each window."""
    address = urlsplit(gateway)
    loop = ClosedLoop(
        *(address.hostname or "", address.port or 80, rising.next_request, rising.on_ok),
        connections=options.connections,
        timeout_s=TIMEOUT_S,
    )
    running = asyncio.create_task(loop.run(options.minutes * 60))
    whole, began_s = Tally(), time.monotonic()
    print("    t s  PUT/s   p50    p99 ms  partitions  failed", flush=True)
    while not running.done():
        await asyncio.wait([running], timeout=options.window)
        tally = loop.take()
        whole.add(tally)
        partitions = int((await asyncio.to_thread(told, f"{gateway}/v1/keyspaces/{NAME}"))["partitions"])
        latencies = " ".join(f"{percentile_ms(tally.latencies.get('PUT', {}), share):>6.1f}" for share in (0.5, 0.99))
        rate = tally.ok / options.window
        failed = dict(tally.failed) or 0
        print(f"{time.monotonic() - began_s:>7.0f} {rate:>6.0f} {latencies} {partitions:>11}  {failed}", flush=True)
    await running
    return whole


def measure(gateway: str, options: argparse.Namespace) -> None:
    """The whole run; raises `Missed` or OperatorError."""
    document = {"strategy": "range", "replicas": 2, "min_in_sync": 1}
    make(gateway, NAME, document)
    rising = Rising(urlsplit(gateway).netloc, options.value_bytes)
    before = writes_of(gateway)
    tally = uvloop.run(put(gateway, rising, options))
    writes = {node: count - before.get(node, 0) for node, count in writes_of(gateway).items()}
    partitions = int(told(f"{gateway}/v1/keyspaces/{NAME}")["partitions"])
    acknowledged = sorted(rising.acknowledged)
    touched = scan(gateway, acknowledged, options.scans)
    shares = ", ".join(f"{node} {count / max(1, sum(writes.values())):.1%}" for node, count in sorted(writes.items()))
    p99_ms = percentile_ms(tally.latencies.get("PUT", {}), 0.99)
    print(f"{tally.ok} of {tally.sent} writes acknowledged, {tally.failed.total()} failed; p99 {p99_ms:.1f} ms")
    print(f"writes by node: {shares}; the most is {uneven(writes):.2f} of its even share (at most {SHARE_MAX})")
    print(f"{partitions} partitions; {len(touched)} scans of {SCAN_KEYS} keys touched {max(touched)} at most")
    print(
        json.dumps({"writes": tally.ok, "share": round(uneven(writes), 3), "p99_ms": p99_ms, "partitions": partitions})
    )
    if tally.failed:
        raise Missed(f"requests failed: {dict(tally.failed)}")
    if partitions < 2:
        raise Missed("it did not split")
    if uneven(writes) > SHARE_MAX:
        raise Missed(f"a node took {uneven(writes):.2f} times its even share of the writes")
    if max(touched) > TOUCHED_MAX:
        raise Missed(f"a scan touched {max(touched)} partitions")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="Rising keys at full speed into a keyspace of ranges.")
    parser.add_argument("--minutes", type=float, default=4.0)
    parser.add_argument("--connections", type=positive, default=32)
    parser.add_argument("--value-bytes", type=positive, default=100)
    parser.add_argument("--scans", type=positive, default=500)
    parser.add_argument("--window", type=float, default=10.0, help="seconds that one line stands for")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="kvstore-rising-") as data, cluster(Path(data)) as gateway:
            measure(gateway, options)
    except (Missed, OperatorError, OSError) as error:
        print(f"rising: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
