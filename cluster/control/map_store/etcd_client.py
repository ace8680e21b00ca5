"""A client of etcd's version 3 API over its JSON gateway: ranges, transactions, leases.

Guarantees: each attempt has a deadline; an endpoint that fails gives way to the next; nothing is sent a second time
that may have had an effect the first time; all answers come from one and the same etcd. Leaves to others: what is
stored (`etcd`), what to do when nobody answers. No authentication and no TLS.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from typing import Protocol, TypeVar

import aiohttp
import msgspec

from cluster.control.map_store import StoreRefused, StoreUnavailable
from kvstore.errors import OperatorError
from kvstore.rpc.client import parse_address

ATTEMPT_S = 2.0
SCHEME = "etcd://"
REFUSALS = frozenset({400, 401, 403, 404})
# With a status that else asks for patience.
TOO_LARGE = "larger than max"


class Range(msgspec.Struct, frozen=True, omit_defaults=True):
    """The rows from `key` up to `range_end` (empty: `key` alone) that changed since `min_mod_revision`, as a majority
    of etcd has them."""

    key: bytes
    range_end: bytes = b""
    min_mod_revision: int = 0


class Put(msgspec.Struct, frozen=True, omit_defaults=True):
    """Write a row, which goes when `lease` (0: none) ends."""

    key: bytes
    value: bytes
    lease: int = 0


class Compare(msgspec.Struct, frozen=True):
    """Whether the row was written last in that revision; 0: there is none."""

    key: bytes
    mod_revision: int
    target: str = "MOD"
    result: str = "EQUAL"


class Operation(msgspec.Struct, frozen=True, omit_defaults=True):
    """One of the three."""

    request_put: Put | None = None
    request_range: Range | None = None
    request_txn: Transaction | None = None


class Transaction(msgspec.Struct, frozen=True):
    """Carry out `success` if every comparison holds, else `failure`."""

    success: Sequence[Operation]
    compare: Sequence[Compare] = ()
    failure: Sequence[Operation] = ()


class Header(msgspec.Struct, frozen=True):
    """`revision` counts the changes of the whole etcd."""

    cluster_id: int
    revision: int


class Row(msgspec.Struct, frozen=True):
    """A stored row; etcd leaves out what is empty or 0, here and in every answer."""

    key: bytes
    mod_revision: int
    value: bytes = b""


class RangeAnswer(msgspec.Struct, frozen=True):
    kvs: list[Row] = []


class OperationAnswer(msgspec.Struct, frozen=True):
    response_range: RangeAnswer = RangeAnswer()


class Ranged(RangeAnswer, frozen=True, kw_only=True):
    """Answer to a range."""

    header: Header


class Transacted(msgspec.Struct, frozen=True):
    """Answer to a transaction: whether the comparisons held, and one answer per operation."""

    header: Header
    succeeded: bool = False
    responses: list[OperationAnswer] = []


class Leased(msgspec.Struct, frozen=True):
    """A lease and the seconds it has left; 0: it has ended."""

    header: Header
    id: int = msgspec.field(default=0, name="ID")
    ttl: int = msgspec.field(default=0, name="TTL")


class _KeptAlive(msgspec.Struct, frozen=True):
    result: Leased

    @property
    def header(self) -> Header:
        return self.result.header


class _Revoked(msgspec.Struct, frozen=True):
    header: Header


class _Problem(msgspec.Struct, frozen=True):
    message: str = ""


class _Answer(Protocol):
    @property
    def header(self) -> Header: ...


T = TypeVar("T", bound=_Answer)


def endpoints_of(url: str) -> tuple[str, ...]:
    """The addresses in `etcd://HOST:PORT[,HOST:PORT]`.

    Raises:
        ValueError: it is no such URL.
    """
    if not url.startswith(SCHEME):
        raise ValueError(f"{url!r} is not {SCHEME}HOST:PORT[,HOST:PORT]")
    endpoints = tuple(url.removeprefix(SCHEME).split(","))
    for endpoint in endpoints:
        _, port = parse_address(endpoint)
        if port == 0 or set(endpoint) & set("/@?# "):
            raise ValueError(f"{endpoint!r} is not HOST:PORT")
    return endpoints


class EtcdClient:
    """Asks one etcd; made inside an event loop.

    Args:
        endpoints: `HOST:PORT` of its members, of which one is asked until it fails.
        attempt_s: seconds that one member has for one answer.
    """

    def __init__(self, endpoints: Sequence[str], attempt_s: float = ATTEMPT_S) -> None:
        self._endpoints = deque(endpoints)
        self._etcd_id: int | None = None
        self._session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=attempt_s), headers={"Content-Type": "application/json"}
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    async def range(self, asked: Range) -> Ranged:
        """Read.

        Raises:
            StoreUnavailable: no member answered.
            OperatorError: what answers is no etcd, not the one that answered before, or refuses (`StoreRefused`).
        """
        return await self._ask("kv/range", asked, Ranged, is_repeatable=True)

    async def transact(self, transaction: Transaction) -> Transacted:
        """Carry out a transaction; raises as `range` does, and then it may land still."""
        return await self._ask("kv/txn", transaction, Transacted, is_repeatable=False)

    async def grant(self, ttl_s: int) -> int:
        """The id of a new lease of so many seconds; raises as `range` does."""
        return (await self._ask("lease/grant", {"TTL": ttl_s}, Leased, is_repeatable=True)).id

    async def keep_alive(self, lease: int) -> bool:
        """Begin a lease's time anew; False where it has ended. Raises as `range` does."""
        answer = await self._ask("lease/keepalive", {"ID": lease}, _KeptAlive, is_repeatable=True)
        return answer.result.ttl > 0

    async def revoke(self, lease: int) -> None:
        """End a lease; raises as `range` does."""
        await self._ask("lease/revoke", {"ID": lease}, _Revoked, is_repeatable=True)

    async def _ask(self, path: str, body: object, kind: type[T], *, is_repeatable: bool) -> T:
        reason = ""
        for _ in range(len(self._endpoints)):
            endpoint = self._endpoints[0]
            try:
                answer = await self._post(endpoint, path, body, kind)
            except (aiohttp.ClientError, TimeoutError, msgspec.DecodeError) as error:
                reason = f"{endpoint}: {str(error) or 'no answer in time'}"
                self._endpoints.rotate(-1)
                if not is_repeatable and not isinstance(error, aiohttp.ClientConnectorError):
                    break
                continue
            self._check_identity(endpoint, answer.header)
            return answer
        raise StoreUnavailable(reason)

    async def _post(self, endpoint: str, path: str, body: object, kind: type[T]) -> T:
        async with self._session.post(f"http://{endpoint}/v3/{path}", data=msgspec.json.encode(body)) as answer:
            text = await answer.read()
            if answer.status == 200:
                # Integers of 64 bits come as strings.
                return msgspec.json.decode(text, type=kind, strict=False)
            message = _message(text)
            if answer.status in REFUSALS or TOO_LARGE in message:
                raise StoreRefused(f"the map store at {endpoint} refuses: {message}")
            raise aiohttp.ClientResponseError(
                answer.request_info, answer.history, status=answer.status, message=message
            )

    def _check_identity(self, endpoint: str, header: Header) -> None:
        if self._etcd_id is None:
            self._etcd_id = header.cluster_id
        elif self._etcd_id != header.cluster_id:
            raise OperatorError(f"the map store at {endpoint} belongs to another etcd cluster than the one before it")


def _message(text: bytes) -> str:
    try:
        return msgspec.json.decode(text, type=_Problem).message
    except msgspec.DecodeError:
        return text.decode(errors="replace").strip()[:200]
