"""What tests of several kinds share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from etcd.members import Etcd
from hypothesis import HealthCheck, settings
from probe.up import Up

# How long an example takes says how busy the machine is, and nothing of what it shows.
settings.register_profile("kvstore", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("kvstore")


@pytest.fixture
def etcd(tmp_path: Path) -> Iterator[Etcd]:
    """One member, without any data."""
    started = Etcd(tmp_path / "etcd")
    yield started
    started.close()


@pytest.fixture
def start_up(tmp_path: Path) -> Iterator[Callable[..., Up]]:
    """Start `kvstore up`, by default on a directory of this test; whatever is left at the end is killed."""
    started: list[Up] = []

    def start(*arguments: str, data: Path = tmp_path / "data") -> Up:
        started.append(Up(data, *arguments))
        return started[-1]

    yield start
    for up in started:
        if up.is_running:
            up.kill_all()
        up.wait()
