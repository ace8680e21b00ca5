"""What a client may ask next, drawn from any source of chance, and written so that a person can read it.

Guarantees: a step names nothing that only a running cluster knows: versions, tokens and cursors are meant by words,
keys by their numbers, so the same steps can be taken again. Leaves to others: asking (`machine`).

Keys lie close together on purpose: few, so that steps meet, prefixes of each other, and with every byte that somebody
on the way might take for something else.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

KEY_BYTES_MAX = 480
# Appended to a client's own prefix; the numbers of keys are places in this list. One that ends in LONG is as long as
# a key may be.
LONG = b"*"
ENDINGS = (
    *(b"a", b"", b"/", b"//", b"a/", b"a/b", b"a/../b", b".", b"..", b"./a", b"A"),
    *(b"%", b"%2F", b"+", b" ", b"?", b"#", b"&=;", b"\x00", b"a\x00", b"\x7f", b"\xff", b"\xff\xfe"),
    *(b"{t}a", b"{t}b", b"{}", b"}{", "é\u202e".encode(), b"z" + LONG, b"\xff" + LONG),
)
CONTENT_TYPES = ("application/octet-stream", "text/plain", "text/plain; charset=utf-8", "a/b")
CONDITIONS = ("", "absent", "any", "now", "old", "other")
CONSISTENCIES = ("strong", "quorum", "stale", "stale, 0.5 s")
READ_CONDITIONS = ("", "match now", "match old", "none match now", "none match old")
FORMS = ("json", "msgpack")
TTLS_S = (0.1, 1.0, 30.0, 3600.0)
BATCH_OPS_MAX = 6
IMPORT_ITEMS = (1, 4, 8, 40)
WAITS_S = (0.05, 0.45)


T = TypeVar("T")


class Chance(Protocol):
    """What is needed of `random.Random`."""

    def randrange(self, stop: int, /) -> int: ...
    def choice(self, seq: Sequence[T], /) -> T: ...


@dataclass(frozen=True, slots=True)
class Put:
    key: int
    value: bytes
    content_type: str = CONTENT_TYPES[0]
    ttl_s: float | None = None
    condition: str = ""
    has_token: bool = False


@dataclass(frozen=True, slots=True)
class Delete:
    key: int
    condition: str = ""
    has_token: bool = False


@dataclass(frozen=True, slots=True)
class Get:
    key: int
    consistency: str = CONSISTENCIES[0]
    condition: str = ""
    is_head: bool = False


Op = Put | Delete | Get


@dataclass(frozen=True, slots=True)
class Batch:
    ops: tuple[Op, ...]
    form: str = "json"
    answer_form: str = ""
    has_token: bool = False


@dataclass(frozen=True, slots=True)
class Import:
    """`bad_at`: the place of a line that is none."""

    items: tuple[Put, ...]
    form: str = "json"
    bad_at: int | None = None


@dataclass(frozen=True, slots=True)
class Resend:
    """A request that had a token, counted from the latest, once more."""

    back: int = 0


@dataclass(frozen=True, slots=True)
class Reuse:
    """The token of such a request with another one."""

    back: int = 0


@dataclass(frozen=True, slots=True)
class Wait:
    """A moment, where the time of a key is about to be over."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Range:
    """Keys from `start` to `end` that begin as the key of `prefix` does, without its last `cut` bytes; None where that
    is not given. Nobody else's keys are in it in any case."""

    start: int | None = None
    end: int | None = None
    prefix: int | None = None
    cut: int = 0


@dataclass(frozen=True, slots=True)
class Page:
    range: Range
    limit: int | None = None
    is_reverse: bool = False
    keys_only: bool = False
    form: str = "json"


@dataclass(frozen=True, slots=True)
class Next:
    """The next page of the last scan by pages."""

    limit: int | None = None
    keys_only: bool = False
    form: str = "json"


@dataclass(frozen=True, slots=True)
class Walk:
    """A scan by pages to its end."""

    first: Page


@dataclass(frozen=True, slots=True)
class Stream:
    range: Range
    limit: int | None = None
    is_reverse: bool = False
    keys_only: bool = False


@dataclass(frozen=True, slots=True)
class Count:
    range: Range


@dataclass(frozen=True, slots=True)
class Remove:
    range: Range


Step = Put | Delete | Get | Batch | Import | Resend | Reuse | Wait | Page | Next | Walk | Stream | Count | Remove


def put(rng: Chance) -> Put:
    """Any put."""
    return Put(_key(rng), _value(rng), _content_type(rng), _ttl_s(rng), _condition(rng), _has_token(rng))


def delete(rng: Chance) -> Delete:
    """Any delete."""
    return Delete(_key(rng), _condition(rng), _has_token(rng))


def get(rng: Chance) -> Get:
    """Any read of one key."""
    condition = rng.choice(READ_CONDITIONS) if rng.randrange(4) == 3 else ""
    return Get(_key(rng), rng.choice(CONSISTENCIES), condition, rng.randrange(4) == 3)


def batch(rng: Chance) -> Batch:
    """Any batch; its keys meet more often than those of single requests."""
    few = [_key(rng) for _ in range(1 + rng.randrange(3))]
    ops = tuple(_batch_op(rng, rng.choice(few)) for _ in range(1 + rng.randrange(BATCH_OPS_MAX)))
    return Batch(ops, rng.choice(FORMS), rng.choice(("", *FORMS)), _has_token(rng))


def import_(rng: Chance) -> Import:
    """Any import, one in eight with a bad line; the longest write most keys, so that there is something to scan."""
    count = rng.choice(IMPORT_ITEMS)
    few = [_key(rng) for _ in range(count)]
    items = tuple(Put(rng.choice(few), _value(rng), _content_type(rng), _ttl_s(rng)) for _ in range(count))
    return Import(items, rng.choice(FORMS), rng.randrange(count) if rng.randrange(8) == 7 else None)


def resend(rng: Chance) -> Resend:
    """One of the latest requests with a token."""
    return Resend(rng.randrange(6))


def reuse(rng: Chance) -> Reuse:
    """The token of one of them."""
    return Reuse(rng.randrange(6))


def wait(rng: Chance) -> Wait:
    """A moment."""
    return Wait(rng.choice(WAITS_S))


def page(rng: Chance) -> Page:
    """The first page of a scan."""
    return Page(_range(rng), _limit(rng), _is(rng), _is(rng), rng.choice(FORMS))


def walk(rng: Chance) -> Walk:
    """A scan of small pages."""
    return Walk(Page(_range(rng), rng.choice((1, 2, 3, 7)), _is(rng), _is(rng), rng.choice(FORMS)))


def next_page(rng: Chance) -> Next:
    """Another page."""
    return Next(_limit(rng), _is(rng), rng.choice(FORMS))


def stream(rng: Chance) -> Stream:
    """A scan of lines."""
    return Stream(_range(rng), _limit(rng), _is(rng), _is(rng))


def count(rng: Chance) -> Count:
    """A count."""
    return Count(_range(rng))


def remove(rng: Chance) -> Remove:
    """A removal, of few keys in most cases."""
    start = _key(rng)
    return Remove(Range(start, _key(rng)) if _is(rng) else Range(prefix=start))


def _batch_op(rng: Chance, key: int) -> Op:
    kind = rng.randrange(4)
    if kind < 2:
        return Put(key, _value(rng), _content_type(rng), _ttl_s(rng), _condition(rng))
    return Get(key) if kind == 2 else Delete(key, _condition(rng))


def _key(rng: Chance) -> int:
    # Half of all steps are about a few keys.
    return rng.randrange(6 if rng.randrange(2) else len(ENDINGS))


def _value(rng: Chance) -> bytes:
    kind = rng.randrange(8)
    if kind < 5:
        return str(rng.randrange(100)).encode()
    if kind < 7:
        return bytes(rng.randrange(256) for _ in range(rng.randrange(8)))
    return b"%d." % rng.randrange(10) * rng.choice((100, 5_000))


def _content_type(rng: Chance) -> str:
    return rng.choice(CONTENT_TYPES)


def _ttl_s(rng: Chance) -> float | None:
    return rng.choice(TTLS_S) if rng.randrange(4) == 3 else None


def _condition(rng: Chance) -> str:
    return rng.choice(CONDITIONS) if rng.randrange(3) == 2 else ""


def _has_token(rng: Chance) -> bool:
    return rng.randrange(4) == 3


def _range(rng: Chance) -> Range:
    start, end, prefix = (_key(rng) if rng.randrange(4) == 3 else None for _ in range(3))
    return Range(start, end, prefix, 0 if prefix is None else rng.randrange(3))


def _limit(rng: Chance) -> int | None:
    return rng.choice((None, None, 1, 2, 3, 7, 10_000))


def _is(rng: Chance) -> bool:
    return rng.randrange(3) == 2


KINDS: dict[str, Callable[[Chance], Step]] = {
    "put": put,
    "get": get,
    "delete": delete,
    "batch": batch,
    "import": import_,
    "resend": resend,
    "reuse": reuse,
    "wait": wait,
    "page": page,
    "next": next_page,
    "walk": walk,
    "stream": stream,
    "count": count,
    "remove": remove,
}


def any_of(rng: Chance, weights: Mapping[str, int]) -> Step:
    """A step of one of these kinds, as often as its weight says."""
    return KINDS[rng.choice([kind for kind, weight in weights.items() for _ in range(weight)])](rng)
