"""docker-compose.yml for real: built, started, containers killed and back, taken down and up again, in both profiles.

Guarantees: one line when there is nothing to run it with, and exit code 0; nothing is left behind, whatever happens;
every step has a limit of time. An engine that already runs is used; else one is started for the time of the test.
"""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from compose.commands import Failed, Missing, need, run, succeeds
from compose.engine import base_image, running_engine
from probe.processes import Answer, ask, wait_until

ROOT = Path(__file__).resolve().parents[2]
KEYS = 50
BUILD_S_MAX = 400.0
STEP_S_MAX = 120.0


class Composed:
    """One profile of docker-compose.yml under a project name and on ports of this test's own.

    Args:
        gateway: the service of a gateway; node: of a node; both are watched.
    """

    def __init__(self, environment: dict[str, str], profile: str, gateway: str, node: str) -> None:
        name = f"kvstoretest{os.getpid()}"
        ports = os.environ.get("KVSTORE_PORT") or _free_port(), os.environ.get("KVSTORE_PORT_2") or _free_port()
        self.project = f"{name}{profile}"
        self.images = (name, f"{name}etcd")
        self.gateway = gateway
        self._node = node
        self._urls = [f"http://127.0.0.1:{port}" for port in ports]
        self._environment = environment | {
            "COMPOSE_PROJECT_NAME": self.project,
            "COMPOSE_PROFILES": profile,
            "KVSTORE_EXTRA_NODES": "0",
            "KVSTORE_IMAGE": self.images[0],
            "KVSTORE_ETCD_IMAGE": self.images[1],
            "KVSTORE_PORT": ports[0],
            "KVSTORE_PORT_2": ports[1],
        }
        self._command = _compose_command()

    def compose(self, *arguments: str, timeout_s: float = STEP_S_MAX, stdin: str | None = None) -> str:
        """One command of Compose."""
        command = (*self._command, "--file", str(ROOT / "docker-compose.yml"), *arguments)
        return run(command, timeout_s, self._environment, stdin)

    def docker(self, *arguments: str) -> str:
        """One command of the engine."""
        return run(("docker", *arguments), STEP_S_MAX, self._environment)

    def container(self, service: str) -> str:
        """The id of a service's only container, running or not."""
        return self.compose("ps", "--quiet", service).strip()

    def up(self, extra_nodes: int, *arguments: str) -> None:
        """What `up -d` does from now on, with so many nodes more."""
        self._environment["KVSTORE_EXTRA_NODES"] = str(extra_nodes)
        self.compose("up", "--detach", *arguments)

    def extra_nodes(self) -> dict[str, str]:
        """The container of each further node, by the node's id."""
        containers = self.compose("ps", "--quiet", "node").split()
        return {self.docker("exec", one, "cat", "node-id").strip(): one for one in containers}

    def kvstore(self, *arguments: str, service: str = "", stdin: str | None = None) -> str:
        """One command of the command line, in a container of that service, a gateway's if not said otherwise."""
        return self.compose("exec", "-T", service or self.gateway, "kvstore", *arguments, stdin=stdin)

    def ask(self, method: str, path: str, body: bytes | None = None, port: int = 0) -> Answer:
        """One request through a published port, the first one if not said otherwise."""
        return ask(f"{self._urls[port]}{path}", method, body)

    def of_nodes(self, field: str) -> dict[str, str]:
        """That field of each node."""
        return {node["id"]: node[field] for node in json.loads(self.ask("GET", "/v1/cluster").body)["nodes"]}

    def states(self) -> dict[str, str]:
        """The state of each node."""
        return self.of_nodes("state")

    def wait_nodes(self, nodes: int) -> None:
        """Wait until so many nodes are up and every partition has its leader and copies."""
        self.kvstore("wait", "--nodes", str(nodes), "--healthy", "--timeout", f"{STEP_S_MAX - 5:g}")
        wait_until(lambda: self._is_healthy(self.gateway) and self._is_healthy(self._node), 60)

    def _is_healthy(self, service: str) -> bool:
        health = self.docker("inspect", "--format", "{{.State.Health.Status}}", self.container(service))
        return health.strip() == "healthy"

    def put_all(self, port: int = 0) -> None:
        """Store the keys of this test."""
        for number in range(KEYS):
            answer = self.ask("PUT", f"/v1/kv/k{number}", b"value %d" % number, port)
            _expect(answer.status in (201, 204) and answer.headers["x-kv-copies"] == "2", f"PUT: {answer.status}")

    def out_and_in(self) -> None:
        """What an export writes, import takes."""
        items = self.kvstore("export", "-")
        said = self.kvstore("import", "-", stdin=items)
        _expect(f"imported {KEYS} records" in said, f"import: {said}")

    def check_all(self, port: int = 0) -> None:
        """Every key is there."""
        for number in range(KEYS):
            answer = self.ask("GET", f"/v1/kv/k{number}", port=port)
            _expect(answer.body == b"value %d" % number, f"GET k{number}: {answer.status} {answer.body[:200]!r}")


def steps(composed: Composed) -> list[tuple[str, Callable[[], object]]]:
    """What is done, in order."""

    def return_at_another_address() -> None:
        """The address that n1 had is taken meanwhile."""
        composed.docker(
            *("run", "--detach", "--name", f"{composed.project}-squatter", "--entrypoint", "sleep"),
            *("--network", f"{composed.project}_default", composed.images[0], "600"),
        )
        try:
            composed.compose("up", "--detach", "--no-deps", "n1")
            composed.wait_nodes(3)
        finally:
            composed.docker("rm", "--force", f"{composed.project}-squatter")

    return [
        ("up: a gateway and three nodes", lambda: composed.compose("up", "--detach")),
        ("every partition has a leader, every container is healthy", lambda: composed.wait_nodes(3)),
        ("put through the published port", composed.put_all),
        ("get what was put", composed.check_all),
        ("kill -9 of n1", lambda: composed.compose("kill", "-s", "KILL", "n1")),
        ("the cluster says that it is down", lambda: wait_until(lambda: composed.states()["n1"] == "down")),
        ("n1 leaves its address", lambda: composed.compose("rm", "--force", "n1")),
        ("n1 is back, at another address", return_at_another_address),
        ("everything is there", composed.check_all),
        ("and can be written", composed.put_all),
        *_steps_with_more_nodes(composed),
        ("an export, and an import of it", composed.out_and_in),
        ("down", lambda: composed.compose("down")),
        ("up again, on the same volumes", lambda: composed.compose("up", "--detach")),
        ("every partition has a leader again", lambda: composed.wait_nodes(3)),
        ("everything is still there", composed.check_all),
    ]


def _steps_with_more_nodes(composed: Composed) -> list[tuple[str, Callable[[], object]]]:
    """Two nodes come, and stay whatever `up` is for; one leaves in order, the other's container is taken away."""
    volumes: dict[str, str] = {}

    def is_kept(*arguments: str) -> None:
        before = composed.extra_nodes()
        composed.up(2, *arguments)
        composed.wait_nodes(5)
        _expect(composed.extra_nodes().keys() == before.keys(), f"other nodes than {before.keys()}")
        composed.check_all()

    def leave_in_order() -> None:
        node, container = sorted(composed.extra_nodes().items())[0]
        composed.kvstore("nodes", "remove", node)
        composed.docker("rm", "--force", "--volumes", container)
        composed.up(1)
        composed.wait_nodes(4)

    def taken_away() -> None:
        ((node, container),) = composed.extra_nodes().items()
        of_data = '{{range .Mounts}}{{if eq .Destination "/data"}}{{.Name}}{{end}}{{end}}'
        volumes[node] = composed.docker("inspect", "--format", of_data, container).strip()
        composed.up(0)
        wait_until(lambda: composed.states()[node] == "down")

    def back_from_its_volume() -> None:
        ((node, volume),) = volumes.items()
        # An address may not begin with a digit, as the node's id may.
        name = f"node-{node}"
        _expect(volume in composed.docker("volume", "ls", "-qf", "dangling=true"), "its volume is gone")
        named = composed.docker(
            *("run", "--rm", "--volume", f"{volume}:/data", "--entrypoint", "cat", composed.images[0], "node-id")
        )
        _expect(named.strip() == node, f"the volume of {node} is that of {named}")
        composed.docker(
            *("run", "--detach", "--name", name, "--network", f"{composed.project}_default"),
            *("--volume", f"{volume}:/data", "--env", f"KVSTORE_GATEWAY=http://{composed.gateway}:8000"),
            *(composed.images[0], "node", "--insecure-bind", "--id", node, "--advertise", f"{name}:7000"),
        )
        try:
            # Where it has the address of its last container again, it is there at once and then dialled by its name.
            wait_until(lambda: composed.of_nodes("address")[node] == f"{name}:7000")
            composed.wait_nodes(4)
            composed.check_all()
            composed.kvstore("nodes", "remove", node)
        finally:
            composed.docker("rm", "--force", name)
            composed.docker("volume", "rm", volume)

    return [
        ("two more nodes join", lambda: composed.up(2)),
        ("five nodes are up", lambda: composed.wait_nodes(5)),
        ("they stay when up is run again", is_kept),
        ("and when their containers are made anew", lambda: is_kept("--force-recreate", "--no-deps", "node")),
        ("one of them leaves in order", leave_in_order),
        ("the other's container is taken away", taken_away),
        ("it is started again on its volume, and leaves in order", back_from_its_volume),
        ("everything is there", composed.check_all),
    ]


def ha_steps(composed: Composed) -> list[tuple[str, Callable[[], object]]]:
    """What is done in the profile ha, in order: one of each kind of container is killed."""
    return [
        ("up: two gateways, three nodes, an etcd of three", lambda: composed.compose("up", "--detach")),
        ("every partition has a leader, every container is healthy", lambda: composed.wait_nodes(3)),
        ("put through one gateway", composed.put_all),
        ("get through the other", lambda: composed.check_all(port=1)),
        ("kill -9 of gateway1 and etcd1", lambda: composed.compose("kill", "-s", "KILL", "gateway1", "etcd1")),
        ("put through the gateway that is left", lambda: composed.put_all(port=1)),
        ("a node's container asks the one that is there", lambda: composed.kvstore("status", service="node2")),
        ("kill -9 of node1", lambda: composed.compose("kill", "-s", "KILL", "node1")),
        ("everything is there, wherever it was led", lambda: wait_until(lambda: _holds(composed, port=1), 60)),
        ("all are up again", lambda: composed.compose("up", "--detach")),
        ("and healthy", lambda: composed.wait_nodes(3)),
        ("down", lambda: composed.compose("down")),
        ("up again, on the same volumes", lambda: composed.compose("up", "--detach")),
        ("every partition has a leader again", lambda: composed.wait_nodes(3)),
        ("everything is still there", composed.check_all),
    ]


def tell(environment: dict[str, str]) -> None:
    """Build, take the steps of both profiles, clean up.

    Raises:
        Failed: one of the steps did not do what it should.
    """
    single = Composed(environment, "single", "gateway", "n1")
    ha = Composed(environment, "ha", "gateway1", "node1")
    try:
        for composed, todo in ((single, steps(single)), (ha, ha_steps(ha))):
            _tell(composed, todo)
    finally:
        for image in single.images:
            succeeds(("docker", "image", "rm", image), STEP_S_MAX, environment)


def _tell(composed: Composed, todo: list[tuple[str, Callable[[], object]]]) -> None:
    try:
        _step("build", lambda: composed.compose("build", timeout_s=BUILD_S_MAX))
        for name, action in todo:
            _step(name, action)
    except (Failed, AssertionError):
        print(composed.compose("logs", "--tail", "20"), file=sys.stderr)
        raise
    finally:
        composed.compose("down", "--volumes")


def _holds(composed: Composed, port: int) -> bool:
    """Whether every key reads as it was put; while a partition changes its leader it does not."""
    try:
        composed.check_all(port)
    except Failed:
        return False
    return True


def base_name() -> str:
    """The image that the Dockerfile begins with."""
    found = re.search(r"^ARG BASE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert found is not None, "the Dockerfile names its base"
    return found[1]


def _step(name: str, action: Callable[[], object]) -> None:
    started = time.monotonic()
    action()
    print(f"{time.monotonic() - started:6.1f} s  {name}", flush=True)


def _expect(holds: bool, otherwise: str) -> None:
    if not holds:
        raise Failed(otherwise)


def _compose_command() -> tuple[str, ...]:
    if succeeds(("docker", "compose", "version"), 20):
        return ("docker", "compose")
    need("docker-compose")
    return ("docker-compose",)


def _free_port() -> str:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return str(free.getsockname()[1])


def main() -> int:
    """Returns the exit code."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        _compose_command()
        with running_engine() as environment, base_image(environment, base_name()):
            tell(environment)
    except Missing as missing:
        print(f"compose-test is skipped: {missing}")
        return 0
    except (Failed, AssertionError, subprocess.SubprocessError, OSError) as error:
        print(f"compose-test failed: {error}", file=sys.stderr)
        return 1
    print(f"compose-test passed with {' '.join(_compose_command())}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
