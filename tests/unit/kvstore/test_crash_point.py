"""A crash point ends its process at one passing of one step, on the right side of it, and nowhere else."""

from __future__ import annotations

import pytest

from kvstore.crash_point import STEPS, CrashPoint, check_crash_point
from kvstore.settings import NodeSettings


class Ended(BaseException):
    """Where a process would end."""


class Recorded(CrashPoint):
    def crash(self) -> None:
        raise Ended


@pytest.mark.parametrize("text", ["append", "append.before", "append.during:1", "append.before:0", "nothing.before:1"])
def test_what_names_no_point_is_refused(text: str, tmp_path: object) -> None:
    with pytest.raises(ValueError, match="no such crash point"):
        check_crash_point(text)
    with pytest.raises(ValueError, match="no such crash point"):
        NodeSettings(id="n1", data=tmp_path, crash_at=text)


def test_no_point_is_the_rule(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert NodeSettings(id="n1", data=tmp_path).crash_at == check_crash_point("") == ""
    monkeypatch.setenv("KVSTORE_CRASH_AT", "append.after:3")
    assert NodeSettings(id="n1", data=tmp_path).crash_at == "append.after:3"


@pytest.mark.parametrize(("when", "is_done"), [("before", False), ("after", True)])
def test_it_ends_before_or_after_the_step_at_its_number(when: str, is_done: bool) -> None:
    point = Recorded(f"append.{when}:2")
    done = []
    for number, steps in enumerate(({"append"}, {"apply"}, {"append", "apply"})):
        if number < 2:
            with point.around(steps):
                done.append(number)
        else:
            with pytest.raises(Ended), point.around(steps):
                done.append(number)
    assert done == ([0, 1, 2] if is_done else [0, 1])


def test_every_step_can_be_named() -> None:
    assert len(set(STEPS)) == len(STEPS)
    for step in STEPS:
        check_crash_point(f"{step}.after:1")
