"""The dict of one client's keys: what answers fit, and which are refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from checkers.dictionary import (
    ABSENT,
    ANY,
    CLOCK_S,
    KEY_ALONE,
    OPEN_S,
    SWEEP_S,
    UNKNOWN,
    Found,
    Held,
    Key,
    Outcome,
    Span,
    Write,
)
from checkers.history import Anomaly

TEXT = "text/plain"


class Story:
    """One key, and a clock that each request moves on by a second."""

    def __init__(self) -> None:
        self.key = Key()
        self.now = 100.0

    def span(self) -> Span:
        self.now += 1.0
        return Span(self.now - 1.0, self.now)

    def later(self, seconds: float) -> Story:
        self.now += seconds
        return self

    def put(
        self, value: bytes, etag: str = "", status: int = 204, condition: str = "", ttl_s: float | None = None
    ) -> Write:
        """A put and what it was told: `status` 0 for nothing."""
        write = Write(Held(value, TEXT), ttl_s, condition)
        self.again(write, etag, status)
        return write

    def delete(self, status: int = 204, condition: str = "") -> Write:
        write = Write(None, None, condition)
        self.again(write, "", status)
        return write

    def again(self, write: Write, etag: str = "", status: int = 204) -> None:
        """The same once more, under its token."""
        self.key.answer(write, Outcome(status, etag) if status else UNKNOWN, self.span())

    def see(self, value: bytes | None, etag: str = "", ttl_s: float | None = None, kind: str = TEXT) -> None:
        self.key.see(None if value is None else Found(value, kind, etag, None, ttl_s), self.span())

    def see_stale(self, value: bytes | None, lag_s: float, etag: str = "") -> None:
        self.key.see_stale(None if value is None else Found(value, TEXT, etag), lag_s, self.span())


def begun() -> Story:
    """The key holds b"1" as version "1"."""
    story = Story()
    story.put(b"1", "1", 201)
    return story


def unknown_put() -> tuple[Story, Write]:
    """It may hold b"2" now, or later."""
    story = begun()
    return story, story.put(b"2", status=0)


def seen_after_unknown(value: bytes, etag: str) -> Story:
    story, _ = unknown_put()
    story.see(value, etag)
    return story


def settled(status: int, etag: str, *, seen: bool = False) -> Story:
    """A put without an outcome that is sent again and told one, after somebody saw it or not."""
    story, write = unknown_put()
    if seen:
        story.see(b"2", "2")
    story.again(write, etag, status)
    return story


ACCEPTED: dict[str, Callable[[], object]] = {
    "what was put is read": lambda: begun().see(b"1", "1"),
    "what was never put is absent": lambda: Story().see(None),
    "overwritten": lambda: (s := begun(), s.put(b"2", "2"), s.see(b"2", "2")),
    "deleted, and created again": lambda: (s := begun(), s.delete(), s.see(None), s.put(b"1", "2", 201)),
    "a condition that holds": lambda: begun().put(b"2", "2", 204, "1"),
    "a condition that does not": lambda: (s := begun(), s.put(b"2", "", 412, ABSENT), s.see(b"1", "1")),
    "a delete of what is there": lambda: begun().delete(204, ANY),
    "an unknown put is not there": lambda: seen_after_unknown(b"1", "1"),
    "an unknown put is there": lambda: seen_after_unknown(b"2", "2"),
    "an unknown put happens late": lambda: seen_after_unknown(b"1", "1").see(b"2", "2"),
    "an unknown put happens after another": lambda: (s := unknown_put()[0], s.put(b"3", "3"), s.see(b"2", "2")),
    "an unknown delete creates": lambda: (s := begun(), s.delete(0), s.put(b"3", "3", 201)),
    "an unknown put on a version that is still there": lambda: (
        s := begun(),
        s.put(b"2", status=0, condition="1"),
        s.see(b"1", "1"),
        s.see(b"2", "2"),
    ),
    "sent again, and applied": lambda: settled(204, "2").see(b"2", "2"),
    "sent again after it was seen": lambda: settled(204, "2", seen=True).see(b"2", "2"),
    "sent again after another one: either is the last": lambda: (
        x := unknown_put(),
        x[0].put(b"3", "3"),
        x[0].again(x[1], "2"),
        x[0].see(b"3", "3"),
    ),
    "sent again after another one was seen, which came later": lambda: (
        x := unknown_put(),
        x[0].put(b"3", status=0),
        x[0].see(b"3", "3"),
        x[0].again(x[1], "2"),
        x[0].see(b"3", "3"),
    ),
    "two are sent again: either is the last": lambda: (
        x := unknown_put(),
        w := x[0].put(b"3", status=0),
        x[0].again(x[1], "2"),
        x[0].again(w, "3"),
        x[0].see(b"2", "2"),
    ),
    "the same outcome again": lambda: (s := Story(), w := s.put(b"1", "1", 201), s.again(w, "1", 201)),
    "there before its time": lambda: (s := Story(), s.put(b"1", "1", 201, ttl_s=9.0), s.see(b"1", "1", 8.0)),
    "gone after its time": lambda: (s := Story(), s.put(b"1", "1", 201, ttl_s=2.0), s.later(5).see(None)),
    "created after its time": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=2.0),
        s.later(5).put(b"2", "2", 201),
    ),
    "near the end of its time either": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=2.0),
        s.see(b"1", "1", 0.5),
        s.see(None),
    ),
    "stale, as it was within the bound": lambda: (s := begun(), s.put(b"2", "2"), s.see_stale(b"1", 3.0, "1")),
    "stale, and new": lambda: (s := begun(), s.put(b"2", "2"), s.see_stale(b"2", 3.0, "2")),
    "stale, before it was": lambda: begun().see_stale(None, 3.0),
    "stale, and not swept yet": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=2.0),
        s.later(3.0).see_stale(b"1", 0.0, "1"),
    ),
}
REFUSED: dict[str, Callable[[], object]] = {
    "lost": lambda: begun().see(None),
    "never put": lambda: Story().see(b"1", "1"),
    "an older value": lambda: (s := begun(), s.put(b"2", "2"), s.see(b"1", "1")),
    "another value": lambda: begun().see(b"x", "1"),
    "another content type": lambda: begun().see(b"1", "1", kind="text/html"),
    "another version": lambda: begun().see(b"1", "2"),
    "back from the dead": lambda: (s := begun(), s.delete(), s.see(b"1", "1")),
    "created where something was": lambda: begun().put(b"2", "2", 201),
    "replaced where nothing was": lambda: Story().put(b"1", "1", 204),
    "a condition that did not hold": lambda: begun().put(b"2", "2", 204, "7"),
    "a condition that held is told to have failed": lambda: begun().put(b"2", "", 412, "1"),
    "a delete of what was absent, if it is there": lambda: Story().delete(204, ANY),
    "a condition that failed, and it was written": lambda: (s := begun(), s.put(b"2", "", 412, ABSENT), s.see(b"2")),
    "a version that comes again": lambda: begun().put(b"2", "1"),
    "a version that comes again after a delete": lambda: (s := begun(), s.delete(), s.put(b"1", "1", 201)),
    "an unknown put happens twice": lambda: (
        s := seen_after_unknown(b"2", "2"),
        s.put(b"3", "3"),
        s.see(b"2", "4"),
    ),
    "an unknown put happens much too late": lambda: (
        s := seen_after_unknown(b"1", "1"),
        s.later(OPEN_S).see(b"1", "1"),
        s.see(b"2", "2"),
    ),
    "an unknown put on a version that is gone": lambda: (
        s := begun(),
        s.put(b"2", status=0, condition="1"),
        s.put(b"3", "3"),
        s.see(b"2", "2"),
    ),
    "seen, and told to have failed": lambda: settled(412, "", seen=True),
    "seen, and told another version": lambda: settled(204, "3", seen=True),
    "told to have failed, and seen": lambda: settled(412, "").see(b"2", "2"),
    "told to be done, and not there": lambda: settled(204, "2").see(b"1", "1"),
    "another outcome again": lambda: (s := Story(), w := s.put(b"1", "1", 201), s.again(w, "2", 204)),
    "gone before its time": lambda: (s := Story(), s.put(b"1", "1", 201, ttl_s=9.0), s.see(None)),
    "there after its time": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=2.0),
        s.later(2.0 + CLOCK_S + 0.1).see(b"1", "1", 0.1),
    ),
    "a time to live that was not asked for": lambda: begun().see(b"1", "1", 5.0),
    "a time to live that is forgotten": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=9.0),
        s.see(b"1", "1"),
    ),
    "too much time left": lambda: (s := Story(), s.put(b"1", "1", 201, ttl_s=9.0), s.see(b"1", "1", 9.9)),
    "stale, and older than the bound": lambda: (
        s := begun(),
        s.put(b"2", "2"),
        s.later(3.0).see_stale(b"1", 2.0, "1"),
    ),
    "stale, and never put": lambda: begun().see_stale(b"2", 50.0, "2"),
    "stale, and gone for too long": lambda: begun().later(3.0).see_stale(None, 2.0),
    "stale, long after its time": lambda: (
        s := Story(),
        s.put(b"1", "1", 201, ttl_s=2.0),
        s.later(2.0 + SWEEP_S + CLOCK_S + 0.1).see_stale(b"1", 0.0, "1"),
    ),
}


@pytest.mark.parametrize("name", ACCEPTED)
def test_what_a_dict_would_answer_is_accepted(name: str) -> None:
    ACCEPTED[name]()


@pytest.mark.parametrize("name", REFUSED)
def test_anything_else_is_refused(name: str) -> None:
    with pytest.raises(Anomaly):
        REFUSED[name]()


def test_a_refusal_is_nothing_to_be_told() -> None:
    story = begun()
    story.key.see(KEY_ALONE, story.span())
    assert str(story.key) == "b'1' text/plain [1]"


def test_what_is_open_may_be_there_or_not() -> None:
    story, _ = unknown_put()
    story.delete()
    span = story.span()
    assert story.key.may_be(True, span)
    assert story.key.may_be(False, span)
    assert not begun().key.may_be(False, span)


def test_what_is_open_may_have_come_and_gone_by_its_time() -> None:
    story = begun()
    story.put(b"2", status=0, ttl_s=1.0)
    story.later(2.0)
    assert story.key.may_be(False, story.span())
    story.see_stale(None, 0.0)
    story.see(None)


def test_a_put_that_came_and_went_unseen_is_still_a_put_when_it_is_told_its_outcome() -> None:
    story = begun()
    write = story.put(b"2", status=0, ttl_s=1.0)
    story.later(2.0).see(None)
    assert write.result == Held(b"2", TEXT)
    story.again(write, "2")
