"""One client's requests over HTTP, through any of several gateways, and what came of each.

Guarantees: a request is sent once; what cannot have left is told from what may have arrived; an answer that was cut
short is no answer. Leaves to others: what is asked and what it means (`machine`).
"""

from __future__ import annotations

import http.client
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from checkers.dictionary import Span

# Longer than a gateway takes for any answer, an import that waits for a leader among them.
TIMEOUT_S = 25.0
NOT_SENT, LOST = 0, -1
REFUSED = (429, 503)


@dataclass(frozen=True, slots=True)
class Told:
    """An answer; `status` is `NOT_SENT` where no request left, and `LOST` where no whole answer came."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    span: Span

    @property
    def did_nothing(self) -> bool:
        """Whether it is promised that nothing was applied."""
        return self.status == NOT_SENT or self.status in REFUSED

    @property
    def is_unknown(self) -> bool:
        return self.status in (LOST, 504)

    @property
    def code(self) -> str:
        """That of a problem; empty where the answer is none."""
        kind = self.headers.get("content-type", "")
        return str(json.loads(self.body)["code"]) if kind.startswith("application/problem+json") else ""

    def __str__(self) -> str:
        words = {NOT_SENT: "not sent", LOST: "no answer"}
        etag = self.headers.get("etag", "")
        body = self.body if len(self.body) <= 300 else self.body[:300] + b"..."
        return f"{words.get(self.status, self.status)} {etag} {body!r}"


class Exchange:
    """Requests on connections that are kept; for one thread."""

    def __init__(self, urls: Sequence[str]) -> None:
        self._hosts = [urlsplit(url).netloc for url in urls]
        self._connections: dict[str, http.client.HTTPConnection] = {}

    @property
    def gateways(self) -> int:
        return len(self._hosts)

    def close(self) -> None:
        """Close all connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()

    def ask(
        self, gateway: int, method: str, path: str, headers: Mapping[str, str] | None = None, body: bytes | None = None
    ) -> Told:
        """One request through one of the gateways."""
        host = self._hosts[gateway]
        connection = self._connections.get(host)
        begin = time.monotonic()
        if connection is None:
            connection = http.client.HTTPConnection(host, timeout=TIMEOUT_S)
            try:
                connection.connect()
            except OSError:
                return Told(NOT_SENT, {}, b"", Span(begin, time.monotonic()))
            self._connections[host] = connection
        try:
            connection.request(method, path, body, dict(headers or {}))
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, http.client.HTTPException):
            connection.close()
            del self._connections[host]
            return Told(LOST, {}, b"", Span(begin, time.monotonic()))
        found = {name.lower(): value for name, value in answer.getheaders()}
        if answer.will_close:
            connection.close()
            del self._connections[host]
        return Told(answer.status, found, content, Span(begin, time.monotonic()))
