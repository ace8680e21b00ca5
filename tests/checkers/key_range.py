"""Scans of the keys that one client alone writes, page by page, against what each key may hold (`dictionary`).

Guarantees: a page has every key of its part of the range that surely is there, none that surely is not, each once, in
order, with what it holds; the last page says so only where nothing more can be. Leaves to others: asking. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from checkers.dictionary import Found, Key, Span, brief
from checkers.history import Anomaly


@dataclass(frozen=True, slots=True)
class KeyRange:
    """`start` is in it, `end` is not; all that is given has to hold. `after`: a scan has come as far as this key."""

    start: bytes = b""
    end: bytes | None = None
    prefix: bytes = b""
    is_reverse: bool = False
    after: bytes | None = None

    def __contains__(self, key: bytes) -> bool:
        is_left = self.after is None or (key < self.after if self.is_reverse else key > self.after)
        return is_left and key >= self.start and (self.end is None or key < self.end) and key.startswith(self.prefix)

    def of(self, keys: Mapping[bytes, Key]) -> list[bytes]:
        """Those of the keys that are in it, in the order of the scan."""
        return sorted((key for key in keys if key in self), reverse=self.is_reverse)


def judge_page(
    keys: Mapping[bytes, Key],
    within: KeyRange,
    items: Sequence[tuple[bytes, Found]],
    span: Span,
    *,
    is_last: bool,
) -> KeyRange:
    """One page of a scan; returns what is left of the range after it.

    Args:
        is_last: whether it says that nothing is left.

    Raises:
        Anomaly: it is no such page.
    """
    left = within.of(keys)
    for position, (key, found) in enumerate(items):
        if key not in left:
            told = "comes twice" if key in [earlier for earlier, _ in items[:position]] else "is not to be there"
            raise Anomaly(f"item {position}: {brief(key)} {told}; left are {len(left)} keys of {within}")
        place = left.index(key)
        _pass_over(keys, left[:place], span)
        _see(keys[key], key, found, span)
        left = left[place + 1 :]
        within = replace(within, after=key)
    if is_last:
        _pass_over(keys, left, span)
    return within


def judge_count(keys: Mapping[bytes, Key], within: KeyRange, count: int, span: Span) -> None:
    """A count of the range; raises `Anomaly`."""
    asked = within.of(keys)
    surely = [key for key in asked if not keys[key].may_be(False, span)]
    perhaps = [key for key in asked if key not in surely and keys[key].may_be(True, span)]
    if not len(surely) <= count <= len(surely) + len(perhaps):
        raise Anomaly(f"{count} keys in {within}; there are {_listed(surely)}, perhaps {_listed(perhaps)}")


def _listed(keys: Sequence[bytes]) -> str:
    return f"{len(keys)} ({', '.join(map(brief, keys))})"


def _pass_over(keys: Mapping[bytes, Key], passed: Sequence[bytes], span: Span) -> None:
    for key in passed:
        _see(keys[key], key, None, span)


def _see(held: Key, key: bytes, found: Found | None, span: Span) -> None:
    try:
        held.see(found, span)
    except Anomaly as anomaly:
        raise Anomaly(f"{brief(key)}: {anomaly}") from None
