"""The names of tenants in order, while more come."""

from __future__ import annotations

from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway import tenant_names as module
from cluster.gateway.tenant_names import TenantNames

NAMES = st.binary(min_size=1, max_size=2)


@pytest.mark.parametrize("run_max", [module.RUN_MAX, 5, 2])
@given(st.sets(NAMES), st.lists(NAMES, unique=True), st.lists(st.one_of(st.just(b""), NAMES), min_size=1))
def test_all_names_from_any_on_are_walked_in_order(
    run_max: int, begun: set[bytes], added: list[bytes], firsts: list[bytes]
) -> None:
    with patch.object(module, "RUN_MAX", run_max):
        names, known = TenantNames(begun), set(begun)
        for name in added:
            if name not in known:
                names.add(name)
                known.add(name)
        for first in (b"", *firsts):
            assert list(names.onwards(first)) == sorted(name for name in known if name >= first)


def test_many_names_are_in_runs_that_stay_short() -> None:
    names = TenantNames(b"%06d" % number for number in range(10_000))
    for number in range(10_000):
        names.add(b"000500-%06d" % number)
    assert max(map(len, names._runs)) <= module.RUN_MAX
    assert next(names.onwards(b"000500-")) == b"000500-000000"
