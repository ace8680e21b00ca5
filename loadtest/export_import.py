"""An export of one cluster, imported into another: the same keys, values, content types and times to live.

Guarantees: the digests are of what the exports of both clusters say, key by key in order; exports and the import are
done by the command line. Leaves to others: exports that are cut and go on (`tests/integration/up`).
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from own_cluster import cluster

from kvstore.client import SyncClient
from kvstore.errors import KvError, OperatorError

PIECE_RECORDS = 1000
TTL_S = 7200.0
# How far the two times to live of a key may be apart: what passed between the exports.
TTL_TOLERANCE_S = 1800.0
CONTENT_TYPES = ("application/json", "text/plain; charset=utf-8", "image/png")


class _Item(msgspec.Struct):
    content_type: str
    etag: str
    key: str | None = None
    key_b64: str | None = None
    value: str | None = None
    value_b64: str | None = None
    ttl: float | None = None


def records_of(count: int) -> Iterator[bytes]:
    """Lines of all kinds: text and other bytes, several content types, a tenth with a time to live."""
    for first in range(0, count, PIECE_RECORDS):
        numbers = range(first, min(count, first + PIECE_RECORDS))
        yield b"".join(msgspec.json.encode(_record(number)) + b"\n" for number in numbers)


def _record(number: int) -> dict[str, object]:
    digest = hashlib.blake2b(b"%d" % number, digest_size=40).digest()
    record: dict[str, object] = {"key": f"{digest[:4].hex()}/{number:09}", "content_type": CONTENT_TYPES[number % 3]}
    if number % 5:
        record["value"] = digest.hex() + "\n\"é'" + "v" * 15
    else:
        record["value_b64"] = base64.b64encode(b"\xff" + digest * 2).decode()
    if number % 10 == 0:
        record["ttl"] = TTL_S
    return record


def digest_of(path: Path) -> tuple[int, str, list[float]]:
    """How many items an export has, what they are, and the times to live in their order.

    Raises:
        OperatorError: keys are not in order.
    """
    digest, ttls, count, last = hashlib.sha256(), [], 0, ""
    decode = msgspec.json.Decoder(_Item).decode
    with path.open("rb") as lines:
        for line in lines:
            item = decode(line)
            if item.key is None or item.key <= last:
                raise OperatorError(f"{path.name}: {item.key} behind {last}")
            last = item.key
            count += 1
            told = (item.key, item.value, item.value_b64, item.content_type, item.ttl is not None)
            digest.update(msgspec.msgpack.encode(told))
            if item.ttl is not None:
                ttls.append(item.ttl)
    return count, digest.hexdigest(), ttls


def command(*words: str) -> float:
    """Run the command line; the seconds it took. Raises OperatorError where it fails."""
    began_s = time.monotonic()
    done = subprocess.run([sys.executable, "-m", "cluster.cli.main", *words], capture_output=True, text=True)
    if done.returncode:
        raise OperatorError(f"kvstore {words[0]}: {done.stderr.strip()}")
    return time.monotonic() - began_s


def trial(folder: Path, records: int) -> None:
    """Export from one cluster, import into another, export again. Raises OperatorError where they differ."""
    first, second = folder / "first.ndjson", folder / "second.ndjson"
    with cluster(folder / "first") as url:
        with SyncClient(url, timeout_s=60) as client:
            client.import_(records_of(records))
        exported_s = command("export", str(first), "--gateway", url, "--timeout", "600")
    with cluster(folder / "second") as url:
        imported_s = command("import", str(first), "--gateway", url, "--timeout", "600")
        command("export", str(second), "--gateway", url, "--timeout", "600")
    (count, digest, ttls), again = digest_of(first), digest_of(second)
    size_mib = first.stat().st_size / 1024**2
    print(f"exported {count} items, {size_mib:.0f} MiB, in {exported_s:.1f} s ({count / exported_s:.0f}/s)")
    print(f"imported in {imported_s:.1f} s ({count / imported_s:.0f}/s), load average {os.getloadavg()[0]:.2f}")
    print(f"digests {digest[:16]} {again[1][:16]}, {len(ttls)} times to live")
    if count != records or (count, digest) != again[:2]:
        raise OperatorError(f"{records} records stored, {count} exported, {again[0]} after the import; not equal")
    if any(abs(ttl - other) > TTL_TOLERANCE_S or other > ttl for ttl, other in zip(ttls, again[2], strict=True)):
        raise OperatorError("a time to live is not what it was")


def main() -> int:
    """The command: returns 1 when the clusters differ."""
    parser = argparse.ArgumentParser(description="An export of one cluster, imported into another, is the same.")
    parser.add_argument("--records", type=int, default=1_000_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="kvstore-export-") as folder:
        try:
            trial(Path(folder), options.records)
        except (OperatorError, KvError) as error:
            print(f"export_import: {error}", file=sys.stderr)
            return 1
    print("equal")
    return 0


if __name__ == "__main__":
    sys.exit(main())
