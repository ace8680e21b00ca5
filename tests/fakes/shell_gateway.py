"""A server in a gateway's place, in a thread, for commands that run in the test's own process.

Guarantees: answers each request with what the test laid down for its method, or its method and path, and keeps what it
was asked. Leaves to others: every answer.
"""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler
from typing import Any, ClassVar

# Longer than any command has: what is refused for now is not asked for again.
RETRY_AFTER = "3600"


class ShellGateway(BaseHTTPRequestHandler):
    """Answers every request with what the test laid down for its method."""

    answers: ClassVar[dict[str, tuple[int, bytes]]] = {}
    asked: ClassVar[list[tuple[str, str, bytes, dict[str, str]]]] = []

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        self.asked.append((self.command, self.path, body, dict(self.headers)))
        status, answer = self.answers.get(f"{self.command} {self.path}", self.answers.get(self.command, (200, b"")))
        self.send_response(status)
        if status == 503:
            self.send_header("Retry-After", RETRY_AFTER)
        if status != 204:
            self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    do_GET = do_PUT = do_DELETE = do_POST = _answer  # noqa: N815

    def log_message(self, *_: Any) -> None:
        pass


def problem(code: str) -> bytes:
    return json.dumps({"code": code, "detail": f"because {code}"}).encode()
