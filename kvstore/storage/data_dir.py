"""The folder that one process owns.

Guarantees: one process at a time, by an advisory lock that ends with the process; a filesystem on which a memory map
or a lock cannot be trusted is refused. Leaves to others: what stands in the folder.
"""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from kvstore.errors import OperatorError

UNSAFE_FILESYSTEMS = frozenset({"nfs", "nfs4", "cifs", "smb3", "9p", "fuse.sshfs"})


class DataDir:
    """Owns `path` (made where it is missing) until `close`.

    Raises:
        OperatorError: another process owns it, it cannot be written, or its filesystem is not safe.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.mkdir(parents=True, exist_ok=True)
            self._lock = os.open(path / "LOCK", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise OperatorError(f"cannot use the data directory {path}: {error.strerror or error}") from error
        kind = filesystem_of(path)
        if kind in UNSAFE_FILESYSTEMS:
            os.close(self._lock)
            raise OperatorError(f"the data directory {path} is on {kind}; use a local disk")
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(self._lock)
            raise OperatorError(f"the data directory {path} is in use by another process") from error

    def close(self) -> None:
        """Give the folder up."""
        os.close(self._lock)


def filesystem_of(path: Path) -> str:
    """The kind of filesystem that holds `path`, as the kernel names it; empty where it does not tell."""
    best, kind = "", ""
    real = str(path.resolve())
    try:
        mounts = Path("/proc/self/mounts").read_text()
    except OSError:
        return ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        point = fields[1].replace("\\040", " ")
        inside = real == point or real.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, fields[2]
    return kind
