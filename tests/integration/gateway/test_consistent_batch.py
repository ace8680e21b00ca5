"""Batches that read keys as they were at one moment, over HTTP."""

from __future__ import annotations

import json
from typing import Any

import pytest

from kvstore.messages import Fault, Read

PATH = "/v1/batch?consistent=true"


def gets(*keys: str) -> bytes:
    return json.dumps({"ops": [{"op": "get", "key": key} for key in keys]}).encode()


async def test_all_keys_are_told_as_a_batch_tells_them(gateway: Any) -> None:
    await gateway.ask("PUT", "/v1/kv/a", b"1")
    await gateway.ask("PUT", "/v1/kv/b", b"2")
    snapshot = await gateway.ask("POST", PATH, gets("a", "absent", "b", "a"))
    plain = await gateway.ask("POST", "/v1/batch", gets("a", "absent", "b", "a"))
    assert snapshot.status == 200
    assert json.loads(snapshot.body) == json.loads(plain.body)
    assert [one["status"] for one in json.loads(snapshot.body)["results"]] == [200, 404, 200, 200]


async def test_a_key_that_changes_between_the_rounds_is_told_as_it_is_with_the_others(gateway: Any) -> None:
    for key in "abcdefgh":
        await gateway.ask("PUT", f"/v1/kv/{key}", b"1")
    rounds = 0

    def change_once(node: Any, answer: Any) -> Any:
        def answer_and_change(connection: Any, envelope: Any) -> None:
            nonlocal rounds
            answer(connection, envelope)
            if isinstance(envelope.body, Read):
                rounds += 1
                if rounds == 2:
                    for one in gateway.nodes:
                        one.rows = {key: row for key, row in one.rows.items() if key != b"h"}
                        one.seq += 1

        return answer_and_change

    for node in gateway.nodes:
        node._answer = change_once(node, node._answer)
    answer = await gateway.ask("POST", PATH, gets(*"abcdefgh"))
    assert [one["status"] for one in json.loads(answer.body)["results"]] == [200] * 7 + [404]
    assert rounds > 4, "more than two rounds of two nodes"


async def test_where_one_key_cannot_be_told_nothing_is(start_gateway: Any) -> None:
    gateway = await start_gateway(request_timeout_s=0.3)
    gateway.nodes[0].fault = Fault("no_leader", "gone")
    answer = await gateway.ask("POST", PATH, gets(*"abcdefgh"))
    assert (answer.status, answer.code) == (503, "no_leader")


@pytest.mark.parametrize(
    "op",
    [{"op": "put", "key": "b", "value": "1"}, {"op": "delete", "key": "b"}, {"op": "put", "key": "", "value": "1"}],
)
async def test_only_gets_are_read_at_one_moment(gateway: Any, op: dict[str, str]) -> None:
    body = json.dumps({"ops": [{"op": "get", "key": "a"}, op]}).encode()
    answer = await gateway.ask("POST", PATH, body)
    assert (answer.status, answer.code) == (400, "bad_body")
    assert answer.detail.startswith("ops[1]: ")
    assert "consistent" in answer.detail
    assert op["op"] in answer.detail
    assert gateway.writes == 0


async def test_a_key_that_can_never_be_there_is_its_own_result(gateway: Any) -> None:
    answer = await gateway.ask("POST", PATH, gets("k" * 481))
    assert [one["code"] for one in json.loads(answer.body)["results"]] == ["key_too_long"]
    assert json.loads((await gateway.ask("POST", PATH, gets())).body) == {"results": []}
