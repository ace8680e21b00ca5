"""Fill a cluster with the records of a load test: `python loadtest/load_records.py --records 100000`.

Guarantees: at its end every record is stored with a value of the size asked for, or it says in one line why not and
exits with 1; a put that failed or whose outcome is unknown is sent again, for it writes what was to be written; few
batches are under way at a time. Records that are there already (by a sample) are not written again.
Leaves to others: keys and values (`records`).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections.abc import Iterator, Sequence

from records import OFFSETS, Values, key_of

from kvstore.client import Client, Get, Put, Value
from kvstore.client.answers import Outcome
from kvstore.client.client import DEFAULT_GATEWAY
from kvstore.client.ops import Op
from kvstore.errors import KvError, OperatorError, OutcomeUnknown, Overloaded

BATCH_OPS_MAX = 500
BATCH_BYTES_MAX = 1024 * 1024
IN_FLIGHT_MAX = 8
TIMEOUT_S = 60.0
PAUSE_S = 0.2


async def load(gateway: str, records: int, value_bytes: int) -> bool:
    """Store the records 0 to `records` - 1, each with a value of `value_bytes` bytes.

    Returns:
        Whether anything was written: False when they were there already.

    Raises:
        OperatorError: `gateway` is no address, does not answer, or refuses the records.
    """
    try:
        async with Client(gateway, timeout_s=TIMEOUT_S) as client:
            # Once, and not until the deadline: the gateway may be mistyped.
            await client.ready()
            if await _are_there(client, records, value_bytes):
                return False
            values = Values(random.randbytes(value_bytes + OFFSETS), value_bytes)
            batches = _batches(records, value_bytes)
            async with asyncio.TaskGroup() as group:
                for _ in range(IN_FLIGHT_MAX):
                    group.create_task(_put_each(client, batches, values))
    except (ValueError, KvError) as error:
        raise OperatorError(str(error)) from error
    except ExceptionGroup as group_error:
        raise OperatorError(str(group_error.exceptions[0])) from group_error
    return True


async def _are_there(client: Client, records: int, value_bytes: int) -> bool:
    step = max(1, records // (_batch_ops(value_bytes) - 1)) if records > 1 else 1
    numbers = {*range(0, records, step)[: _batch_ops(value_bytes) - 1], records - 1}
    outcomes = await client.batch([Get(key_of(number)) for number in numbers])
    return all(isinstance(outcome, Value) and len(outcome.data) == value_bytes for outcome in outcomes)


def _batch_ops(value_bytes: int) -> int:
    return max(2, min(BATCH_OPS_MAX, BATCH_BYTES_MAX // value_bytes))


def _batches(records: int, value_bytes: int) -> Iterator[range]:
    size = _batch_ops(value_bytes)
    for first in range(0, records, size):
        yield range(first, min(first + size, records))


async def _put_each(client: Client, batches: Iterator[range], values: Values) -> None:
    for numbers in batches:
        await _put(client, [Put(key_of(number), values.pick(random.random())) for number in numbers])


async def _put(client: Client, puts: Sequence[Op]) -> None:
    deadline = time.monotonic() + TIMEOUT_S
    while True:
        outcomes = await _outcomes(client, puts)
        failed = [(op, outcome) for op, outcome in zip(puts, outcomes, strict=True) if isinstance(outcome, KvError)]
        if not failed:
            return
        error = failed[0][1]
        if (error.status < 500 and not isinstance(error, Overloaded)) or time.monotonic() > deadline:
            raise error
        puts = [op for op, _ in failed]
        await asyncio.sleep(PAUSE_S)


async def _outcomes(client: Client, puts: Sequence[Op]) -> Sequence[Outcome]:
    try:
        return await client.batch(puts)
    except OutcomeUnknown as error:
        return [error] * len(puts)


def positive(text: str) -> int:
    """A whole number of at least 1, for argparse."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def main() -> int:
    """The command: prints a line, returns 1 with a line on standard error when the records cannot be stored."""
    parser = argparse.ArgumentParser(description="Fill a cluster with the records of a load test.")
    parser.add_argument("--gateway", default=DEFAULT_GATEWAY)
    parser.add_argument("--records", type=positive, default=100_000)
    parser.add_argument("--value-bytes", type=positive, default=1_000)
    options = parser.parse_args()
    started = time.monotonic()
    try:
        written = asyncio.run(load(options.gateway, options.records, options.value_bytes))
    except OperatorError as error:
        print(f"load_records: {error}", file=sys.stderr)
        return 1
    took_s = time.monotonic() - started
    what = f"{options.records:,} records of {options.value_bytes:,} bytes"
    print(f"{what} loaded in {took_s:.1f} s ({options.records / took_s:,.0f}/s)" if written else f"{what} are there")
    return 0


if __name__ == "__main__":
    sys.exit(main())
