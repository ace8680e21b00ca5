"""Strict parsing of parameters and header fields."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cluster.gateway.conditions import (
    check_content_type,
    parse_etags,
    parse_max_stale_ms,
    parse_query,
    parse_ttl_ms,
)
from kvstore.errors import BadParameter, BadRequest


def test_parameters_are_decoded_once() -> None:
    assert parse_query("a=%2525&b=x+y&c", ("a", "b", "c")) == {"a": "%25", "b": "x+y", "c": ""}
    assert parse_query("", ()) == {}


@pytest.mark.parametrize("query", ["x=1", "a=1&a=1", "a=1&", "&", "a=%", "a=%f", "a=%ff", "a=é", "%61=1&a=2"])
def test_what_is_unknown_doubled_or_unclean_is_refused(query: str) -> None:
    with pytest.raises(BadParameter):
        parse_query(query, ("a",))


@given(text=st.text(max_size=30))
def test_a_ttl_is_a_positive_number_or_refused(text: str) -> None:
    try:
        ttl_ms = parse_ttl_ms(text)
    except BadParameter:
        return
    assert ttl_ms >= 1
    assert text.isascii()
    assert abs(ttl_ms - float(text) * 1000) <= 1


@pytest.mark.parametrize(
    ("text", "ttl_ms"),
    [
        ("0.30000000000000004", 300),
        ("59.999999999999996", 60_000),
        ("0000000001", 1000),
        ("315576000.000000000000", 315_576_000_000),
        ("0" * 5000 + "2." + "5" * 1000, 2556),
        ("0.0000000000000000001", 1),
    ],
)
def test_a_number_of_seconds_has_any_number_of_digits(text: str, ttl_ms: int) -> None:
    assert parse_ttl_ms(text) == ttl_ms
    assert 0 <= ttl_ms - parse_max_stale_ms(text) <= 1


@pytest.mark.parametrize("text", ["9" * 5000, "315576000.1", "0." + "0" * 5000, "0.", ".5", "1e0", "٣"])
def test_more_digits_do_not_make_more_than_ten_years_or_something_of_nothing(text: str) -> None:
    for parse in (parse_ttl_ms, parse_max_stale_ms):
        with pytest.raises(BadParameter, match="at most"):
            parse(text)


@pytest.mark.parametrize("text", ['"a", , "b"', '"a","b",', ', "a" ,,\t, "b" ,', ',,"a","b"'])
def test_empty_elements_of_a_list_of_etags_mean_nothing(text: str) -> None:
    assert parse_etags("If-None-Match", [text]) == (("a", "b"), ())


@pytest.mark.parametrize("fields", [["", '"a"', "", '"b"'], ['"a", ', '"b"']])
def test_a_field_of_etags_that_is_given_again_goes_on_with_the_list(fields: list[str]) -> None:
    assert parse_etags("If-Match", fields) == (("a", "b"), ())


@pytest.mark.parametrize("text", ["", ",", " , ,", '"a" "b"', '"a",*', "*,", '"a", b', ',"a'])
def test_what_has_more_or_less_than_etags_is_refused(text: str) -> None:
    with pytest.raises(BadRequest, match="If-Match"):
        parse_etags("If-Match", [text])


def test_etags_are_told_apart_by_strength() -> None:
    assert parse_etags("If-Match", ['"a", W/"b"', '"c"']) == (("a", "c"), ("b",))
    assert parse_etags("If-Match", [" * "]) == (("*",), ())
    assert parse_etags("If-Match", ['"a,b"']) == (("a,b",), ())


@given(text=st.text(alphabet='"*,W/ ab', max_size=12))
def test_a_list_of_etags_is_whole_or_refused(text: str) -> None:
    try:
        strong, weak = parse_etags("If-Match", [text])
    except BadRequest:
        return
    assert text.count('"') == 2 * (len(strong) + len(weak)) or strong == ("*",)


def test_a_content_type_is_kept_as_it_is() -> None:
    assert check_content_type("text/plain; charset=utf-8") == "text/plain; charset=utf-8"
    assert check_content_type("application/X-WWW-Form-URLencoded; charset=utf-8") == "application/octet-stream"
    assert check_content_type("text/plain;") == "text/plain;"
    assert check_content_type('a/b\t; x="u"') == 'a/b\t; x="u"'


@pytest.mark.parametrize(
    "given",
    ["text/plain\r\nX: y", "text", "/", "text/", "a/b/c", " text/plain", "text/plain; ", "\tr", "a b/c", "a/b, c/d"],
)
def test_what_is_no_media_type_would_not_come_back_as_it_was(given: str) -> None:
    with pytest.raises(BadRequest, match="Content-Type"):
        check_content_type(given)
