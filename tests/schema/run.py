"""The whole contract tried against a cluster: `run.py`.

Starts a cluster of three nodes that keep three copies of everything, lets schemathesis send what the contract allows
and what it does not, and looks afterwards whether the same processes still serve, with equal copies. With a copy on
every node the server itself refuses what would take the cluster apart (to remove a node, or to promote a copy by
force), so no operation is left out. What is changed beside data (drained, paused, reweighed) is undone at the end.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from probe.processes import wait_until
from probe.up import Up

HERE = Path(__file__).resolve().parent
CONTRACT = HERE.parent.parent / "docs" / "openapi.yaml"
NODES = 3
# They have nothing to succeed at in a cluster that is whole: see the docstring; no move goes on.
NEVER_DONE = frozenset({"removeNode", "forcePromote", "abortMove"})
# Succeed only behind another operation, which takes more cases than a short run has.
RARELY_DONE = frozenset({"startPlan"})
MANY_EXAMPLES = 200
SOME_KEYS = 200


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--examples", type=int, default=300, help="cases by chance, of each operation and phase")
    parser.add_argument("--seed", type=int, default=None, help="of chance; it is told at the end of a run")
    parser.add_argument("--fixed", action="store_true", help="the same cases each time")
    parser.add_argument("--only", default="", help="an operationId")
    arguments = parser.parse_args()
    work = Path(tempfile.mkdtemp(prefix="kvstore-schema-"))
    up = Up(work / "data", "--nodes", str(NODES), KVSTORE_REPLICAS=str(NODES))
    try:
        code = run(up, work, arguments)
    finally:
        if up.is_running:
            up.end()
    shutil.rmtree(work)
    return code


def run(up: Up, work: Path, arguments: argparse.Namespace) -> int:
    """Try the contract; the exit code says whether all was as it says."""
    up.wait_ready()
    wait_until(lambda: ask(up.url, "GET", "/v1/cluster")["state"] == "healthy")
    store_some(up.url)
    before, members = up.members(), nodes(up.url)
    began_s = time.monotonic()
    done = subprocess.run(
        command(up.url, arguments),
        cwd=HERE,
        check=False,
        env={**os.environ, "SCHEMA_NODES": json.dumps(members), "SCHEMA_TOLD": str(work / "told.json")},
    )
    told = json.loads((work / "told.json").read_text(encoding="utf-8"))
    statuses = told["statuses"]
    tell(statuses, told["passed_over"], time.monotonic() - began_s)
    wrong = [] if done.returncode == 0 else ["answers do not fit the contract"]
    if not arguments.only:
        wrong += unreached(statuses, NEVER_DONE if arguments.examples >= MANY_EXAMPLES else NEVER_DONE | RARELY_DONE)
    wrong += settle(up, members)
    if up.members() != before:
        wrong.append(f"processes were replaced: {before} before, {up.members()} after")
    wrong += [f"said by a process: {line}" for line in up.err if "Traceback" in line or '"error"' in line]
    for line in wrong:
        print(f"wrong: {line}")
    return 1 if wrong else 0


def command(url: str, arguments: argparse.Namespace) -> list[str]:
    """The run of schemathesis; what does not change from run to run stands in `schemathesis.toml`."""
    line = [str(Path(sys.executable).with_name("schemathesis")), "--config-file", str(HERE / "schemathesis.toml")]
    line += ["run", str(CONTRACT), "--url", url, "--checks", "all", "--max-examples", str(arguments.examples)]
    if arguments.fixed:
        line.append("--generation-deterministic")
    if arguments.seed is not None:
        line += ["--seed", str(arguments.seed)]
    if arguments.only:
        line += ["--include-operation-id", arguments.only]
    return line


def tell(statuses: Mapping[str, Mapping[str, int]], passed_over: Mapping[str, int], seconds: float) -> None:
    """How often each operation answered what, and what was no failure for which reason."""
    for operation, counts in sorted(statuses.items()):
        listed = "  ".join(f"{status}: {count}" for status, count in sorted(counts.items()))
        print(f"{operation:<18} {sum(counts.values()):>6}   {listed}")
    for reason, count in sorted(passed_over.items()):
        if reason:
            print(f"passed over {count:>6}   {reason}")
    print(f"{sum(sum(counts.values()) for counts in statuses.values())} requests in {seconds:.0f} s", flush=True)


def unreached(statuses: Mapping[str, Mapping[str, int]], spared: Collection[str]) -> list[str]:
    """Operations that never did what they are for, so that the run says little of them."""
    paths: Any = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))["paths"]
    operations = [one for path in paths.values() for one in path.values() if isinstance(one, dict)]
    expected = {one["operationId"] for one in operations if not one.get("x-not-built")}.difference(spared)
    return [
        f"{operation} never succeeded"
        for operation in sorted(expected)
        if not any(status.startswith("2") for status in statuses.get(operation, ()))
    ]


def settle(up: Up, members: Mapping[str, str]) -> list[str]:
    """Undo what was asked of the cluster, and see whether it is whole."""
    for node in members:
        change = {"draining": False, "weight": 1, "zone": "default"}
        ask(up.url, "PATCH", f"/v1/cluster/nodes/{node}", change)
    ask(up.url, "PUT", "/v1/cluster/rebalance", {"max_bytes_per_second": 0})
    ask(up.url, "POST", "/v1/cluster/rebalance/resume")
    wait_until(lambda: ask(up.url, "GET", "/v1/cluster")["state"] == "healthy")
    wrong = []
    if nodes(up.url) != members:
        wrong.append(f"members were {members}, are {nodes(up.url)}")
    verified = ask(up.url, "POST", "/v1/cluster/verify")
    if not verified["ok"] or verified["left_out"]:
        wrong.append(f"copies differ: {verified}")
    return wrong


def store_some(url: str) -> None:
    """Keys to be found: text and other bytes, with a time to live and without."""
    ops: list[dict[str, object]] = [{"op": "put", "key": f"user/{n}", "value": "x" * n} for n in range(SOME_KEYS)]
    ops += [{"op": "put", "key_b64": "/w==", "value_b64": "/gA=", "ttl": 5000, "content_type": "text/plain"}]
    ask(url, "POST", "/v1/batch", {"ops": ops})
    ask(url, "PUT", "/v1/keyspaces/tenants", {"strategy": "directory", "partitions": 2})
    ask(url, "POST", "/v1/keyspaces/tenants/batch", {"ops": [{"op": "put", "key": "acme/1", "value": "x"}]})


def nodes(url: str) -> dict[str, str]:
    return {node["id"]: node["address"] for node in ask(url, "GET", "/v1/cluster")["nodes"]}


def ask(url: str, method: str, path: str, body: object = None) -> Any:
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(url + path, data, {"Content-Type": "application/json"}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.load(answer)


if __name__ == "__main__":
    sys.exit(main())
