"""Answers as bytes, and errors as answers."""

from __future__ import annotations

import json
import re

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cluster.gateway.answer import Answer, Renderer
from cluster.gateway.metrics import Metrics
from cluster.gateway.problem import problem
from kvstore.errors import BY_CODE, MethodNotAllowed, NoLeader


def rendered(answer: Answer, *, is_head: bool = False, is_http10: bool = False, closes: bool = False) -> str:
    data = Renderer().render(answer, is_head=is_head, is_http10=is_http10, closes=closes)
    return data.decode("latin-1")


def test_an_answer_has_its_length_its_date_and_its_id() -> None:
    head, _, body = rendered(Answer(200, 'ETag: "1"\r\n', b"hello")).partition("\r\n\r\n")
    lines = head.split("\r\n")
    assert lines[0] == "HTTP/1.1 200 OK"
    assert lines[1].startswith("Date: ")
    assert lines[1].endswith(" GMT")
    assert re.fullmatch(r"X-Request-Id: [0-9a-f]{8}-1", lines[2])
    assert lines[3:] == ['ETag: "1"', "Content-Length: 5"]
    assert body == "hello"


def test_no_two_answers_have_the_same_id() -> None:
    renderer = Renderer()
    answers = [renderer.render(Answer(204), is_head=False, is_http10=False, closes=False) for _ in range(20)]
    plain = [renderer.opening() + b"%x\r\n" % next(renderer.numbers) for _ in range(20)]
    assert len({re.findall(rb"X-Request-Id: (\S+)", one)[0] for one in (*answers, *plain)}) == 40


@pytest.mark.parametrize("status", [204, 304])
def test_an_answer_that_has_no_body_has_no_length(status: int) -> None:
    assert "Content-Length" not in rendered(Answer(status))


def test_head_has_the_length_of_get() -> None:
    text = rendered(Answer(200, "", b"hello"), is_head=True)
    assert "Content-Length: 5\r\n" in text
    assert text.endswith("\r\n\r\n")


def test_the_connection_is_told_where_the_default_is_another() -> None:
    assert "Connection" not in rendered(Answer(200))
    assert "Connection: keep-alive\r\n" in rendered(Answer(200), is_http10=True)
    assert "Connection: close\r\n" in rendered(Answer(200), is_http10=True, closes=True)


@pytest.mark.parametrize("code", sorted(set(BY_CODE) - {"method_not_allowed"}))
def test_every_error_is_a_problem_with_its_code(code: str) -> None:
    answer = problem(BY_CODE[code]("why \udcff not"))
    body = json.loads(answer.body)
    assert body["code"] == answer.outcome == code
    assert body["status"] == answer.status == BY_CODE[code].status
    assert ("Retry-After" in answer.headers) == (answer.status in (429, 503))


def test_a_wrong_method_names_the_right_ones() -> None:
    assert "Allow: GET, HEAD\r\n" in problem(MethodNotAllowed(("GET", "HEAD"))).headers
    assert problem(NoLeader(), closes=True).closes


@given(st.lists(st.floats(0, 40), min_size=1, max_size=5))
@example([0.001] * 3)
@example([0.001, 0.0011])
def test_requests_that_are_counted_together_count_as_each_would_alone(seconds: list[float]) -> None:
    together, alone = Metrics(), Metrics()
    together.observe_all("get", "ok", seconds)
    for one in seconds:
        alone.observe("get", "ok", one)
    ((counted,), (expected,)) = together.counts("g").latencies, alone.counts("g").latencies
    assert counted.counts == expected.counts
    assert counted.sum_s == pytest.approx(expected.sum_s)


def test_latencies_are_counted_up_to_their_bound() -> None:
    metrics = Metrics()
    for seconds in (0.0005, 0.0006, 100.0):
        metrics.observe("get", "ok", seconds)
    metrics.add_gauge("kvstore_gateway_connections", "Connections.", lambda: 3)
    text = metrics.render().decode()
    for bound, count in (("0.0005", 1), ("0.001", 2), ("30.0", 2), ("+Inf", 3)):
        assert f'_bucket{{le="{bound}",operation="get",outcome="ok"}} {count}.0' in text
    assert "kvstore_gateway_connections 3.0" in text
