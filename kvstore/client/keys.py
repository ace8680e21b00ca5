"""Calls on single keys and on many of them at once: `get`, `put`, `delete`, `locate`, `batch`, `import`.

Guarantees: a put, a delete and a batch carry a token of their own, so each is applied once; an import has none and is
sent once. Leaves to others: bytes of requests and answers (`urls`, `ops`, `answers`), sending (`transport`).
"""

from __future__ import annotations

from collections.abc import AsyncIterable, Sequence
from typing import Any

import aiohttp

from kvstore.client import answers
from kvstore.client.answers import JSON, MSGPACK, NDJSON, Consistency, Outcome, Value, Written
from kvstore.client.documents import json_answer
from kvstore.client.freshness import Reading
from kvstore.client.ops import Get, Op, encode_batch
from kvstore.client.transport import CONNECT_TIMEOUT_S, SILENCE_S_MAX, Request, Transport
from kvstore.client.urls import ROOT, encode_key, key_bytes, key_path
from kvstore.errors import BadParameter


class KeyCalls:
    """Calls on the keys of one keyspace, part of `Client` and of `Keyspace`."""

    _transport: Transport
    # The path of the keyspace whose keys these are.
    _root: str = ROOT

    async def get(
        self,
        key: str | bytes,
        *,
        consistency: Consistency | None = None,
        max_stale: float | None = None,
        revalidate: bool = False,
    ) -> Value:
        """Read one key.

        Args:
            consistency: `strong`, the default, is linearizable; `quorum` too, whatever the nodes' clocks do; `stale`
                may be answered by a follower, and tells in `lag_ms` how far behind it may be.
            max_stale: how many seconds the answer may be behind; the read is a stale one then, and where the client has
                a cache it may be answered from there, as long as it was kept within that time.
            revalidate: ask the server whether the value that the cache has is the newest, and have it sent only if not;
                this is no stale read. Without a cache it is a plain read.

        Raises:
            BadParameter: `max_stale` beside another consistency, or `revalidate` beside a stale read.
            KeyNotFound: there is no such key; of a stale read, `lag_ms` tells as of when.
            KvError: any other refusal.
        """
        if max_stale is not None and consistency not in {None, "stale"}:
            raise BadParameter(f"max_stale is for stale reads, not for consistency={consistency}")
        if revalidate and (max_stale is not None or consistency == "stale"):
            raise BadParameter("revalidate is for reads that are not stale")
        query = "?consistency=stale" if max_stale is not None else f"?consistency={consistency}" if consistency else ""
        query += f"&max_stale={max_stale:.6f}" if max_stale is not None else ""
        reading = Reading(max_stale) if max_stale is not None or revalidate else None
        answer = await self._transport.send(Request("GET", key_path(key, self._root) + query, reading=reading))
        return answers.value_of(answer.headers, answer.body)

    async def put(
        self,
        key: str | bytes,
        value: bytes,
        *,
        content_type: str | None = None,
        ttl_s: float | None = None,
        if_match: str | None = None,
        if_none_match: str | None = None,
    ) -> Written:
        """Write one key; at the return it is on disk on all in-sync copies.

        Args:
            ttl_s: the key is gone after that many seconds.
            if_match: an etag without quotes, or `*`: only when the key has that version (any version).
            if_none_match: `*`: only when there is no such key.

        Raises:
            PreconditionFailed: the condition does not hold; nothing was written.
            OutcomeUnknown: it may or may not have been written.
            KvError: any other refusal; nothing was written.
        """
        headers = _conditions(if_match, if_none_match)
        if content_type is not None:
            headers["Content-Type"] = content_type
        query = f"?ttl={ttl_s:.6f}" if ttl_s is not None else ""
        path = key_path(key, self._root)
        request = Request("PUT", path + query, value, headers, is_write=True, has_token=True, changed=(path,))
        answer = await self._transport.send(request)
        return answers.written_of(answer.status, answer.headers)

    async def delete(self, key: str | bytes, *, if_match: str | None = None) -> None:
        """Delete one key, whether or not it is there; `if_match` and errors as for `put`."""
        path, headers = key_path(key, self._root), _conditions(if_match, None)
        await self._transport.send(
            Request("DELETE", path, None, headers, is_write=True, has_token=True, changed=(path,))
        )

    async def locate(self, key: str | bytes) -> dict[str, Any]:
        """Where a key lives and why: `partition`, `leader`, `followers`, `hash`, `why`."""
        return await json_answer(self._transport, Request("GET", f"{self._root}/locate/{encode_key(key_bytes(key))}"))

    async def batch(self, ops: Sequence[Op]) -> list[Outcome]:
        """Carry out independent operations, in order where keys are equal.

        Returns:
            For each operation what it came to: one that failed has its error in the list, and is not tried again,
            since a later operation of the same key may have been carried out.

        Raises:
            OutcomeUnknown: the batch as a whole got no answer, and it writes.
            KvError: the batch as a whole was refused; nothing was applied.
        """
        headers = {"Content-Type": MSGPACK, "Accept": MSGPACK}
        changed = tuple(key_path(op.key, self._root) for op in ops if not isinstance(op, Get))
        writes, path = bool(changed), f"{self._root}/batch"
        request = Request("POST", path, encode_batch(ops), headers, writes, has_token=writes, changed=changed)
        return answers.outcomes_of(ops, (await self._transport.send(request)).body)

    async def snapshot(self, keys: Sequence[str | bytes]) -> list[Outcome]:
        """What was stored under all these keys at one moment; for each key a `Value`, or the error that it came to.

        Raises:
            Locked: they kept changing, or a transaction that is not decided holds one, until the time was over.
            KvError: any other refusal.
        """
        ops = [Get(key) for key in keys]
        headers = {"Content-Type": MSGPACK, "Accept": MSGPACK}
        request = Request("POST", f"{self._root}/batch?consistent=true", encode_batch(ops), headers, is_write=False)
        return answers.outcomes_of(ops, (await self._transport.send(request)).body)

    async def batch_document(self, document: bytes) -> bytes:
        """Send a batch that is already a JSON document, and return the JSON answer as it came; errors as `batch`."""
        headers = {"Content-Type": JSON, "Accept": JSON}
        request = Request("POST", f"{self._root}/batch", document, headers, is_write=True, has_token=True)
        return (await self._transport.send(request)).body

    async def import_(self, pieces: AsyncIterable[bytes], *, packed: bool = False) -> int:
        """Store a stream of items: JSON objects, one a line, or with `packed` maps of MessagePack.

        The stream is read only as fast as its items are stored, and may take any time; `timeout_s` is not for it. It is
        sent once: after a failure, send what comes from `line` on.

        Args:
            pieces: the bytes of the stream, cut anywhere.

        Returns:
            How many items were stored.

        Raises:
            BadBody: a line is no item. As with every error that the gateway tells, `numbers["line"]` is the first line
                that is not known to be in, and `numbers["imported"]` counts the items before it, which are in.
            OutcomeUnknown: the item on `line` may be in, or without that number any of them.
            KvError: any other refusal; items after `line` may be in.
        """
        headers = {"Content-Type": MSGPACK if packed else NDJSON}
        request = Request("POST", f"{self._root}/import", pieces, headers, is_write=True)
        answer = await self._transport.send_once(
            request, aiohttp.ClientTimeout(sock_connect=CONNECT_TIMEOUT_S, sock_read=SILENCE_S_MAX)
        )
        if answer.status != 200:
            raise answers.refusal(answer.status, answer.body, is_write=True)
        return answers.imported_of(answer.body)


def _conditions(if_match: str | None, if_none_match: str | None) -> dict[str, str]:
    headers = {}
    if if_match is not None:
        headers["If-Match"] = answers.quoted_etag(if_match)
    if if_none_match is not None:
        headers["If-None-Match"] = answers.quoted_etag(if_none_match)
    return headers
