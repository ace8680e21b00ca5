"""Keyspaces of every strategy hold the same keys, and none sees another's."""

from __future__ import annotations

from pathlib import Path

import pytest
from probe import isolation


@pytest.mark.slow
async def test_what_is_done_in_one_keyspace_never_shows_in_another(tmp_path: Path) -> None:
    told = await isolation.run(tmp_path, seconds=12.0, seed=9)
    print(told)
