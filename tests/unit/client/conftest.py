"""Servers for the client to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.clock import Clock
from fakes.gateway import Gateway, serving
from fakes.stored import StoredGateway

from kvstore.client import Client
from kvstore.client.read_cache import ReadCache

CACHE_BYTES = 1024 * 1024


@pytest.fixture
async def gateway() -> AsyncIterator[Gateway]:
    """One that answers what the test tells it."""
    async with serving(Gateway()) as served:
        yield served


@pytest.fixture
async def stored() -> AsyncIterator[StoredGateway]:
    """One with keys."""
    made = StoredGateway()
    async with serving(made):
        yield made


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
async def client(stored: StoredGateway, clock: Clock) -> AsyncIterator[Client]:
    """A client of `stored` with a cache of its own, on a clock that the test sets."""
    async with Client(stored.url, timeout_s=2, cache=ReadCache(CACHE_BYTES, clock=clock)) as made:
        yield made
