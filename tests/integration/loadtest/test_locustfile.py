"""Locust with the workloads of YCSB on a real cluster; in other processes, as its import replaces sockets."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from load_records import load
from probe.processes import wait_until
from probe.up import Up
from records import key_of

from kvstore.client import Delete, SyncClient

ROOT = Path(__file__).parents[3]
Start = Callable[..., Up]

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("locust") is None, reason="Locust is missing: make ycsb installs it"
)


COMMAND = [sys.executable, "-m", "locust", "--locustfile", str(ROOT / "loadtest" / "locustfile.py"), "--headless"]
COMMAND += ["--json", "--run-time", "3s"]


def locust(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([*COMMAND, *arguments], capture_output=True, text=True, timeout=120, check=False)


def entries_of(result: subprocess.CompletedProcess[str]) -> dict[str, dict[str, Any]]:
    return {entry["name"]: entry for entry in json.loads(result.stdout)}


def test_all_workloads_run_without_a_failure_and_fill_the_cluster_themselves(start_up: Start) -> None:
    up = start_up().wait_ready()
    sizes = ("--records", "300", "--value-bytes", "70")
    result = locust("--host", f"{up.url}/", "--users", "10", "--spawn-rate", "10", *sizes)
    assert result.returncode == 0, result.stderr
    entries = entries_of(result)
    workloads = {"A read", "A update", "B read", "C read", "D read", "E scan", "F read", "F read-modify-write"}
    assert workloads <= set(entries)
    assert not {name: entry for name, entry in entries.items() if entry["num_failures"]}
    with SyncClient(up.url) as client:
        assert {len(client.get(key_of(number)).data) for number in range(300)} == {70}


def test_writes_that_come_second_are_tried_again_and_counted_by_themselves(start_up: Start) -> None:
    up = start_up().wait_ready()
    sizes = ("--records", "2", "--value-bytes", "10", "--distribution", "uniform")
    result = locust("--host", up.url, "--users", "8", "--spawn-rate", "8", *sizes, "WorkloadF")
    assert result.returncode == 0, result.stderr
    entries = entries_of(result)
    assert entries["F read-modify-write: write refused, 412"]["num_requests"] > 0
    assert entries["F read-modify-write"]["num_failures"] == 0
    whole, writes = entries["F read-modify-write"], entries["F read-modify-write: write"]
    # The end of the run cuts off what is under way.
    assert 0 <= writes["num_requests"] - whole["num_requests"] <= 8


def test_each_insert_is_of_a_new_record_whichever_workload_it_is_of(start_up: Start) -> None:
    up = start_up().wait_ready()
    sizes = ("--records", "50", "--value-bytes", "10")
    result = locust("--host", up.url, "--users", "8", "--spawn-rate", "8", *sizes, "WorkloadD", "WorkloadE")
    assert result.returncode == 0, result.stderr
    entries = entries_of(result)
    inserted = [entries[f"{letter} insert"]["num_requests"] for letter in "DE"]
    with SyncClient(up.url) as client:
        # The end of the run cuts off what is under way.
        assert 0 <= client.count() - 50 - sum(inserted) <= 8


def test_a_read_modify_write_that_gets_no_answer_is_a_failure(start_up: Start) -> None:
    up = start_up().wait_ready()
    asyncio.run(load(up.url, 2, 10))
    sizes = ("--users", "2", "--records", "2", "--value-bytes", "10", "--distribution", "uniform")
    with SyncClient(up.url) as client:
        loaded = client.get(key_of(0)).etag
        command = [*COMMAND, "--host", up.url, *sizes, "WorkloadF"]
        run = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        wait_until(lambda: client.get(key_of(0)).etag != loaded)
    up.kill_all()
    output, _ = run.communicate(timeout=60)
    assert run.returncode == 1
    entries = {entry["name"]: entry for entry in json.loads(output)}
    assert entries["F read-modify-write"]["num_failures"] > 0


@pytest.mark.parametrize(("workload", "operation"), [("WorkloadC", "C read"), ("WorkloadE", "E scan")])
async def test_an_answer_that_no_workload_expects_is_a_failure(start_up: Start, workload: str, operation: str) -> None:
    up = start_up().wait_ready()
    await load(up.url, 2_000, 10)
    # Among these are none that the start looks for to see whether the records are there.
    with SyncClient(up.url) as client:
        client.batch([Delete(key_of(number)) for number in range(1, 2_000, 4)])
        client.batch([Delete(key_of(number)) for number in range(2, 2_000, 4)])
    sizes = ("--records", "2000", "--value-bytes", "10", "--distribution", "uniform")
    result = locust("--host", up.url, "--users", "4", "--spawn-rate", "4", *sizes, workload)
    assert result.returncode == 1
    assert entries_of(result)[operation]["num_failures"] > 0


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ((), "which gateway?"),
        (("--host", "http://127.0.0.1:1"), "cannot connect to http://127.0.0.1:1"),
        (("--host", "no address"), "is not a gateway's address"),
        (("--host", "http://127.0.0.1:1", "--records", "0"), "--records"),
        (("--host", "http://127.0.0.1:1", "--value-bytes", "-1"), "--value-bytes"),
        (("--distribution", "normal"), "--distribution"),
    ],
)
def test_a_mistake_ends_the_run_with_a_line_that_names_it(arguments: tuple[str, ...], told: str) -> None:
    result = locust("--users", "1", *arguments)
    assert result.returncode != 0
    assert told in result.stderr
    assert "Traceback" not in result.stderr


def test_the_table_has_a_row_for_each_workload(start_up: Start) -> None:
    up = start_up().wait_ready()
    command = [sys.executable, str(ROOT / "loadtest" / "ycsb.py"), "--gateway", up.url]
    options = ("--users", "4", "--seconds", "2", "--records", "200", "--value-bytes", "10", "--workloads", "DEF")
    result = subprocess.run(
        [*command, *options],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stderr
    rows = [line.split(" | ") for line in result.stdout.splitlines() if line.startswith("| ")][1:]
    assert [row[0] for row in rows] == ["| D", "| E", "| F"]
    assert all(int(row[1].replace(",", "")) > 0 and row[5] == "0" for row in rows)
