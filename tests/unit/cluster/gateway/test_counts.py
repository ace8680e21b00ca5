"""Counts of several processes: added up, kept when their process ends, and shown."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from cluster.gateway.counts import (
    PLACES,
    Counts,
    Family,
    Fold,
    GatewayTally,
    Gauge,
    Latencies,
    Sample,
    decode,
    encode,
    together,
)
from cluster.gateway.metrics import Metrics, render_all
from kvstore.codec import CodecError

WORDS = st.sampled_from(("get", "put", "ok", "no_leader"))
NUMBERS = st.integers(0, 2**40)
LATENCIES = st.builds(
    Latencies, WORDS, WORDS, st.lists(NUMBERS, min_size=PLACES, max_size=PLACES).map(tuple), NUMBERS.map(float)
)
GAUGES = st.builds(
    Gauge,
    *(WORDS, WORDS, WORDS),
    st.sampled_from(Fold),
    st.dictionaries(WORDS, NUMBERS.map(float), max_size=2),
)
FAMILIES = st.builds(
    *(Family, WORDS, WORDS, WORDS),
    st.lists(st.builds(Sample, WORDS, st.dictionaries(WORDS, WORDS), NUMBERS.map(float)), max_size=2).map(tuple),
)
COUNTS = st.builds(
    Counts,
    st.lists(LATENCIES, max_size=3, unique_by=lambda one: (one.operation, one.outcome)).map(tuple),
    st.lists(GAUGES, max_size=2, unique_by=lambda gauge: gauge.name).map(tuple),
    st.dictionaries(WORDS, st.lists(FAMILIES, max_size=2).map(tuple), max_size=2),
)


def served(*seconds: float, open_connections: float = 0.0, lag_s: float = 0.0) -> Metrics:
    """A process that answered GETs, each in so many seconds."""
    metrics = Metrics()
    for one in seconds:
        metrics.observe("get", "ok", one)
    metrics.add_gauge("connections", "Open.", lambda: open_connections)
    metrics.add_gauge("lag_seconds", "Worst.", lambda: lag_s, Fold.GREATEST)
    return metrics


def shown(text: bytes) -> dict[str, float]:
    """Samples by their name and labels, as in the text."""
    return {
        f"{one.name}{sorted(one.labels.items())}": one.value
        for family in text_string_to_metric_families(text.decode())
        for one in family.samples
        # Of prometheus_client itself, and of the moment.
        if not one.name.startswith(("process_", "python_"))
    }


@given(COUNTS)
def test_counts_arrive_as_they_were(counts: Counts) -> None:
    assert decode(encode(counts)) == counts


@given(st.binary(max_size=40))
def test_other_bytes_are_refused(data: bytes) -> None:
    try:
        assert isinstance(decode(data), Counts)
    except CodecError:
        assert data != encode(Counts())


def test_latencies_by_other_bounds_are_refused() -> None:
    with pytest.raises(CodecError):
        decode(encode(Counts((Latencies("get", "ok", (1, 2), 0.1),))))


@given(st.lists(COUNTS, max_size=4))
def test_no_request_is_lost_in_the_sum(told: list[Counts]) -> None:
    whole = together(told)
    assert sum(sum(one.counts) for one in whole.latencies) == sum(
        sum(one.counts) for counts in told for one in counts.latencies
    )
    assert len({(one.operation, one.outcome) for one in whole.latencies}) == len(whole.latencies)


def test_gauges_add_up_or_are_the_greatest() -> None:
    one, two = served(open_connections=3, lag_s=0.5), served(open_connections=4, lag_s=0.25)
    whole = together((one.counts("1"), two.counts("2")))
    assert {gauge.name: gauge.values for gauge in whole.gauges} == {"connections": {"": 7.0}, "lag_seconds": {"": 0.5}}


def test_a_gauge_by_label_is_folded_label_by_label() -> None:
    one = Gauge("open", "Open.", "node", Fold.GREATEST, {"n1": 0.0, "n2": 1.0})
    two = Gauge("open", "Open.", "node", Fold.GREATEST, {"n1": 1.0, "n3": 0.0})
    assert together((Counts((), (one,)), Counts((), (two,)))).gauges[0].values == {"n1": 1.0, "n2": 1.0, "n3": 0.0}


def test_what_one_process_counted_is_shown_as_if_it_were_alone() -> None:
    metrics = served(0.001, 0.2, 100.0, open_connections=3, lag_s=0.1)
    assert shown(render_all(decode(encode(metrics.counts("1"))))) == shown(metrics.render())


def test_what_processes_tell_of_themselves_stays_apart() -> None:
    text = render_all(together((served().counts("1"), served().counts("2")))).decode()
    for worker in ("1", "2"):
        assert f'process_cpu_seconds_total{{worker="{worker}"}}' in text
        assert f'process_resident_memory_bytes{{worker="{worker}"}}' in text
    assert text.count("# TYPE process_cpu_seconds_total counter") == 1


def test_the_newest_word_of_a_worker_counts_and_its_last_one_when_it_has_ended() -> None:
    tally = GatewayTally(lambda: served(lag_s=0.75).counts("control"))
    tally.take("1", encode(served(0.1, open_connections=1).counts("1")))
    tally.take("1", encode(served(0.1, 0.1, open_connections=2).counts("1")))
    tally.take("2", encode(served(0.1, open_connections=4).counts("2")))
    assert requests(tally) == 3
    tally.lose("1")
    tally.lose("3")
    after = decode(tally.total())
    assert requests(tally) == 3
    assert {gauge.name: gauge.values[""] for gauge in after.gauges} == {"connections": 4.0, "lag_seconds": 0.75}
    assert set(after.processes) == {"2", "control"}
    tally.take("1", encode(served(0.1).counts("1")))
    assert requests(tally) == 4
    tally.lose("1")
    assert requests(tally) == 4


def requests(tally: GatewayTally) -> int:
    return sum(sum(one.counts) for one in decode(tally.total()).latencies)
