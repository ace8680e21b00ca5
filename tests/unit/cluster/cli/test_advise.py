"""What a shell sees of `advise`: the table, JSON, a plot, and one line where the file or an option is wrong."""

from __future__ import annotations

import json
import random
import sys
from pathlib import Path
from typing import Any

import pytest

from cluster.cli.main import run

LABELS = ["consistent", "hash", "range", "range, grown", "directory", "geo"]


@pytest.fixture
def keys(tmp_path: Path) -> Path:
    numbers = random.Random(1).sample(range(2000), 2000)
    file = tmp_path / "keys.txt"
    file.write_text("".join(f"user{number % 50}/{number:04}\n" for number in numbers))
    return file


def shown(capsys: Any, *arguments: str) -> dict[str, Any]:
    assert run(["advise", *arguments, "--json"]) == 0
    found: dict[str, Any] = json.loads(capsys.readouterr().out)
    return found


def refusal(capsys: Any, *arguments: str) -> tuple[int, str]:
    code = run(["advise", *arguments])
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    return code, captured.err


def test_a_table_has_a_line_for_each_strategy_and_an_advice(keys: Path, capsys: Any) -> None:
    assert run(["advise", str(keys), "--partitions", "16", "--scan", "user1/..user10", "--scan", "user2/.."]) == 0
    out = capsys.readouterr().out
    assert out.startswith("2,000 keys in no order, 2,000 shard keys (largest: 0.1%), 50 tenants (largest: 2.0%)\n")
    lines = [line for line in out.splitlines() if line.startswith(tuple(LABELS)) and ":" not in line]
    assert [line.split("  ")[0] for line in lines] == LABELS
    assert lines[0].split()[-2:] == ["16", "16"]
    assert "scan 1: partitions that user1/..user10 asks\n" in out
    assert "\nChoose " in out


def test_json_has_the_same_figures(keys: Path, capsys: Any) -> None:
    found = shown(capsys, str(keys), "--partitions", "16", "--nodes", "5", "--scan", "user1/..user10")
    assert (found["keys"], found["is_rising"], found["nodes"], found["replicas"]) == (2000, False, 5, 2)
    assert found["tenants"] == {
        "count": 50,
        "largest": {"name": "user" + found["tenants"]["largest"]["name"][4:], "share": 0.02},
    }
    assert [one["strategy"] for one in found["strategies"]] == LABELS
    consistent = found["strategies"][0]
    assert consistent["scans"] == [{"start": "user1/", "end": "user10", "partitions": 16}]
    assert consistent["newcomers_even_share"] == pytest.approx(1 / 6, abs=1e-4)
    assert found["advice"]["strategy"] == "range"


def test_items_of_an_export_are_keys_too(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "items.ndjson"
    file.write_text('{"key":"a/1","value":"x"}\n\n{"key_b64":"/w=="}\n')
    assert shown(capsys, str(file))["tenants"]["count"] == 2


def test_a_key_that_begins_with_a_hash_tag_is_no_item(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(b"{user1}a\r\n{user1}b\n\xff\xfe\n")
    found = shown(capsys, str(file))
    assert (found["keys"], found["shard_keys"]["count"]) == (3, 2)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "it has no keys"),
        (b"\n\n", "it has no keys"),
        (b"a\n" + b"k" * 481 + b"\n", "line 2: a key has at most 480 bytes"),
        (b'{"key":"a"}\nno item\n', "line 2: "),
        (b'{"key":"a"}\n{"key":5}\n', "line 2: no item"),
        (b'{"key":"a"}\n{"key":""}\n', "line 2: a key has at least one byte"),
    ],
)
def test_a_file_without_keys_is_one_line(tmp_path: Path, capsys: Any, content: bytes, says: str) -> None:
    file = tmp_path / "keys.txt"
    file.write_bytes(content)
    code, line = refusal(capsys, str(file))
    assert code == 1
    assert says in line


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--nodes", "0"], "--nodes"),
        (["--nodes", "x"], "--nodes"),
        (["--partitions", "4097"], "--partitions"),
        (["--replicas", "5"], "--replicas"),
        (["--scan", "b..a"], "--scan"),
        (["--scan", "a..a"], "--scan"),
        (["--scan", "a"], "--scan"),
        (["--plot", "/"], "--plot"),
    ],
)
def test_a_bad_option_is_named(keys: Path, capsys: Any, options: list[str], says: str) -> None:
    code, line = refusal(capsys, str(keys), *options)
    assert code == 2
    assert says in line


def test_a_file_that_is_not_there_is_one_line(capsys: Any) -> None:
    assert refusal(capsys, "/nowhere/keys.txt")[0] == 2


def test_a_plot_is_a_picture(keys: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    picture = tmp_path / "out.png"
    scans = [option for number in range(6) for option in ("--scan", f"user{number}/..user{number}0")]
    shown(capsys, str(keys), "--plot", str(picture), *scans)
    assert picture.read_bytes().startswith(b"\x89PNG")
    shown(capsys, str(keys), "--plot", str(picture))


def test_without_matplotlib_a_plot_is_refused_with_the_name_of_the_extra(
    keys: Path, tmp_path: Path, capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in list(sys.modules):
        if name.partition(".")[0] == "matplotlib" or name == "cluster.cli.advise_plot":
            monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    code, line = refusal(capsys, str(keys), "--plot", str(tmp_path / "out.png"))
    assert (code, line) == (1, "kvstore: --plot needs matplotlib: pip install matplotlib\n")


def test_a_folder_that_is_not_there_is_one_line(keys: Path, tmp_path: Path, capsys: Any) -> None:
    pytest.importorskip("matplotlib")
    code, _ = refusal(capsys, str(keys), "--plot", str(tmp_path / "no" / "out.png"))
    assert code == 1
