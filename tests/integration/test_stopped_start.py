"""A gateway that is stopped while it waits for its map store ends in order."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
from probe.processes import Process, wait_until


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_gateway_whose_map_store_does_not_answer_ends_in_order_when_it_is_told_to(
    tmp_path: Path, workers: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        store = f"etcd://127.0.0.1:{silent.getsockname()[1]}"
        options = ("--listen", "127.0.0.1:0", "--data", str(tmp_path), "--store", store, "--workers", workers)
        gateway = Process("gateway", *options)
        wait_until(lambda: any("map_store_silent" in line for line in gateway.err))
        assert gateway.end() == 0
        assert gateway.complaints == []
