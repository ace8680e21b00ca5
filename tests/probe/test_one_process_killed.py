"""One process of a cluster is killed again and again under a write load, and started again by `up`."""

from __future__ import annotations

import asyncio
import itertools
import os
import signal
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from probe.processes import wait_until
from probe.up import Up

from kvstore.client import Client
from kvstore.errors import KeyNotFound, KvError, OutcomeUnknown

WRITERS = 8
KILLS = 3
# Less than the writers wait, so that they are told what was refused.
REQUEST_TIMEOUT_S = "0.2"


@dataclass
class History:
    """Keys by what their only write was answered with."""

    done: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    unknown: list[str] = field(default_factory=list)


async def write_until(stop: asyncio.Event, client: Client, history: History, names: itertools.count[int]) -> None:
    while not stop.is_set():
        key = f"k{next(names)}"
        try:
            await client.put(key, key.encode())
        except OutcomeUnknown:
            history.unknown.append(key)
        except KvError:
            history.refused.append(key)
        else:
            history.done.append(key)


async def load_with_kills(up: Up, victim: str) -> History:
    history, stop, names = History(), asyncio.Event(), itertools.count()
    async with Client(up.url, timeout_s=0.5) as client, asyncio.TaskGroup() as group:
        for _ in range(WRITERS):
            group.create_task(write_until(stop, client, history, names))
        for _ in range(KILLS):
            done = len(history.done)
            pid = up.members()[victim]
            os.kill(pid, signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda pid=pid: up.members().get(victim, pid) != pid)
            await asyncio.to_thread(wait_until, lambda done=done: len(history.done) >= done + 500)
        stop.set()
    return history


async def is_there(client: Client, key: str) -> bool:
    try:
        return (await client.get(key)).data == key.encode()
    except KeyNotFound:
        return False


@pytest.mark.slow
@pytest.mark.parametrize("victim", ["n1", "gateway"])
async def test_what_was_acknowledged_is_there_and_what_was_refused_is_not(
    start_up: Callable[..., Up], victim: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KVSTORE_REQUEST_TIMEOUT_S", REQUEST_TIMEOUT_S)
    up = await asyncio.to_thread(start_up().wait_ready)
    history = await load_with_kills(up, victim)
    assert history.done
    assert history.refused
    async with Client(up.url, timeout_s=30) as client:
        assert not [key for key in history.done if not await is_there(client, key)]
        assert not [key for key in history.refused if await is_there(client, key)]
