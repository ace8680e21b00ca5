"""The contract that the gateway serves agrees with what it does."""

from __future__ import annotations

from typing import Any

import yaml

from cluster.gateway.app import OPENAPI
from kvstore.errors import BY_CODE

BETWEEN_PROCESSES = {"wrong_leader", "stale_token"}


def contract() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load(OPENAPI.read_text())
    return loaded


def test_the_codes_are_those_of_the_errors() -> None:
    assert set(contract()["components"]["schemas"]["Problem"]["properties"]["code"]["enum"]) == (
        set(BY_CODE) - BETWEEN_PROCESSES
    )


async def test_every_operation_answers_as_the_contract_says(gateway: Any) -> None:
    bodies = {
        "batch": b'{"ops":[]}',
        "transact": b'{"then":[{"op":"get","key":"a"}]}',
        "admitNode": b'{"id":"n9","address":"127.0.0.1:1"}',
        "plan": b'{"add":[{"id":"n9"}]}',
        "startPlan": b'{"plan":"1234"}',
        "limitRebalance": b'{"max_bytes_per_second":5000}',
        "changeNode": b'{"draining":true}',
        "putKeyspace": b'{"strategy":"hash"}',
        "moveTenant": b'{"partition":1}',
        "forcePromote": b'{"partition":1,"confirmed_stopped":["n1"]}',
    }
    for path, item in contract()["paths"].items():
        target = (
            path.format(key="a", keyspace="default", txn="t", node="n", move=1, tenant="t") if "{" in path else path
        )
        for method in {"get", "head", "put", "post", "patch", "delete"} & set(item):
            operation = item[method]
            body = bodies.get(operation["operationId"], b"x") if "requestBody" in operation else None
            answer = await gateway.ask(method.upper(), target, body)
            assert str(answer.status) in operation["responses"], (method, path)
            assert (answer.status == 501) == operation.get("x-not-built", False), (method, path)
