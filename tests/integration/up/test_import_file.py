"""`import FILE` on a whole cluster: every record comes out as it went in, and a bad line stops it where it stands."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from probe.up import Up, kvstore

from kvstore.client import Get, SyncClient, Value

RECORDS = 5_000
READ_OPS = 500


def test_a_file_of_records_is_imported_up_to_its_first_bad_line(start_up: Callable[..., Up], tmp_path: Path) -> None:
    url = start_up().wait_ready().url
    records = {f"record/{number}": f"value {number}" for number in range(RECORDS)}
    lines = [json.dumps({"key": key, "value": value}) for key, value in records.items()]
    file = tmp_path / "records.ndjson"
    file.write_text("\n".join([*lines, '{"key":"bad"}', '{"key":"after","value":"1"}']))
    done = kvstore("import", str(file), "--gateway", url)
    assert done.returncode == 2
    assert done.stdout.decode() == f"imported {RECORDS} records\n"
    assert f"line {RECORDS + 1}: " in done.stderr.decode()
    assert done.stderr.decode().endswith(': {"key":"bad"}\n')
    with SyncClient(url, timeout_s=30) as client:
        keys = [*records, "after"]
        for first in range(0, len(keys), READ_OPS):
            part = keys[first : first + READ_OPS]
            for key, outcome in zip(part, client.batch([Get(key) for key in part]), strict=True):
                assert (outcome.data.decode() if isinstance(outcome, Value) else None) == records.get(key)
