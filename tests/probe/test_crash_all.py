"""The crash probe in short, and its judge."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe import crash_all
from probe.ledger import Ledger, Lost


@pytest.mark.slow
async def test_nothing_acknowledged_is_lost_when_everything_is_killed(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    assert await crash_all.run(rounds=2, seconds=2.0, seed=2, data=tmp_path / "data") == (2, 0)


def ledger_with(*outcomes: tuple[bytes | None, str]) -> Ledger:
    """A ledger in which key `k` was written with these outcomes."""
    ledger = Ledger()
    for value, outcome in outcomes:
        number = ledger.ask("k", value)
        if outcome == "done":
            ledger.done("k", number)
        elif outcome == "refused":
            ledger.refuse("k", number)
    return ledger


@pytest.mark.parametrize("found", [b"1", b"2", None])
def test_an_unknown_write_may_or_may_not_be_there(found: bytes | None) -> None:
    ledger = ledger_with((b"1", "done"), (b"2", "unknown"), (None, "unknown"))
    ledger.check({"k": found})
    assert ledger.live() == ({} if found is None else {"k": found})


@pytest.mark.parametrize(
    ("outcomes", "found"),
    [
        (((b"1", "done"),), None),
        (((b"1", "done"), (b"2", "done")), b"1"),
        (((b"1", "done"), (None, "done")), b"1"),
        (((b"1", "done"), (b"2", "refused")), b"2"),
        (((b"1", "refused"),), b"1"),
        (((b"1", "unknown"),), b"2"),
    ],
)
def test_what_no_client_was_told_is_found_out(
    outcomes: tuple[tuple[bytes | None, str], ...], found: bytes | None
) -> None:
    with pytest.raises(Lost):
        ledger_with(*outcomes).check({"k": found})


def test_what_was_read_once_is_expected_from_then_on() -> None:
    ledger = ledger_with((b"1", "done"), (b"2", "unknown"))
    ledger.check({"k": b"2"})
    with pytest.raises(Lost):
        ledger.check({"k": b"1"})
