"""A port takes half of the files at most, and a limit that may be raised is."""

from __future__ import annotations

import resource

import pytest

from kvstore.node.open_files import connections_that_fit
from kvstore.rpc.server import CONNECTIONS_MAX

ALL = resource.RLIM_INFINITY
ENOUGH = 2 * CONNECTIONS_MAX


@pytest.mark.parametrize(
    ("limits", "raised", "connections"),
    [
        ((256, 256), 256, 128),
        ((256, 1000), 1000, 500),
        ((256, 100_000), ENOUGH, CONNECTIONS_MAX),
        ((256, ALL), ENOUGH, CONNECTIONS_MAX),
        ((20_000, 20_000), 20_000, CONNECTIONS_MAX),
        ((ALL, ALL), ALL, CONNECTIONS_MAX),
    ],
)
def test_connections_fit_into_half_of_the_files(
    monkeypatch: pytest.MonkeyPatch, limits: tuple[int, int], raised: int, connections: int
) -> None:
    now = [limits]
    monkeypatch.setattr(resource, "getrlimit", lambda _: now[0])
    monkeypatch.setattr(resource, "setrlimit", lambda _, to: now.__setitem__(0, to))
    assert connections_that_fit() == connections
    assert now == [(raised, limits[1])]
