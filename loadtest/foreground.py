"""What clients notice while something happens to a cluster: PUT and GET at a fixed rate, a line per window.

Guarantees: latencies count from when a request was due (`open_loop`); the keys asked for were stored before the first
request, so a 404 is a failure; it takes little CPU, since it shares the machine with the cluster. Returns 1 only when
it cannot start: failures are what it is there to count. Leaves to others: what happens to the cluster meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import sys
import time
from urllib.parse import urlsplit

import uvloop
from latencies import percentile_ms
from load_records import load, positive
from open_loop import OpenLoop, Tally
from records import OFFSETS, Values, key_of

from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.errors import OperatorError

KINDS = ("PUT", "GET")
HEAD = "    t s    sent      ok under way |  PUT p50    p95    p99 |  GET p50    p95    p99 ms | failed"


class Requests:
    """The bytes of requests for records chosen evenly."""

    def __init__(self, netloc: str, records: int, value_bytes: int) -> None:
        self._paths = [f" /v1/kv/{key_of(number)} HTTP/1.1\r\nHost: {netloc}\r\n".encode() for number in range(records)]
        self._values = Values(random.randbytes(value_bytes + OFFSETS), value_bytes)
        self._length = f"Content-Length: {value_bytes}\r\n\r\n".encode()

    def __call__(self, kind: str) -> bytes:
        path = random.choice(self._paths)
        if kind == "GET":
            return b"GET%b\r\n" % path
        return b"PUT%b%b%b" % (path, self._length, self._values.pick(random.random()))


def line(name: str, tally: Tally, under_way: int) -> str:
    """The line of a window, under `HEAD`."""
    latencies = " | ".join(
        " ".join(
            f"{percentile_ms(tally.latencies.get(kind, {}), share):>{width}.1f}"
            for share, width in ((0.5, 8), (0.95, 6), (0.99, 6))
        )
        for kind in KINDS
    )
    failed = ", ".join(f"{what}: {count:,}" for what, count in sorted(tally.failed.items())) or "0"
    return f"{name:>7} {tally.sent:>7} {tally.ok:>7} {under_way:>9} | {latencies}    | {failed}"


async def measure(options: argparse.Namespace) -> None:
    """Load the records, send, and print.

    Raises:
        OperatorError: the gateway cannot be reached, or refuses the records.
    """
    await load(options.gateway, options.keys, options.value_bytes)
    address = urlsplit(options.gateway)
    rates = {"PUT": options.puts_per_second, "GET": options.gets_per_second}
    loop = OpenLoop(
        address.hostname or "",
        address.port or 80,
        {kind: rate for kind, rate in rates.items() if rate > 0},
        Requests(address.netloc, options.keys, options.value_bytes),
        connections=options.connections,
        timeout_s=options.timeout,
    )
    running = asyncio.create_task(loop.run(options.seconds))
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, loop.end)
    print(HEAD, flush=True)
    whole, began_s = Tally(), time.monotonic()
    while not running.done():
        await asyncio.wait([running], timeout=options.window)
        tally = loop.take()
        whole.add(tally)
        print(line(f"{time.monotonic() - began_s:.1f}", tally, loop.under_way), flush=True)
    print(line("whole", whole, loop.under_way), flush=True)
    await running


def rate(text: str) -> float:
    """A number of at least 0, for argparse."""
    number = float(text)
    if not 0 <= number < 1_000_000:
        raise ValueError(text)
    return number


def seconds(text: str) -> float:
    """A number above 0, for argparse."""
    if not 0 < float(text) < 1_000_000:
        raise ValueError(text)
    return float(text)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description="PUT and GET at a fixed rate; latencies and failures per window.")
    parser.add_argument("--gateway", default=DEFAULT_GATEWAY)
    parser.add_argument("--puts-per-second", type=rate, default=2_000.0)
    parser.add_argument("--gets-per-second", type=rate, default=200.0)
    parser.add_argument("--seconds", type=seconds, default=90.0)
    parser.add_argument("--keys", type=positive, default=100_000, help="so many records, stored first if missing")
    parser.add_argument("--value-bytes", type=positive, default=100)
    parser.add_argument("--window", type=seconds, default=5.0, help="seconds that one line stands for")
    parser.add_argument("--connections", type=positive, default=128)
    parser.add_argument("--timeout", type=seconds, default=10.0, help="seconds after which a request has failed")
    options = parser.parse_args()
    try:
        uvloop.run(measure(options))
    except (OperatorError, OSError) as error:
        print(f"foreground: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
