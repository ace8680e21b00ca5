"""The samples of docs/SHARDING.md are what they are said to be, and of the page nothing else is touched."""

from __future__ import annotations

from advice.__main__ import PAGE, replaced
from advice.samples import ids, library_paths, sensor_ids


def test_ids_rise_and_none_comes_twice() -> None:
    made = ids(5000)
    numbers = [int(one) for one in made]
    assert numbers == sorted(set(numbers))
    assert made == ids(5000)
    assert {len(one) for one in made} == {18}


def test_paths_are_those_of_the_library_in_no_order() -> None:
    paths = library_paths()
    assert "json/decoder.py" in paths
    assert paths == library_paths() != sorted(paths)


def test_sensors_keep_the_ids_in_their_order() -> None:
    made = ids(1000)
    assert [one.partition("/")[2] for one in sensor_ids(made)] == made


def test_only_what_is_between_the_marks_is_replaced() -> None:
    text = "a\n<!-- x -->\nold\n<!-- /x -->\nb\n"
    assert replaced(text, "x", r"new \1") == "a\n<!-- x -->\nnew \\1\n<!-- /x -->\nb\n"
    assert replaced(text, "y", "new") == text


def test_the_page_has_all_the_marks() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert all(
        f"<!-- {name} -->" in page and f"<!-- /{name} -->" in page for name in ("library-paths", "ids", "sensors")
    )
