"""Requests as bytes, and one connection on which they are sent as they are.

Guarantees: what fills a system and what wrk sends are the same bytes. Leaves to others: what the requests ask for.
"""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import urlsplit

TIMEOUT_S = 30.0

Address = tuple[str, int]


class BadAnswer(Exception):
    """A system did not answer 2xx, or not with what was stored."""


def address_of(url: str) -> Address:
    parts = urlsplit(url)
    return parts.hostname or "", parts.port or 0


def request(method: str, path: str, body: bytes | None = None, content_type: str = "") -> bytes:
    """A request of HTTP/1.1 with as few fields as there may be."""
    lines = [f"{method} {path} HTTP/1.1", "Host: bench"]
    lines += [f"Content-Type: {content_type}"] if content_type else []
    lines += [] if body is None else [f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode() + (body or b"")


def write_requests(path: Path, requests: Iterable[bytes]) -> None:
    """Lay requests down as `wrk/requests.lua` reads them."""
    with path.open("wb") as file:
        for one in requests:
            file.write(b"%d\n" % len(one) + one)


class Connection:
    """A connection that is kept."""

    def __init__(self, address: Address) -> None:
        self._socket = socket.create_connection(address, TIMEOUT_S)
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def exchange(self, sent: bytes) -> bytes:
        """Send a request; the body of its answer.

        Raises:
            BadAnswer: it is not 2xx.
            OSError, http.client.HTTPException: there is no answer.
        """
        self._socket.sendall(sent)
        answer = http.client.HTTPResponse(self._socket)
        answer.begin()
        body = answer.read()
        if not 200 <= answer.status < 300:
            raise BadAnswer(f"{answer.status} {body[:200]!r}")
        return body
