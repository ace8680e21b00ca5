"""A container engine and the image that everything is built from.

Guarantees: an engine that runs is used as it is; one that is started here has its files in a temporary folder, and its
end leaves the machine's bridges and packet filter as they were. The base image is pulled, or made of the machine's own
package mirror where none can be. Leaves to others: what is built and run (`run`).
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from compose.commands import Failed, Missing, need, run, succeeds

SUITE = "bookworm"
START_S_MAX = 60.0
STOP_S_MAX = 60.0
PULL_S_MAX = 180.0
MAKE_S_MAX = 400.0
TABLES = ("filter", "nat")
FORWARDING = Path("/proc/sys/net/ipv4/ip_forward")
CERTIFICATES = Path("etc/ssl/certs/ca-certificates.crt")


@contextlib.contextmanager
def running_engine() -> Iterator[dict[str, str]]:
    """The environment in which `docker` finds an engine.

    Raises:
        Missing: none runs, and none can be started.
    """
    need("docker")
    if succeeds(("docker", "info"), 20):
        yield {}
        return
    need("dockerd", "containerd", "iptables-save", "ip")
    if os.geteuid() != 0:
        raise Missing("no container engine runs, and only root may start one")
    with (
        tempfile.TemporaryDirectory(prefix="kvstore-engine-") as folder,
        _network_kept(),
        _started(Path(folder)) as host,
    ):
        yield {"DOCKER_HOST": host}


@contextlib.contextmanager
def _started(folder: Path) -> Iterator[str]:
    host = f"unix://{folder}/docker.sock"
    with (folder / "log").open("w+") as log:
        engine = subprocess.Popen(
            [
                *("dockerd", "--host", host, "--pidfile", f"{folder}/pid"),
                *("--data-root", f"{folder}/data", "--exec-root", f"{folder}/exec"),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            deadline = time.monotonic() + START_S_MAX
            while not succeeds(("docker", "info"), 20, {"DOCKER_HOST": host}):
                if engine.poll() is not None or time.monotonic() > deadline:
                    log.seek(0)
                    raise Missing(f"dockerd does not start here: {log.read().strip().splitlines()[-1:]}")
                time.sleep(0.2)
            yield host
        finally:
            engine.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                engine.wait(STOP_S_MAX)
            if engine.poll() is None:
                engine.kill()
            _unmount_below(folder)


def _unmount_below(folder: Path) -> None:
    points = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in sorted((point for point in points if point.startswith(f"{folder}/")), reverse=True):
        run(("umount", "--lazy", point), 20)


@contextlib.contextmanager
def _network_kept() -> Iterator[None]:
    """Undo at the end what an engine does to the machine's network and leaves behind."""
    rules = [run(("iptables-save", "-t", table), 20) for table in TABLES]
    forwarding = FORWARDING.read_text()
    had_bridge = Path("/sys/class/net/docker0").exists()
    try:
        yield
    finally:
        for text in rules:
            run(("iptables-restore",), 20, stdin=text)
        FORWARDING.write_text(forwarding)
        if not had_bridge and Path("/sys/class/net/docker0").exists():
            run(("ip", "link", "delete", "docker0"), 20)


@contextlib.contextmanager
def base_image(environment: dict[str, str], name: str) -> Iterator[None]:
    """Have the engine hold the image `name`; a made one goes at the end, as it is not what its name says.

    Raises:
        Missing: it can neither be pulled nor made.
    """
    if succeeds(("docker", "image", "inspect", name), 20, environment) or succeeds(
        ("docker", "pull", "--quiet", name), PULL_S_MAX, environment
    ):
        yield
        return
    need("debootstrap", "tar", "apt-get")
    if os.geteuid() != 0:
        raise Missing(f"{name} cannot be pulled, and only root may make a base image")
    _make_base(environment, name)
    try:
        yield
    finally:
        run(("docker", "image", "rm", "--force", name), 60, environment)


def _make_base(environment: dict[str, str], name: str) -> None:
    mirror = _mirror()
    packages = "--include=python3,python3-venv,ca-certificates,etcd-server"
    with tempfile.TemporaryDirectory(prefix="kvstore-base-") as folder:
        root, archive = Path(folder, "root"), Path(folder, "root.tar")
        try:
            run(("debootstrap", "--variant=minbase", packages, SUITE, str(root), mirror), MAKE_S_MAX)
        finally:
            _unmount_below(root)
        _take_pip_configuration(root)
        run(("tar", "--directory", str(root), "--create", "--file", str(archive), "."), 120)
        run(("docker", "import", str(archive), name), 120, environment)


def _mirror() -> str:
    """Where this machine gets the packages of that suite."""
    targets = run(
        ("apt-get", "indextargets", "--format", "$(REPO_URI) $(RELEASE) $(COMPONENT)", "Created-By: Packages"), 20
    )
    found = re.search(rf"^(\S+) {SUITE} main$", targets, re.MULTILINE)
    if found is None:
        raise Missing(f"apt knows no mirror of {SUITE} to make a base image from")
    return found[1]


def _take_pip_configuration(root: Path) -> None:
    """Builds in the image reach the package index as this machine does."""
    bundle = Path("/") / CERTIFICATES
    if bundle.exists():
        shutil.copy(bundle, root / CERTIFICATES)
    lines = ["[global]", f"cert = /{CERTIFICATES}"]
    with contextlib.suppress(Failed):
        index = os.environ.get("PIP_INDEX_URL") or run(
            (sys.executable, "-m", "pip", "config", "get", "global.index-url"), 20
        )
        lines.append(f"index-url = {index.strip()}")
    (root / "etc" / "pip.conf").write_text("\n".join([*lines, ""]))
