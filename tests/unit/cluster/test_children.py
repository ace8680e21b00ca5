"""Children: started, started again, stopped, and killed when they do not stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from cluster import children
from cluster.children import Child, ChildFailed

READY = "import os, signal, sys, time; print('ready tcp://h:' + str(os.getpid()), flush=True)\n"
OBEDIENT = READY + "time.sleep(60)"
STUBBORN = "import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + OBEDIENT


def python(code: str) -> Sequence[str]:
    return [sys.executable, "-c", code]


def pid_of(address: str) -> int:
    return int(address.rpartition(":")[2])


def is_alive(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


async def until_changed(child: Child, address: str) -> str:
    async with asyncio.timeout(20):
        while child.address == address:  # noqa: ASYNC110 - a later start is announced to nobody
            await asyncio.sleep(0.01)
    return child.address


async def test_a_child_tells_its_address_and_stops_when_asked() -> None:
    reports: list[str] = []
    child = Child("n1", lambda: python(OBEDIENT), reports.append)
    pid = pid_of(await child.ready())
    assert is_alive(pid)
    await child.stop()
    assert not is_alive(pid)
    assert reports == []


async def test_a_child_that_does_not_stop_is_killed() -> None:
    reports: list[str] = []
    child = Child("n1", lambda: python(STUBBORN), reports.append, stop_s_max=0.2)
    pid = pid_of(await child.ready())
    await child.stop()
    assert not is_alive(pid)
    assert reports == ["n1 did not stop in 0.2 s and is killed"]


async def test_a_child_that_was_killed_is_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    reports: list[str] = []
    child = Child("n1", lambda: python(OBEDIENT), reports.append)
    first = await child.ready()
    os.kill(pid_of(first), signal.SIGKILL)
    second = await until_changed(child, first)
    assert reports == ["n1 was ended by SIGKILL; starting it again in 0.01 s"]
    await child.stop()
    assert not is_alive(pid_of(second))


async def test_a_child_that_ends_before_it_is_ready_is_not_started_again() -> None:
    starts: list[str] = []

    def command() -> Sequence[str]:
        starts.append("started")
        return python("raise SystemExit(3)")

    child = Child("n1", command, starts.append)
    with pytest.raises(ChildFailed, match="n1 ended with exit code 3 before it was ready") as caught:
        await child.ready()
    assert caught.value.returncode == 3
    await child.stop()
    assert starts == ["started"]


async def test_a_child_that_ends_in_order_before_it_is_ready_has_left_and_is_not_started_again() -> None:
    starts: list[str] = []

    def command() -> Sequence[str]:
        starts.append("started")
        return python("pass")

    child = Child("n1", command, starts.append, may_leave=True)
    assert await child.ready() == ""
    await child.stop()
    assert starts == ["started"]


async def test_who_waits_for_a_child_that_may_not_leave_is_told_that_it_did() -> None:
    child = Child("w1", lambda: python("pass"), lambda _report: None)
    with pytest.raises(ChildFailed, match="w1 ended with exit code 0 before it was ready"):
        await child.ready()
    await child.stop()


async def test_a_child_that_may_not_leave_is_started_again_when_it_was_stopped_while_it_started(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    reports: list[str] = []
    commands = [python(OBEDIENT), python("pass"), python(OBEDIENT)]
    child = Child("w1", lambda: commands.pop(0), reports.append)
    first = await child.ready()
    os.kill(pid_of(first), signal.SIGKILL)
    second = await until_changed(child, first)
    assert reports == [
        "w1 was ended by SIGKILL; starting it again in 0.01 s",
        "w1 ended with exit code 0; starting it again in 0.02 s",
    ]
    await child.stop()
    assert not is_alive(pid_of(second))


async def test_a_child_that_leaves_after_it_was_ready_is_started_once_more_only(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    reports: list[str] = []
    mark = tmp_path / "left"
    code = (
        f"import pathlib; mark = pathlib.Path({str(mark)!r}); mark.exists() or print('ready tcp://h:1'); mark.touch()"
    )
    child = Child("n1", lambda: python(code), reports.append, may_leave=True)
    assert await child.ready() == "tcp://h:1"
    async with asyncio.timeout(20):
        await asyncio.wait({child._task})
    assert reports == ["n1 ended with exit code 0; starting it again in 0.01 s"]
    await child.stop()


async def test_a_child_that_wrote_a_very_long_line_is_kept_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    reports: list[str] = []
    commands = [python(f"print('x' * 200_000)\n{READY}print('y' * 200_000)\nsys.exit(3)"), python(OBEDIENT)]
    child = Child("n1", lambda: commands.pop(0), reports.append)
    async with asyncio.timeout(20):
        second = await until_changed(child, await child.ready())
    assert reports == ["n1 ended with exit code 3; starting it again in 0.01 s"]
    await child.stop()
    assert not is_alive(pid_of(second))


async def test_a_child_is_out_of_reach_of_the_terminal() -> None:
    child = Child("n1", lambda: python(OBEDIENT), lambda _report: None)
    assert os.getsid(pid_of(await child.ready())) != os.getsid(0)
    await child.stop()


async def test_stopping_ends_the_pause_before_the_next_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 60.0)
    reported = asyncio.Event()
    child = Child("n1", lambda: python(OBEDIENT), lambda _report: reported.set())
    os.kill(pid_of(await child.ready()), signal.SIGKILL)
    async with asyncio.timeout(20):
        await reported.wait()
        await child.stop()


async def test_a_child_gets_the_files_that_are_passed_to_it_at_each_start(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as passed:
        code = f"import socket; socket.socket(fileno={passed.fileno()}).getsockname()\n{OBEDIENT}"
        child = Child("n1", lambda: python(code), lambda _report: None, pass_fds=[passed.fileno()])
        first = await child.ready()
        os.kill(pid_of(first), signal.SIGKILL)
        await until_changed(child, first)
        await child.stop()


async def test_who_waits_for_a_child_is_told_that_it_cannot_be_started() -> None:
    reports: list[str] = []
    child = Child("n1", lambda: ["/nowhere/python"], reports.append)
    async with asyncio.timeout(20):
        with pytest.raises(ChildFailed, match=r"n1 cannot be started: No such file or directory$") as caught:
            await child.ready()
        await child.stop()
    assert caught.value.returncode == 0
    assert reports == []


async def test_a_child_that_cannot_be_started_again_is_reported_and_tried_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    reports: list[str] = []
    commands = [python(OBEDIENT), ["/nowhere/python"], python(OBEDIENT)]
    child = Child("n1", lambda: commands.pop(0), reports.append)
    first = await child.ready()
    os.kill(pid_of(first), signal.SIGKILL)
    second = await until_changed(child, first)
    assert reports == [
        "n1 was ended by SIGKILL; starting it again in 0.01 s",
        "n1 cannot be started: No such file or directory; starting it again in 0.02 s",
    ]
    await child.stop()
    assert not is_alive(pid_of(second))


async def test_a_child_stops_while_it_cannot_be_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(children, "PAUSE_S_MIN", 0.01)
    failed = asyncio.Event()
    commands = [python(OBEDIENT)]
    child = Child(
        "n1",
        lambda: commands.pop(0) if commands else ["/nowhere/python"],
        lambda report: failed.set() if "cannot be started" in report else None,
    )
    os.kill(pid_of(await child.ready()), signal.SIGKILL)
    async with asyncio.timeout(20):
        await failed.wait()
        await child.stop()
