"""Items of many keys at once are those of each key by itself, whatever stands in the rows."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kvstore.scan import items as items_module
from kvstore.scan.capture import CapturedPart
from kvstore.scan.items import ItemForm, item_encoder, items_encoder
from kvstore.storage.records import DamagedRow, carried, copy_prefix, encode_value

TIME_MS = 1_000_000
TEXTS = st.sampled_from(
    (
        b"",
        b"plain",
        b" ~",
        b'"',
        b"\\",
        b"/<&'",
        b"two\nlines",
        b"\x00",
        b"\x1f",
        b"\x7f",
        "é€😀".encode(),
        b"\xff",
        b"\xc3",
    )
)
TYPES = st.sampled_from(("text/plain", "", 'text/plain; charset="utf-8"', "é/x"))
PARTS = st.integers(1, 300).map(
    lambda number: CapturedPart(number, 1, copy_prefix(number), copy_prefix(number + 1), {}, TIME_MS)
)
ROWS = st.builds(
    encode_value,
    st.integers(0, 2**40),
    st.integers(0, 2**63),
    st.sampled_from((0, 0, 0, TIME_MS, TIME_MS + 1, TIME_MS + 5000)),
    TYPES,
    TEXTS | st.binary(max_size=8),
)
KEYS = st.lists(st.tuples(TEXTS, ROWS | ROWS.map(lambda row: carried(row, 77)), PARTS), max_size=6)


@given(KEYS, st.sampled_from(ItemForm), st.booleans())
def test_many_items_at_once_are_those_of_each_key(
    keys: list[tuple[bytes, bytes, CapturedPart]], form: ItemForm, keys_only: bool
) -> None:
    one = item_encoder(form, keys_only, TIME_MS - 10)
    expected = [one(part.pid, part.time_ms, key, row) for key, row, part in keys]
    columns = [[one[number] for one in keys] for number in range(3)]
    assert items_encoder(form, keys_only, TIME_MS - 10)(*columns) == expected  # type: ignore[arg-type]


@pytest.mark.parametrize("keys", [2, 3])
def test_texts_that_escapes_make_very_long_stand_in_base64(monkeypatch: pytest.MonkeyPatch, keys: int) -> None:
    monkeypatch.setattr(items_module, "JSON_BYTES_MAX", 200)
    part = CapturedPart(1, 1, copy_prefix(1), copy_prefix(2), {}, TIME_MS)
    rows = [encode_value(1, 2, 0, "", value) for value in (b"\x00" * 100, b"short", b'"')[:keys]]
    items = items_encoder(ItemForm.JSON, False, TIME_MS)([b"a", b"b", b"c"][:keys], rows, [part] * keys)
    assert [b"value_b64" in (item or b"") for item in items] == [True, False, False][:keys]


@pytest.mark.parametrize("cut", [0, 5, 26, 30])
def test_a_row_that_was_cut_short_is_found_among_others(cut: int) -> None:
    part = CapturedPart(1, 1, copy_prefix(1), copy_prefix(2), {}, TIME_MS)
    row = encode_value(1, 2, 0, "text/plain", b"v")
    with pytest.raises(DamagedRow):
        items_encoder(ItemForm.JSON, False, TIME_MS)([b"a", b"b"], [row, row[:cut]], [part, part])
