"""A cluster that must not be harmed, and requests to it byte for byte.

Guarantees: a request leaves exactly as it is given, on a connection of its own; `state` is all that no refused request
may change. Leaves to others: what is sent.
"""

from __future__ import annotations

import contextlib
import json
import socket
from collections.abc import Mapping
from http.client import HTTPResponse
from pathlib import Path
from typing import Any

from probe.processes import Answer, wait_until
from probe.up import Up

NODES = 3
KEYS = 40


class Raw:
    """Requests to one address."""

    def __init__(self, url: str) -> None:
        host, _, port = url.removeprefix("http://").rpartition(":")
        self._address = (host, int(port))

    def send(
        self, method: str, target: str, body: bytes | None = None, headers: Mapping[str, str] | None = None
    ) -> Answer:
        """The answer to this request; header fields of several values are given as one text with line ends."""
        fields = {"Host": "t", "Connection": "close", **(headers or {})}
        if body is not None:
            fields["Content-Length"] = str(len(body))
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        with socket.create_connection(self._address, timeout=30) as connection:
            # A refusal may come before all was sent.
            with contextlib.suppress(ConnectionError):
                connection.sendall(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode("latin-1") + (body or b""))
            answer = HTTPResponse(connection, method=method)
            answer.begin()
            return Answer(answer.status, {name.lower(): text for name, text in answer.getheaders()}, answer.read())


class Served(Raw):
    """A cluster of three nodes that keep three copies, so that each is needed, with some keys in it."""

    def __init__(self, data: Path) -> None:
        self._up = Up(data, "--nodes", str(NODES), KVSTORE_REPLICAS=str(NODES)).wait_ready()
        super().__init__(self._up.url)
        wait_until(lambda: self.document("/v1/cluster").get("state") == "healthy")
        for number in range(KEYS):
            assert self.send("PUT", f"/v1/kv/kept/{number}", b"value", {"Content-Type": "a/b"}).status == 201
        self._processes = self._up.members()

    def close(self) -> None:
        if self._up.is_running:
            self._up.end()

    def document(self, target: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.send("GET", target).body)
        return found

    def state(self) -> dict[str, Any]:
        """Every key with its version, who is a member and as what, what moves, and which processes run."""
        cluster, moves = self.document("/v1/cluster"), self.document("/v1/cluster/rebalance")
        named = ("id", "address", "zone", "weight")
        return {
            "items": self.send("GET", "/v1/kv", None, {"Accept": "application/x-ndjson"}).body,
            "nodes": [[*(node[name] for name in named), node["state"] == "draining"] for node in cluster["nodes"]],
            "partitions": [(one["id"], sorted(one["replicas"]), one["unclean_count"]) for one in cluster["partitions"]],
            "moves": [moves[name] for name in ("state", "max_bytes_per_second", "moves")],
            "processes": self._up.members() == self._processes,
            "complaints": [line for line in self._up.err if "Traceback" in line or '"error"' in line],
        }
