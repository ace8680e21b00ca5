"""Servers for the client to talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from fakes.gateway import Gateway, serving
from fakes.stored import StoredGateway


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
