"""A tenant of a `directory` keyspace that moves to another partition and back, under its own load: `tenant.py`.

Its keys, and those of other tenants, are imported; then GET, PUT and transactions over two tenants go on at a fixed
rate (`open_loop`), before, during and between the moves. Judged: no request failed, each sent once; every key of the
keyspace holds what was acknowledged last, and there are no others; `POST /v1/cluster/verify` finds no difference.
Returns 1 otherwise.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import urlsplit

import uvloop
from keyspaces import ask, make, told
from latencies import percentile_ms
from load_records import positive
from open_loop import OpenLoop, Request, Tally
from own_cluster import cluster

from kvstore.errors import OperatorError

NAME, MOVING, OTHERS = "tenants", "moving", ("one", "two", "three", "four", "five")
DOCUMENT = {"strategy": "directory", "partitions": 6, "replicas": 2, "min_in_sync": 1}
OTHERS_KEYS = 1000
TIMEOUT_S = 10.0
CONNECTIONS = 64
CALM_S = 15.0
BETWEEN_S = 3.0
MOVED_S_MAX = 300.0
RUN_S_MAX = 3600.0
POLL_S = 0.1
REFUSED_S = 0.5
STREAM_S = 120.0


class Missed(AssertionError):
    """Something that was to hold does not."""


class Mix:
    """Requests on the keys of tenants, and what the keyspace has to hold by what was acknowledged.

    A key is written by one request at a time, so the last one that was acknowledged is known."""

    def __init__(self, netloc: str, keys: list[str], others: list[str], value_bytes: int) -> None:
        self.held = {key: _value(0, value_bytes) for key in (*keys, *others)}
        self._keys = keys
        self._others = others
        self._value_bytes = value_bytes
        self._host = f"Host: {netloc}\r\n".encode()
        self._numbers = 0
        self._written: dict[bytes, dict[str, str]] = {}
        self._busy: set[str] = set()

    def request_for(self, kind: str) -> bytes:
        """The bytes of a new request of that kind."""
        if kind == "GET":
            return self._wire("GET", f"kv/{random.choice(self._keys)}", b"")
        keys = [self._free(self._keys)]
        if kind == "TXN":
            keys.append(self._free(self._others))
        values = {key: self._next_value() for key in keys}
        if kind == "TXN":
            ops = [{"op": "put", "key": key, "value": value} for key, value in values.items()]
            wire = self._wire("POST", "txn", json.dumps({"then": ops}).encode(), "application/json")
        else:
            wire = self._wire("PUT", f"kv/{keys[0]}", values[keys[0]].encode())
        self._written[wire] = values
        self._busy.update(values)
        return wire

    def on_end(self, request: Request, failure: str) -> None:
        """Note what a request came to."""
        values = self._written.pop(request.wire, {})
        if not failure:
            self.held.update(values)
        self._busy.difference_update(values)

    def _free(self, keys: list[str]) -> str:
        while (key := random.choice(keys)) in self._busy:
            pass
        return key

    def _next_value(self) -> str:
        self._numbers += 1
        return _value(self._numbers, self._value_bytes)

    def _wire(self, method: str, path: str, body: bytes, kind: str = "") -> bytes:
        sort = f"Content-Type: {kind}\r\n".encode() if kind else b""
        length = f"Content-Length: {len(body)}\r\n".encode() if method != "GET" else b""
        line = f"{method} /v1/keyspaces/{NAME}/{path} HTTP/1.1\r\n".encode()
        return b"%b%b%b%b\r\n%b" % (line, self._host, sort, length, body)


class Noting(OpenLoop):
    """An open loop whose mix is told how each request ended."""

    mix: Mix

    def on_answer(self, request: Request, failure: str) -> None:
        self.mix.on_end(request, failure)
        super().on_answer(request, failure)


def _value(number: int, size: int) -> str:
    return f"{number:>12}".ljust(size, ".")


def check_items(held: Mapping[str, str], items: Iterable[tuple[str, str]]) -> int:
    """All items of the keyspace against what it has to hold; returns how many there are.

    Raises:
        Missed: one is missing, is not to be there, comes twice, or holds something else.
    """
    left = dict(held)
    for key, value in items:
        if key not in left:
            raise Missed(f"{key} {'comes twice' if key in held else 'is not to be there'}")
        if (expected := left.pop(key)) != value:
            raise Missed(f"{key} holds {value.strip(' .')!r}, {expected.strip(' .')!r} was acknowledged last")
    if left:
        raise Missed(f"{len(left)} keys are missing: {sorted(left)[:5]}")
    return len(held)


def store(gateway: str, held: Mapping[str, str]) -> None:
    """Import it; raises OperatorError."""
    url = f"{gateway}/v1/keyspaces/{NAME}/import"
    body = "".join(json.dumps({"key": key, "value": value}) + "\n" for key, value in held.items()).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/x-ndjson"}, method="POST")
    with urllib.request.urlopen(request, timeout=STREAM_S) as answer:
        imported = json.loads(answer.read())["imported"]
    if imported != len(held):
        raise OperatorError(f"{imported} of {len(held)} records were imported")


def items_of(gateway: str) -> Iterator[tuple[str, str]]:
    """All items of the keyspace, as they are streamed."""
    url = f"{gateway}/v1/keyspaces/{NAME}/kv"
    request = urllib.request.Request(url, headers={"Accept": "application/x-ndjson"})
    with urllib.request.urlopen(request, timeout=STREAM_S) as answer:
        for line in answer:
            item = json.loads(line)
            yield item["key"], item["value"]


def partition_of(gateway: str) -> int:
    """Which partition has the tenant that moves, by the map as it stands."""
    return int(told(f"{gateway}/v1/keyspaces/{NAME}/directory/{MOVING}")["partition"])


def move(gateway: str, target: int) -> tuple[float, float]:
    """Move the tenant; returns after how many seconds its keys were served from there, and all was cleaned up."""
    began_s = time.monotonic()
    url = f"{gateway}/v1/keyspaces/{NAME}/directory/{MOVING}"
    while (answer := ask(url, "PUT", {"partition": target}))[0] in (409, 503):
        _check_time(began_s, f"the move is refused: {answer[1].decode()}")
        time.sleep(REFUSED_S)
    if answer[0] >= 300:
        raise Missed(f"the move is refused: {answer[0]} {answer[1].decode()}")
    began_s = time.monotonic()
    while partition_of(gateway) != target:
        _check_time(began_s, "the tenant does not arrive")
        time.sleep(POLL_S)
    served_s = time.monotonic() - began_s
    while told(f"{gateway}/v1/cluster/rebalance").get("transfers"):
        _check_time(began_s, "the transfer does not end")
        time.sleep(POLL_S)
    return served_s, time.monotonic() - began_s


def _check_time(began_s: float, what: str) -> None:
    if time.monotonic() - began_s > MOVED_S_MAX:
        raise Missed(what)


def line(name: str, tally: Tally) -> str:
    """What clients noticed of a stretch."""
    latencies = ", ".join(
        f"{kind} p50 {percentile_ms(counts, 0.5):.1f} p99 {percentile_ms(counts, 0.99):.1f} ms"
        for kind, counts in sorted(tally.latencies.items())
    )
    return f"{name}: {tally.ok} of {tally.sent} requests; {latencies}; failed: {dict(tally.failed) or 0}"


async def run(gateway: str, mix: Mix, options: argparse.Namespace) -> Tally:
    """The load and both moves; returns what was noticed in all."""
    address = urlsplit(gateway)
    rates = {"GET": options.rate * 0.5, "PUT": options.rate * 0.46, "TXN": options.rate * 0.04}
    loop = Noting(
        *(address.hostname or "", address.port or 80, rates, mix.request_for),
        connections=CONNECTIONS,
        timeout_s=TIMEOUT_S,
    )
    loop.mix = mix
    running = asyncio.create_task(loop.run(RUN_S_MAX))
    before, during, whole = Tally(), Tally(), Tally()

    def note(name: str, stretch: Tally) -> None:
        tally = loop.take()
        whole.add(tally)
        stretch.add(tally)
        print(line(name, tally), flush=True)

    try:
        await asyncio.sleep(CALM_S)
        note("before", before)
        home = await asyncio.to_thread(partition_of, gateway)
        pids = [one["id"] for one in (await asyncio.to_thread(told, f"{gateway}/v1/keyspaces/{NAME}"))["placement"]]
        away = random.choice([pid for pid in pids if pid != home])
        for target in (away, home):
            served_s, done_s = await asyncio.to_thread(move, gateway, target)
            note(f"to {target}: served from there after {served_s:.1f} s, cleaned up after {done_s:.1f} s", during)
            await asyncio.sleep(BETWEEN_S)
            note("after it", Tally())
    finally:
        loop.end()
        await running
    whole.add(loop.take())
    print("p99 during the moves: " + ", ".join(f"{kind} {times:.2f} times" for kind, times in slower(before, during)))
    return whole


def slower(before: Tally, during: Tally) -> list[tuple[str, float]]:
    """How many times its p99 of before each kind of request has."""
    return [
        (kind, percentile_ms(counts, 0.99) / percentile_ms(before.latencies.get(kind, {}), 0.99))
        for kind, counts in sorted(during.latencies.items())
    ]


def measure(gateway: str, options: argparse.Namespace) -> None:
    """The whole run; raises `Missed` or OperatorError."""
    make(gateway, NAME, DOCUMENT)
    keys = [f"{MOVING}/{number}" for number in range(options.records)]
    others = [f"{tenant}/{number}" for tenant in OTHERS for number in range(OTHERS_KEYS)]
    mix = Mix(urlsplit(gateway).netloc, keys, others, options.value_bytes)
    store(gateway, mix.held)
    print(
        f"{len(keys)} keys of {MOVING!r}, {len(others)} of others, in {DOCUMENT['partitions']} partitions", flush=True
    )
    tally = uvloop.run(run(gateway, mix, options))
    count = check_items(mix.held, items_of(gateway))
    verified = told(f"{gateway}/v1/cluster/verify", "POST")
    print(line("in all", tally))
    print(f"{count} keys as acknowledged; verify: {json.dumps(verified)}")
    if tally.failed:
        raise Missed(f"requests failed: {dict(tally.failed)}")
    if not verified["ok"]:
        raise Missed("copies differ")


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="A tenant that moves between partitions under its own load.")
    parser.add_argument("--records", type=positive, default=100_000, help="keys of the tenant that moves")
    parser.add_argument("--value-bytes", type=positive, default=100)
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second")
    options = parser.parse_args()
    try:
        with tempfile.TemporaryDirectory(prefix="kvstore-tenant-") as data, cluster(Path(data)) as gateway:
            measure(gateway, options)
    except (Missed, OperatorError, OSError) as error:
        print(f"tenant: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
