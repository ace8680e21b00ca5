"""A long scan goes at full speed alone, and leaves most of the time to others who are served."""

from __future__ import annotations

from cluster.gateway.courtesy import MEMORY_S, PAGE_BYTES, PAGE_BYTES_SHARED, REST_FACTOR, REST_S_MAX, Courtesy


def test_alone_it_never_rests() -> None:
    courtesy = Courtesy(7, 100.0)
    for page in range(5):
        assert courtesy.rest_s(7, 100.0 + page) == 0.0
        assert courtesy.page_bytes == PAGE_BYTES


def test_beside_others_it_asks_for_small_pages_and_rests_longer_than_it_works() -> None:
    courtesy = Courtesy(0, 100.0)
    assert abs(courtesy.rest_s(3, 100.002) - 0.002 * REST_FACTOR) < 1e-9
    assert courtesy.is_shared
    assert courtesy.page_bytes == PAGE_BYTES_SHARED
    courtesy.rested(100.01)
    assert abs(courtesy.rest_s(5, 100.011) - 0.001 * REST_FACTOR) < 1e-9
    courtesy.rested(100.02)
    assert courtesy.rest_s(9, 101.0) == REST_S_MAX


def test_others_are_forgotten_a_while_after_the_last_one() -> None:
    courtesy = Courtesy(0, 100.0)
    courtesy.rest_s(1, 100.001)
    courtesy.rested(100.002)
    assert courtesy.rest_s(1, 100.002 + MEMORY_S / 2) > 0
    courtesy.rested(100.002 + MEMORY_S)
    assert courtesy.rest_s(1, 100.003 + 2 * MEMORY_S) == 0.0
    assert courtesy.page_bytes == PAGE_BYTES
