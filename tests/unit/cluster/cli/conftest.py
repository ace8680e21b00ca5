"""A gateway for commands to ask, and folders that they cannot read."""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Callable, Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path

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


@pytest.fixture
def unreadable(monkeypatch: pytest.MonkeyPatch) -> Callable[[Path], None]:
    """Has a folder refuse to be listed, for every user."""

    def close(folder: Path) -> None:
        scandir = os.scandir

        def refuse(path: str) -> object:
            if Path(path) == folder:
                raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
            return scandir(path)

        monkeypatch.setattr(os, "scandir", refuse)

    return close
