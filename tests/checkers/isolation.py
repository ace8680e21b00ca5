"""Whether keyspaces that hold the same keys stay apart: each value begins with the name of the keyspace it was put in.

Guarantees: what one client alone wrote to a keyspace is what any answer of it holds, all of it and nothing else; what
comes from another keyspace is told by its name. Leaves to others: asking one thing at a time. Pure.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from checkers.history import Anomaly

MARK = "|"
BRIEF = 40


def value_in(keyspace: str, number: int) -> str:
    """A value that tells where it was put."""
    return f"{keyspace}{MARK}{number}"


def check_items(keyspace: str, held: Mapping[str, str], items: Iterable[tuple[str, str]], what: str) -> None:
    """Items as they came of a range, in which `held` are all keys; raises `Anomaly`."""
    found = list(items)
    for key, value in found:
        check_value(keyspace, key, held.get(key), value, what)
    keys = [key for key, _ in found]
    if keys != sorted(held):
        missing, doubled = sorted(set(held) - set(keys)), len(keys) - len(set(keys))
        raise Anomaly(f"{what} in {keyspace!r}: {missing[:5]} are missing, {doubled} come twice, or the order is wrong")


def check_value(keyspace: str, key: str, held: str | None, found: str | None, what: str) -> None:
    """What one key holds; raises `Anomaly`."""
    if found == held:
        return
    home = keyspace if found is None else found.partition(MARK)[0]
    foreign = "" if home == keyspace else f", which was put in {home!r}"
    raise Anomaly(f"{what} in {keyspace!r}: {key} holds {_brief(found)}{foreign}; {_brief(held)} is right")


def check_count(keyspace: str, held: Mapping[str, str], count: int, what: str) -> None:
    """How many keys there are; raises `Anomaly`."""
    if count != len(held):
        raise Anomaly(f"{what} in {keyspace!r}: {count}, and {len(held)} are there")


def _brief(value: str | None) -> str:
    return "nothing" if value is None else repr(value[:BRIEF])
