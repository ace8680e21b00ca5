"""What a transaction comes to in one partition: conditions, operations in their order, and one row for each key."""

from __future__ import annotations

import msgspec
import pytest
from unit.kvstore.txn.coordinating import delete, get, incr, part, put

from kvstore.messages import Fault, TxnBranch, TxnIf, TxnOp, TxnResult
from kvstore.storage.records import DamagedRow, decode_value, encode_value
from kvstore.txn import evaluate
from kvstore.txn.evaluate import INT64_MAX, INT64_MIN, Evaluation, keys_of, writes_of
from kvstore.versions import etag

PID, EPOCH, SEQ, TIME_MS = 3, 2, 40, 1_000_000
STORED = {
    b"a": encode_value(1, 5, 0, "text/plain", b"old"),
    b"n": encode_value(1, 6, 0, "application/json", b"41"),
    b"t": encode_value(1, 7, TIME_MS + 500, "", b"7"),
}
NEW = etag(PID, EPOCH, SEQ)


def evaluation(*ops: TxnOp, conditions: list[TxnIf] | None = None, otherwise: list[TxnOp] | None = None) -> Evaluation:
    asked = part(*ops, conditions=conditions, otherwise=otherwise)
    return Evaluation(asked, STORED.get, (PID, EPOCH, SEQ), TIME_MS)


def done(*ops: TxnOp) -> tuple[dict[bytes, bytes | None], list[TxnResult]]:
    """The values that a branch leaves, and its results."""
    effects, branch = evaluation(*ops).branch(True)
    assert branch.fault is None
    rows = {one.key: None if one.row is None else decode_value(one.row).value for one in effects}
    assert len(rows) == len(effects), "each key gets one row"
    return rows, branch.results


def fault(*ops: TxnOp) -> Fault:
    effects, branch = evaluation(*ops).branch(True)
    assert effects == []
    assert branch.results == []
    assert branch.fault is not None
    return branch.fault


@pytest.mark.parametrize(
    ("condition", "holds"),
    [
        (TxnIf(b"a", exists=True), True),
        (TxnIf(b"x", exists=True), False),
        (TxnIf(b"x", exists=False), True),
        (TxnIf(b"a", exists=False), False),
        (TxnIf(b"a", value=b"old"), True),
        (TxnIf(b"a", value=b"other"), False),
        (TxnIf(b"x", value=b""), False),
        (TxnIf(b"a", etag=etag(PID, 1, 5)), True),
        (TxnIf(b"a", etag=etag(PID, 1, 6)), False),
        (TxnIf(b"a", etag=etag(PID + 1, 1, 5)), False),
        (TxnIf(b"x", etag=etag(PID, 1, 5)), False),
    ],
)
def test_a_condition_is_judged_by_the_row_that_stands(condition: TxnIf, holds: bool) -> None:
    assert evaluation(conditions=[condition]).holds is holds


def test_all_conditions_have_to_hold_and_none_hold_always() -> None:
    assert evaluation().holds
    assert not evaluation(conditions=[TxnIf(b"a", exists=True), TxnIf(b"x", exists=True)]).holds


def test_each_branch_is_worked_out_by_itself() -> None:
    both = evaluation(put(b"a", b"then"), otherwise=[put(b"a", b"else"), delete(b"n", 1)])
    (then,), _ = both.branch(True)
    effects, branch = both.branch(False)
    assert then.row is not None
    assert decode_value(then.row).value == b"then"
    assert {one.key: one.row is None for one in effects} == {b"a": False, b"n": True}
    assert [one.index for one in branch.results] == [0, 1]


def test_a_put_tells_whether_the_key_is_new_and_has_the_version_of_the_record() -> None:
    rows, results = done(put(b"a"), put(b"x", index=1))
    assert rows == {b"a": b"new", b"x": b"new"}
    assert [(one.status, one.etag) for one in results] == [(204, NEW), (201, NEW)]


def test_a_time_to_live_counts_from_the_partitions_time() -> None:
    (effect,), _ = evaluation(put(b"x", ttl_ms=300)).branch(True)
    assert effect.row is not None
    assert decode_value(effect.row).expiry_ms == TIME_MS + 300
    _, results = done(put(b"x", ttl_ms=300), get(b"x", 1), get(b"t", 2), get(b"a", 3))
    assert [one.ttl_ms for one in results] == [None, 300, 500, None]


def test_later_operations_see_what_earlier_ones_did() -> None:
    rows, results = done(
        get(b"x"), put(b"x", b"5", 1), incr(b"x", 3, 2), get(b"x", 3), delete(b"x", 4), get(b"x", 5), put(b"x", b"9", 6)
    )
    assert rows == {b"x": b"9"}
    assert [one.status for one in results] == [404, 201, 200, 200, 204, 404, 201]
    assert [one.value for one in results] == [None, None, b"8", b"8", None, None, None]


def test_what_comes_to_nothing_leaves_no_row() -> None:
    rows, results = done(delete(b"x"), put(b"y", index=1), delete(b"y", 2), get(b"a", 3))
    assert rows == {}
    assert [one.status for one in results] == [204, 201, 204, 200]
    assert done(delete(b"a"))[0] == {b"a": None}


def test_an_effect_says_what_it_replaces() -> None:
    effects, _ = evaluation(put(b"t"), delete(b"a", 1), put(b"x", index=2)).branch(True)
    replaced = {one.key: (one.replaced_bytes, one.replaced_expiry_ms) for one in effects}
    assert replaced == {b"t": (len(b"t7"), TIME_MS + 500), b"a": (len(b"aold"), 0), b"x": (-1, 0)}


def test_incr_counts_from_zero_and_keeps_type_and_end_of_a_key_that_is_there() -> None:
    _, results = done(incr(b"x", -2), incr(b"n", 1, 1), incr(b"t", 1, 2))
    assert [(one.value, one.content_type, one.ttl_ms) for one in results] == [
        (b"-2", "text/plain", None),
        (b"42", "application/json", None),
        (b"8", "", 500),
    ]


def test_incr_of_a_key_that_is_not_there_ends_as_asked_and_of_one_that_is_as_before() -> None:
    ops = (msgspec.structs.replace(one, ttl_ms=9) for one in (incr(b"x", 1), incr(b"n", 1, 1), incr(b"t", 1, 2)))
    assert [one.ttl_ms for one in done(*ops)[1]] == [9, None, 500]


@pytest.mark.parametrize("text", [b"", b"1.5", b" 1", b"1 ", b"1\n", b"0x1", b"--1", b"\xd9\xa3", b"9" * 21])
def test_incr_of_what_is_no_number_is_a_fault(text: bytes) -> None:
    assert fault(put(b"x", text), incr(b"x", 1, 1)).code == "bad_request"
    assert "then[1]: incr " in fault(put(b"x", text), incr(b"x", 1, 1)).detail


@pytest.mark.parametrize(
    ("start", "by", "fits"),
    [
        (INT64_MAX - 1, 1, True),
        (INT64_MAX, 1, False),
        (INT64_MIN + 1, -1, True),
        (INT64_MIN, -1, False),
        (INT64_MAX, -1, True),
        (INT64_MAX + 1, -1, False),
        (INT64_MIN - 1, 1, False),
        (INT64_MIN, INT64_MAX, True),
    ],
)
def test_incr_stays_within_64_bits(start: int, by: int, fits: bool) -> None:
    ops = put(b"x", b"%d" % start), incr(b"x", by, 1)
    if fits:
        assert done(*ops)[0] == {b"x": b"%d" % (start + by)}
    else:
        assert fault(*ops).code == "bad_request"


def test_a_fault_in_the_midst_leaves_nothing() -> None:
    assert fault(put(b"x"), incr(b"a", 1, 1), put(b"y", index=2)).code == "bad_request"


def test_what_a_branch_reads_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(evaluate, "VALUES_BYTES_MAX", 6)
    assert done(get(b"a"), get(b"a", 1))[0] == {}
    assert fault(get(b"a"), get(b"a", 1), get(b"t", 2)).code == "body_too_large"


def test_a_damaged_row_is_no_value() -> None:
    asked = Evaluation(part(get(b"a")), lambda _: b"\x09", (PID, EPOCH, SEQ), TIME_MS)
    with pytest.raises(DamagedRow):
        asked.branch(True)


def test_all_keys_that_are_named_count_and_only_what_may_need_room_writes() -> None:
    asked = part(
        get(b"c"), put(b"a", index=1), conditions=[TxnIf(b"d", exists=True)], otherwise=[delete(b"b"), get(b"a")]
    )
    assert keys_of(asked) == [b"a", b"b", b"c", b"d"]
    assert writes_of(asked)
    assert writes_of(part(otherwise=[incr(b"a")]))
    assert not writes_of(part(get(b"a"), delete(b"b", 1)))


def test_a_vote_holds_both_branches() -> None:
    _, branch = evaluation(get(b"a")).branch(False)
    assert branch == TxnBranch([])


def test_what_a_branch_writes_over_is_told_under_a_version_that_no_key_has() -> None:
    ops = [put(b"x"), get(b"x", index=1), put(b"x", index=2), get(b"x", index=3), incr(b"n", index=4)]
    ops += [incr(b"n", index=5), put(b"a", index=6), delete(b"a", index=7), put(b"b", index=8)]
    _, results = done(*ops)
    told = [one.etag for one in results]
    assert told == [f"{NEW}.0", f"{NEW}.0", NEW, NEW, f"{NEW}.4", NEW, f"{NEW}.6", "", NEW]
