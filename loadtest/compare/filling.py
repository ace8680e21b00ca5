"""Keys, values, what wrk sends, and filling a system with what the reads ask for.

Guarantees: every key is stored, and one is read back equal, or it is an OperatorError; all systems have the same keys
and values. Leaves to others: the form of requests.
"""

from __future__ import annotations

import http.client
import random
import string
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from compare.matrix import BATCH_OPS, KEYS
from compare.own import Own
from compare.system import Running, System
from compare.wire import Address, BadAnswer, Connection, write_requests
from kvstore.errors import OperatorError

CLIENTS = 32
SETTLED_S_MAX = 10.0
POLL_S = 0.2
BATCHES = 50
# Neighbours in a batch are so far apart that no two have the same key.
STRIDE = 7


def keys_of(value_bytes: int) -> list[str]:
    return [f"b{value_bytes}-{number:06}" for number in range(KEYS[value_bytes])]


def value_of_size(value_bytes: int) -> bytes:
    """Letters and digits by chance, the same in every run."""
    alphabet = string.ascii_letters + string.digits
    return "".join(random.Random(value_bytes).choices(alphabet, k=value_bytes)).encode()


def fill(system: System, running: Running, value_bytes: int) -> None:
    """Put every key, and read one back."""
    value = value_of_size(value_bytes)
    puts = [system.put(key, value) for key in keys_of(value_bytes)]
    try:
        with ThreadPoolExecutor(CLIENTS) as pool:
            list(
                pool.map(
                    lambda part: _send(running.address, part), (puts[number::CLIENTS] for number in range(CLIENTS))
                )
            )
        check_value(system, running, value_bytes)
    except (OSError, http.client.HTTPException, BadAnswer) as error:
        raise OperatorError(f"cannot fill {system.name}: {error}") from error


def _send(address: Address, requests: Sequence[bytes]) -> None:
    with Connection(address) as connection:
        for one in requests:
            connection.exchange(one)


def check_value(system: System, running: Running, value_bytes: int) -> None:
    """Read a key; raises OperatorError where it is not what is put.

    wrk ends with requests under way, and webdis gives the answer of one whose client is gone to whoever has its socket
    next: so what comes is judged only once a system has had time to finish.
    """
    deadline = time.monotonic() + SETTLED_S_MAX
    while (found := _read(system, running, value_bytes)) != value_of_size(value_bytes):
        if time.monotonic() > deadline:
            raise OperatorError(f"{system.name} does not answer the value that was put: {found[:100]!r}")
        time.sleep(POLL_S)


def _read(system: System, running: Running, value_bytes: int) -> bytes:
    """The value of the last key; where there is none, why."""
    try:
        with Connection(running.address) as connection:
            return system.value_of(connection.exchange(system.get(keys_of(value_bytes)[-1])))
    except (OSError, http.client.HTTPException, BadAnswer, LookupError, ValueError) as error:
        return f"{type(error).__name__}: {error}".encode()


def lay_down(system: System, value_bytes: int, folder: Path) -> tuple[Path, Path]:
    """The files of reads and writes of one size; made once."""
    reads, writes = (folder / f"{system.name}-{value_bytes}-{kind}" for kind in ("reads", "writes"))
    if not writes.exists():
        value = value_of_size(value_bytes)
        write_requests(reads, (system.get(key) for key in keys_of(value_bytes)))
        write_requests(writes, (system.put(key, value) for key in keys_of(value_bytes)))
    return reads, writes


def lay_down_batches(system: Own, value_bytes: int, folder: Path) -> tuple[Path, Path]:
    """The same for batches."""
    reads, writes = (folder / f"batches-{value_bytes}-{kind}" for kind in ("reads", "writes"))
    if not writes.exists():
        keys, value = keys_of(value_bytes), value_of_size(value_bytes)
        batches = [
            [keys[(number * BATCH_OPS + index * STRIDE) % len(keys)] for index in range(BATCH_OPS)]
            for number in range(BATCHES)
        ]
        write_requests(reads, map(system.batch_of_gets, batches))
        write_requests(writes, (system.batch_of_puts(batch, value) for batch in batches))
    return reads, writes
