"""What is remembered under a token, as it goes from one partition to the next."""

from __future__ import annotations

from kvstore.replication.outcomes import carried_token, decode_token, encode_token
from kvstore.storage.records import Record, RecordType

ROW = encode_token(Record(RecordType.PUT, b"k", token=b"t" * 32), 3, 7, 1000)


def test_an_outcome_says_in_which_partition_it_was_carried_out_wherever_it_goes() -> None:
    assert decode_token(ROW).origin == 0
    there = carried_token(ROW, 5)
    assert decode_token(there).origin == 5
    assert decode_token(there).outcome == decode_token(ROW).outcome
    assert carried_token(there, 9) == there
