"""In what the digests of copies differ.

Guarantees: a copy counts as different exactly if one of its digests is not that of the leader's copy; keys are named
only where the lists of all copies reach that far. Leaves to others: digests (`bucket_digests`), what follows
(`verification`). Sans-IO. PROTOCOL "Verify".
"""

from __future__ import annotations

from collections.abc import Mapping

from kvstore.messages import DifferentKey, Digests
from kvstore.replication.bucket_digests import EXPIRIES, KEY_BUCKETS, LISTED_MAX, OUTCOMES, TXNS

NAMED_KEYS_MAX = 20
_ABSENT = (0, 0, 0)


def different_buckets(mine: Digests, theirs: Digests) -> list[int]:
    """The buckets in which a copy is not like the leader's."""
    if len(mine.digests) != len(theirs.digests):
        return list(range(len(mine.digests)))
    return [bucket for bucket, digest in enumerate(mine.digests) if digest != theirs.digests[bucket]]


def parts_of(buckets: set[int]) -> list[str]:
    """The parts of a copy's state that these buckets are of."""
    parts = {"keys": min(buckets, default=KEY_BUCKETS) < KEY_BUCKETS}
    parts |= {"expiries": EXPIRIES in buckets, "outcomes": OUTCOMES in buckets, "txns": TXNS in buckets}
    return [part for part, is_named in parts.items() if is_named]


def different_keys(digests: Mapping[str, Digests]) -> tuple[list[DifferentKey], bool]:
    """The first keys that are not alike in the lists of these nodes, and whether there may be more."""
    lists = {node: {key: tuple(rest) for key, *rest in one.rows} for node, one in digests.items()}
    cut = [one.rows[-1][0] for one in digests.values() if len(one.rows) >= LISTED_MAX]
    keys: list[DifferentKey] = []
    for key in sorted(set().union(*lists.values())):
        if cut and key > min(cut):
            break
        rows = {node: listed.get(key, _ABSENT) for node, listed in lists.items()}
        if len(set(rows.values())) > 1:
            if len(keys) == NAMED_KEYS_MAX:
                return keys, True
            keys.append(DifferentKey(key, [(node, row[0], row[1]) for node, row in rows.items()]))
    return keys, bool(cut)
