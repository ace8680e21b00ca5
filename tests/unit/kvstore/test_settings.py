"""A node's settings: values in range, consistent with each other, and from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from kvstore.settings import MIB, NodeSettings

LEAST: dict[str, Any] = {"id": "n1", "data": Path("/nowhere")}


def test_an_id_and_a_folder_are_enough() -> None:
    settings = NodeSettings(**LEAST)
    assert settings.listen == "127.0.0.1:0"
    assert not settings.insecure_bind


@pytest.mark.parametrize("missing", ["id", "data"])
def test_what_has_no_default_must_be_given(missing: str) -> None:
    with pytest.raises(ValidationError, match=missing):
        NodeSettings(**{name: value for name, value in LEAST.items() if name != missing})


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("id", ""),
        ("id", "a b"),
        ("id", "a/b"),
        ("id", "n\n1"),
        ("id", "ñ"),
        ("id", "x" * 65),
        ("weight", 0),
        ("weight", -1),
        ("weight", 1001),
        ("weight", float("nan")),
        ("map_size_bytes", 8 * MIB - 1),
        ("log_retention_s", 0),
        ("log_retention_bytes", 1),
        ("pending_bytes_max", 32 * MIB - 1),
        ("switch_interval_s", 1),
        ("tick_s", 0),
        ("report_s", 11),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ValidationError, match=name):
        NodeSettings(**{**LEAST, name: value})


def test_a_report_is_not_due_more_often_than_time_is_told() -> None:
    NodeSettings(**LEAST, tick_s=0.2, report_s=0.2)
    with pytest.raises(ValidationError, match="tick_s"):
        NodeSettings(**LEAST, tick_s=0.3, report_s=0.2)


def test_settings_come_from_the_environment_and_arguments_win(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "KVSTORE_ID": "n9",
        "KVSTORE_DATA": "/nowhere",
        "KVSTORE_ZONE": "z",
        "KVSTORE_WEIGHT": "2",
    }.items():
        monkeypatch.setenv(name, value)
    settings = NodeSettings(zone="argument")  # type: ignore[call-arg]
    assert (settings.id, settings.data, settings.zone, settings.weight) == ("n9", Path("/nowhere"), "argument", 2.0)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        NodeSettings(**LEAST).zone = "other"
