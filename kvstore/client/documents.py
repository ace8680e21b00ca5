"""Answers that are a JSON object, of calls that are no more than that.

Guarantees: an answer that is no JSON object is told as one that did not come. Leaves to others: sending (`transport`),
what the object holds.
"""

from __future__ import annotations

import json
from typing import Any

from kvstore.client import answers
from kvstore.client.answers import Unreachable
from kvstore.client.transport import Request, Transport, within


async def json_answer(transport: Transport, request: Request, *, once: bool = False) -> dict[str, Any]:
    """The object that answers a request; raises KvError.

    Args:
        once: it is sent once, whatever comes of it.
    """
    if once:
        answer = await transport.send_once(request, within(transport.timeout_s))
        if answer.status >= 300:
            raise answers.refusal(answer.status, answer.body, is_write=request.is_write)
    else:
        answer = await transport.send(request)
    try:
        found = json.loads(answer.body)
    except ValueError as error:
        raise Unreachable(f"{transport.gateway}{request.path} did not answer with JSON") from error
    if not isinstance(found, dict):
        raise Unreachable(f"{transport.gateway}{request.path} did not answer with a JSON object")
    return found
