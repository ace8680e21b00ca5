"""A gateway for commands to ask."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer

import pytest
from fakes.shell_gateway import ShellGateway


@pytest.fixture
def gateway(monkeypatch: pytest.MonkeyPatch) -> Iterator[type[ShellGateway]]:
    ShellGateway.answers = {}
    ShellGateway.asked = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), ShellGateway)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("KVSTORE_GATEWAY", f"http://127.0.0.1:{server.server_port}")
    yield ShellGateway
    server.shutdown()
    thread.join()
    server.server_close()
