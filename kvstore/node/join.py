"""How a node asks to be admitted.

Guarantees: it asks until it is admitted or refused for good; a refusal is an operator's error with the gateway's own
words. Leaves to others: the handshake that control then makes (`service`).
"""

from __future__ import annotations

import asyncio
import random

import aiohttp
import msgspec
import structlog

from kvstore.errors import OperatorError
from kvstore.settings import NodeSettings

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 2.0
TIMEOUT_S = 10.0
FINAL = frozenset({401, 403, 409, 415, 422})
DOUBTS_MAX = 5

log = structlog.get_logger("node")


class _Doubtful(Exception):
    """A gateway found fault with the request; a restart under way on either side looks the same for a moment."""


async def join(settings: NodeSettings, address: str, rng: random.Random) -> None:
    """Ask each gateway in turn until one admits this node at `address`.

    Raises:
        OperatorError: a gateway refused, or is given by something that is no URL.
    """
    gateways = [url.strip().rstrip("/") for url in settings.gateway.split(",") if url.strip()]
    body = {"id": settings.id, "address": address, "zone": settings.zone, "weight": settings.weight}
    pause_s = PAUSE_S_MIN
    doubts = 0
    warned = False
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S)) as session:
        while True:
            for gateway in gateways:
                try:
                    reason = await _ask(session, gateway, body)
                except _Doubtful as error:
                    doubts += 1
                    reason = str(error)
                    if doubts > DOUBTS_MAX:
                        raise OperatorError(reason) from error
                if reason is None:
                    return
            if not warned and pause_s >= PAUSE_S_MAX:
                log.warning("not_admitted_yet", reason=reason)
                warned = True
            await asyncio.sleep(pause_s * (0.5 + rng.random()))
            pause_s = min(PAUSE_S_MAX, pause_s * 2)


async def _ask(session: aiohttp.ClientSession, gateway: str, body: dict[str, object]) -> str | None:
    """None when admitted, else why not yet."""
    try:
        async with session.post(f"{gateway}/v1/cluster/nodes", json=body) as answer:
            if answer.status in (200, 201):
                return None
            refusal = f"{gateway} does not admit this node: {_detail(await answer.text())}"
            if answer.status in FINAL:
                raise OperatorError(refusal)
            if answer.status == 400:
                raise _Doubtful(refusal)
            return refusal
    except aiohttp.InvalidURL as error:
        raise OperatorError(f"{gateway!r} is not the URL of a gateway") from error
    except (aiohttp.ClientError, TimeoutError) as error:
        return str(error) or type(error).__name__


def _detail(text: str) -> str:
    try:
        problem = msgspec.json.decode(text)
    except msgspec.DecodeError:
        return text.strip()[:200]
    return str(problem.get("detail", "")) if isinstance(problem, dict) else text[:200]
