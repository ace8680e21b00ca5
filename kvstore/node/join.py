"""How a node asks to be admitted, and again when control has left it alone.

Guarantees: it asks until it is admitted or refused for good; a refusal is an operator's error with the gateway's own
words, but never to a node that was admitted before. Leaves to others: the handshake that control then makes
(`service`).
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable

import aiohttp
import msgspec
import structlog

from kvstore.errors import OperatorError
from kvstore.settings import NodeSettings

PAUSE_S_MIN = 0.1
PAUSE_S_MAX = 2.0
TIMEOUT_S = 10.0
REJOIN_S = 10.0
LOOK_S = 0.5
FINAL = frozenset({401, 403, 409, 415, 422})
DOUBTS_MAX = 5

log = structlog.get_logger("node")


class _Doubtful(Exception):
    """A gateway found fault with the request; a restart under way on either side looks the same for a moment."""


class _Gateways:
    """Those that a node may ask, and what it asks of them.

    Args:
        address: where control finds this node.
    """

    def __init__(self, session: aiohttp.ClientSession, settings: NodeSettings, address: str) -> None:
        self._session = session
        self._urls = [url.strip().rstrip("/") for url in settings.gateway.split(",") if url.strip()]
        self._body = {"id": settings.id, "address": address, "zone": settings.zone, "weight": settings.weight}
        self._doubts = 0

    async def ask(self) -> str | None:
        """Ask each in turn: None when one admitted this node, else why the last one did not yet.

        Raises:
            OperatorError: one refused for good.
        """
        return await self._ask_each(self._ask)

    async def ask_again(self) -> str | None:
        """The same of a node that serves: a refusal is one more reason why not yet."""
        return await self._ask_each(self._ask_again)

    async def _ask_each(self, ask: Callable[[str], Awaitable[str | None]]) -> str | None:
        reason: str | None = "no gateway is named"
        for url in self._urls:
            reason = await ask(url)
            if reason is None:
                break
        return reason

    async def _ask(self, url: str) -> str | None:
        try:
            return await _ask(self._session, url, self._body)
        except _Doubtful as error:
            self._doubts += 1
            if self._doubts > DOUBTS_MAX:
                raise OperatorError(str(error)) from error
            return str(error)

    async def _ask_again(self, url: str) -> str | None:
        try:
            return await _ask(self._session, url, self._body)
        except (_Doubtful, OperatorError) as error:
            return str(error)


async def join(settings: NodeSettings, address: str, rng: random.Random) -> None:
    """Ask each gateway in turn until one admits this node at `address`.

    Raises:
        OperatorError: a gateway refused, or is given by something that is no URL.
    """
    async with _session() as session:
        await _until_admitted(_Gateways(session, settings, address).ask, rng)


async def stay_joined(
    settings: NodeSettings, address: str, rng: random.Random, has_control: Callable[[], bool]
) -> None:
    """Ask again whenever there was no connection of control for `REJOIN_S`, for as long as there is none: control
    dials members only, and this node may be one no more without having heard of it. Whatever is answered ends nothing;
    only control's own word does.

    Args:
        has_control: whether there is a connection of control.
    """
    async with _session() as session:
        gateways = _Gateways(session, settings, address)
        alone_s = 0.0
        while True:
            await asyncio.sleep(LOOK_S)
            alone_s = 0.0 if has_control() else alone_s + LOOK_S
            if alone_s >= REJOIN_S:
                await _until_admitted(gateways.ask_again, rng, has_control)
                alone_s = 0.0


def _session() -> aiohttp.ClientSession:
    return aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT_S))


async def _until_admitted(
    ask: Callable[[], Awaitable[str | None]], rng: random.Random, is_over: Callable[[], bool] = lambda: False
) -> None:
    pause_s = PAUSE_S_MIN
    warned = False
    while not is_over():
        reason = await ask()
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
            refusal = f"{gateway} does not admit this node: {_detail(await answer.text(errors='replace'))}"
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
