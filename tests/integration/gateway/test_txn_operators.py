"""What an operator is told of prepared transactions, and what an operator's word does to them."""

from __future__ import annotations

import json
from typing import Any

import pytest
from structlog.testing import capture_logs

from cluster.txn.transaction import txn_id
from kvstore.messages import AbortTxn, AskTxn, Fault, ForceFinish, PreparedTxn, TxnKnown, TxnName

JSON = {"Content-Type": "application/json"}
# Partition 1, which decides, is led by n2; of the others, 2 by n1 and 3 by n2.
NAME = TxnName(1, b"\xab" * 16, 1)
OTHER = TxnName(1, b"\xcd" * 16, 2)
RESOLVE = f"/v1/cluster/transactions/{txn_id(NAME)}/resolve"


def prepare(gateway: Any) -> None:
    n1, n2 = gateway.nodes
    n1.prepared = [PreparedTxn(NAME, 2, 1, 7, 1500, [b"a", b"\xff"]), PreparedTxn(OTHER, 2, 1, 8, 9000, [b"z"])]
    n2.prepared = [PreparedTxn(NAME, 3, 1, 4, 1250, [b"b"])]


def lose_the_primary(gateway: Any) -> None:
    """Nobody leads it any more."""
    for node in gateway.nodes:
        node.entries[1] = gateway.entry(1, 2, None)
    gateway.router.take_entry(gateway.entry(1, 2, None))


async def resolve(gateway: Any, **body: str) -> Any:
    return await gateway.ask("POST", RESOLVE, json.dumps(body).encode() if body else None, JSON)


def forced(gateway: Any) -> list[ForceFinish]:
    return [one for node in gateway.nodes for one in node.txns_asked if isinstance(one, ForceFinish)]


async def test_what_is_prepared_is_told_oldest_first(gateway: Any) -> None:
    prepare(gateway)
    answer = await gateway.ask("GET", "/v1/cluster/transactions")
    assert json.loads(answer.body) == {
        "prepared": [
            {"txn": txn_id(OTHER), "partition": 2, "age_s": 9.0, "keys": [{"key": "z"}]},
            {"txn": txn_id(NAME), "partition": 2, "age_s": 1.5, "keys": [{"key": "a"}, {"key_b64": "/w=="}]},
            {"txn": txn_id(NAME), "partition": 3, "age_s": 1.25, "keys": [{"key": "b"}]},
        ],
        "missing": [],
    }


async def test_a_node_that_does_not_answer_is_named(gateway: Any) -> None:
    prepare(gateway)
    await gateway.nodes[0].stop()
    answer = json.loads((await gateway.ask("GET", "/v1/cluster/transactions")).body)
    assert answer["missing"] == ["n1"]
    assert [one["partition"] for one in answer["prepared"]] == [3]


async def test_without_an_outcome_the_primary_decides(gateway: Any) -> None:
    prepare(gateway)
    answer = await resolve(gateway)
    assert (answer.status, json.loads(answer.body)) == (200, {"state": "aborted"})
    asked = [one for one in gateway.nodes[1].txns_asked if isinstance(one, AskTxn | AbortTxn)]
    assert asked == [AskTxn(1, 1, NAME), AbortTxn(1, 1, NAME)]
    assert not forced(gateway)


async def test_what_is_decided_is_told_and_stays(gateway: Any) -> None:
    gateway.nodes[1].known = TxnKnown(True, True, False)
    answer = await resolve(gateway)
    assert json.loads(answer.body) == {"state": "committed", "branch": "else"}
    assert gateway.nodes[1].txns_asked == [AskTxn(1, 1, NAME)]


async def test_a_transaction_that_nobody_knows_is_not_found_and_leaves_no_trace(gateway: Any) -> None:
    answer = await resolve(gateway)
    assert (answer.status, answer.code) == (404, "not_found")
    assert not any(isinstance(one, AbortTxn) for node in gateway.nodes for one in node.txns_asked)


async def test_an_attempt_behind_which_a_later_one_is_committed_is_aborted(gateway: Any) -> None:
    prepare(gateway)
    gateway.nodes[1].stands = TxnName(NAME.primary, NAME.token, NAME.attempt + 1)
    assert json.loads((await resolve(gateway)).body) == {"state": "aborted"}


async def test_the_leader_that_the_map_does_not_know_yet_is_found(gateway: Any) -> None:
    prepare(gateway)
    entry = gateway.entry(1, 2, gateway.nodes[0])
    for node in gateway.nodes:
        node.entries[1] = entry
    gateway.nodes[0].known = TxnKnown(True, True, True)
    assert json.loads((await resolve(gateway)).body) == {"state": "committed", "branch": "then"}


async def test_a_primary_without_leader_cannot_decide(gateway: Any) -> None:
    prepare(gateway)
    lose_the_primary(gateway)
    answer = await resolve(gateway)
    assert (answer.status, answer.code) == (503, "no_leader")
    assert "partition 1" in answer.detail


async def test_an_abort_that_is_not_answered_is_unknown(gateway: Any) -> None:
    prepare(gateway)
    node = gateway.nodes[1]
    answer_of = node._of_txns

    def cut_at_abort(asked: Any) -> Any:
        if isinstance(asked, AbortTxn):
            node.cut_all()
        return answer_of(asked)

    node._of_txns = cut_at_abort
    answer = await resolve(gateway)
    assert (answer.status, answer.code) == (504, "outcome_unknown")


@pytest.mark.parametrize("outcome", [{"outcome": "abort"}, {"outcome": "commit", "branch": "then"}])
async def test_an_outcome_is_refused_while_the_primary_has_a_leader(gateway: Any, outcome: dict[str, str]) -> None:
    prepare(gateway)
    answer = await resolve(gateway, **outcome)
    assert (answer.status, answer.code) == (409, "conflict")
    assert not forced(gateway)


@pytest.mark.parametrize(
    ("asked", "commits", "then"),
    [
        ({"outcome": "abort"}, False, False),
        ({"outcome": "commit", "branch": "then"}, True, True),
        ({"outcome": "commit", "branch": "else"}, True, False),
    ],
)
async def test_an_outcome_is_carried_out_wherever_it_is_prepared_and_logged_once(
    gateway: Any, asked: dict[str, str], commits: bool, then: bool
) -> None:
    prepare(gateway)
    lose_the_primary(gateway)
    with capture_logs() as logs:
        answer = await resolve(gateway, **asked)
    assert json.loads(answer.body) == {"partitions": [2, 3], "missing": []}
    assert forced(gateway) == [ForceFinish(2, 1, NAME, commits, then), ForceFinish(3, 1, NAME, commits, then)]
    assert [one.txn for one in gateway.nodes[0].prepared] == [OTHER]
    (line,) = [line for line in logs if line["event"] == "transaction_resolved_by_operator"]
    assert (line["log_level"], line["txn"], line["partitions"]) == ("warning", txn_id(NAME), (2, 3))
    assert (line["outcome"], line["branch"]) == (asked["outcome"], asked.get("branch", ""))


async def test_an_outcome_that_one_partition_did_not_carry_out_is_unknown(gateway: Any) -> None:
    prepare(gateway)
    lose_the_primary(gateway)
    gateway.nodes[0].fault = Fault("no_leader", "not yet")
    answer = await resolve(gateway, outcome="abort")
    assert (answer.status, answer.code) == (504, "outcome_unknown")
    assert "partition 2: not yet" in answer.detail
    assert "partition 3" not in answer.detail


async def test_an_outcome_for_what_is_prepared_nowhere_is_not_found(gateway: Any) -> None:
    lose_the_primary(gateway)
    answer = await resolve(gateway, outcome="abort")
    assert (answer.status, answer.code) == (404, "not_found")
    await gateway.nodes[0].stop()
    answer = await resolve(gateway, outcome="abort")
    assert (answer.status, answer.code) == (503, "no_leader")
    assert "n1" in answer.detail


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("POST", "/v1/cluster/transactions", b"{}", 405, "method_not_allowed"),
        ("GET", RESOLVE, None, 405, "method_not_allowed"),
        ("POST", f"{RESOLVE}?outcome=abort", None, 400, "bad_parameter"),
        ("POST", RESOLVE, b'{"outcome":"commit"}', 400, "bad_parameter"),
        ("POST", RESOLVE, b'{"outcome":"abort","branch":"then"}', 400, "bad_parameter"),
        ("POST", RESOLVE, b'{"branch":"then"}', 400, "bad_parameter"),
        ("POST", RESOLVE, b'{"outcome":"undo"}', 400, "bad_body"),
        ("POST", RESOLVE, b'{"outcome":null}', 400, "bad_body"),
        ("POST", RESOLVE, b'{"why":"so"}', 400, "bad_body"),
        ("POST", "/v1/cluster/transactions/nonsense/resolve", None, 404, "not_found"),
        ("POST", "/v1/cluster/transactions//resolve", None, 400, "bad_parameter"),
        ("POST", f"/v1/cluster/transactions/{txn_id(NAME)}", None, 404, "not_found"),
        ("POST", f"/v1/cluster/transactions/99-{'ab' * 16}-1/resolve", None, 404, "not_found"),
    ],
)
async def test_what_is_wrong_is_refused_before_anything_is_asked(
    gateway: Any, method: str, path: str, body: bytes | None, status: int, code: str
) -> None:
    prepare(gateway)
    answer = await gateway.ask(method, path, body, JSON)
    assert (answer.status, answer.code) == (status, code)
    assert not any(node.txns_asked for node in gateway.nodes)


async def test_who_promotes_by_force_hears_of_transactions_whose_decision_may_be_lost(gateway: Any) -> None:
    prepare(gateway)
    gateway.nodes[1].prepared.append(PreparedTxn(TxnName(2, b"\xee" * 16, 1), 3, 1, 9, 100, [b"x"]))
    body = b'{"partition":1,"confirmed_stopped":["n1"]}'
    answer = await gateway.ask("POST", "/v1/cluster/force-promote", body, JSON)
    assert json.loads(answer.body)["may_be_torn"] == [txn_id(OTHER), txn_id(NAME)]
