"""What may be read back by what a client was told."""

from __future__ import annotations

import pytest
from probe.ledger import Ledger, Lost


@pytest.fixture
def ledger() -> Ledger:
    """A key whose first write was acknowledged."""
    kept = Ledger()
    kept.done("k", kept.ask("k", b"1"))
    return kept


def test_what_was_acknowledged_last_is_expected(ledger: Ledger) -> None:
    ledger.refuse("k", ledger.ask("k", b"2"))
    ledger.check({"k": b"1"})
    assert not ledger.has_unknown("k")


@pytest.mark.parametrize("found", [b"1", b"2"])
def test_an_unknown_write_may_be_there_or_not(ledger: Ledger, found: bytes) -> None:
    ledger.ask("k", b"2")
    assert ledger.has_unknown("k")
    ledger.check({"k": found})


@pytest.mark.parametrize("found", [None, b"2", b"3"])
def test_a_lost_or_refused_value_is_told(ledger: Ledger, found: bytes | None) -> None:
    ledger.refuse("k", ledger.ask("k", b"2"))
    with pytest.raises(Lost):
        ledger.check({"k": found})
