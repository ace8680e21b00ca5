"""What the figures were measured on: processor, memory, kernel, disk, versions of the programs, commit.

Guarantees: what cannot be found out says so and stops nothing. Leaves to others: figures.
"""

from __future__ import annotations

import os
import platform
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).parents[2]
UNKNOWN = "unknown"


def machine(data: Path) -> dict[str, str]:
    """What it is; `data` is where the systems have their files."""
    total_kib = int(field_of(Path("/proc/meminfo").read_text(), "MemTotal").partition(" ")[0] or 0)
    return {
        "CPU": field_of(Path("/proc/cpuinfo").read_text(), "model name") or UNKNOWN,
        "cores": str(os.cpu_count()),
        "CPUs used": ",".join(map(str, sorted(os.sched_getaffinity(0)))),
        "memory": f"{total_kib / (1 << 20):.1f} GiB",
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", UNKNOWN),
        "disk": disk_of(data),
    }


def field_of(text: str, name: str) -> str:
    """The first value of `name` in lines like those of /proc/cpuinfo; empty where there is none."""
    for line in text.splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def disk_of(path: Path) -> str:
    """File system, device and free space below a path."""
    words = _output("df", "--output=fstype,source,avail", "-h", str(path)).splitlines()[-1:]
    return " ".join(words[0].split()) + " free" if words else UNKNOWN


def versions(packages: Iterable[str]) -> dict[str, str]:
    """Those of Python, and of packages of Debian."""
    found = {"python": platform.python_version()}
    for package in packages:
        found[package] = _output("dpkg-query", "--show", "--showformat=${Version}", package) or "not from a package"
    return found


def commit() -> str:
    """The commit that is measured, and whether the tree differs from it."""
    head = _output("git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD") or UNKNOWN
    changed = _output(
        "git", "-C", str(ROOT), "status", "--porcelain", "--untracked-files=no", "--", "kvstore", "cluster"
    )
    return f"{head}, changed" if changed else head


def _output(*command: str) -> str:
    try:
        result = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return ""
    return result.stdout.strip() if result.returncode == 0 else ""
