"""Keyspaces for load tests: made, looked at, and where the ranges of one are cut.

Guarantees: what the gateway refuses is one clear error. Leaves to others: which keyspaces, and the load.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from bisect import bisect_right
from collections.abc import Mapping
from typing import Any

from kvstore.errors import OperatorError

REQUEST_S = 30.0
READY_S_MAX = 60.0
POLL_S = 0.2


def ask(url: str, method: str = "GET", document: Mapping[str, Any] | None = None) -> tuple[int, bytes]:
    """One request; its status and body. Raises OperatorError where nobody answers."""
    body = None if document is None else json.dumps(dict(document)).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=REQUEST_S) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read()
    except OSError as error:
        raise OperatorError(f"{url} does not answer: {error}") from error


def told(url: str, method: str = "GET", document: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """The document that is answered; raises OperatorError where it is a refusal."""
    status, body = ask(url, method, document)
    if status >= 300:
        raise OperatorError(f"{method} {url}: {status} {body.decode(errors='replace')}")
    found: dict[str, Any] = json.loads(body) if body else {}
    return found


def make(gateway: str, name: str, document: Mapping[str, Any]) -> None:
    """Make a keyspace, and wait until all of it is served; raises OperatorError where it cannot be."""
    told(f"{gateway}/v1/keyspaces/{name}", "PUT", document)
    deadline = time.monotonic() + READY_S_MAX
    while ask(f"{gateway}/v1/keyspaces/{name}")[0] != 200 or ask(f"{gateway}/readyz")[0] != 200:
        if time.monotonic() > deadline:
            raise OperatorError(f"keyspace {name} is not served after {READY_S_MAX:.0f} s")
        time.sleep(POLL_S)


class Ranges:
    """Which partition of a `range` keyspace has a key. Args: starts: the first key of each partition but the first, in
    order; pids: the partitions."""

    def __init__(self, starts: list[bytes], pids: list[int]) -> None:
        self._starts = starts
        self.pids = pids

    def touched(self, first: bytes, last: bytes) -> int:
        """How many partitions have the keys from `first` to `last`, both included."""
        return bisect_right(self._starts, last) - bisect_right(self._starts, first) + 1
