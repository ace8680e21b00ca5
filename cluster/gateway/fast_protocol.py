"""A connection whose plainest requests are answered without its task.

Guarantees: answers leave in the order of their requests, whichever way each went; a request that is under way on the
short way has the connection for itself, and what arrives meanwhile waits; it counts in the budget, in metrics and for
an orderly stop as any other; where anything unforeseen breaks, it is answered, and what it holds is given back. Leaves
to others: everything that is not plain (`http_protocol`, of which this is one), answering (`fast_lane`).
"""

from __future__ import annotations

import asyncio

from cluster.gateway.answer import Answer
from cluster.gateway.fast_lane import FastLane
from cluster.gateway.fast_pages import FastPages
from cluster.gateway.fast_requests import (
    PutHead,
    head_of,
    key_before,
    put_before,
    recognise,
    recognise_page,
    rest_of,
)
from cluster.gateway.http_heads import HEAD_END
from cluster.gateway.http_phase import Phase
from cluster.gateway.http_protocol import READ_BUFFER_BYTES, Host, HttpProtocol
from cluster.gateway.problem import failure
from kvstore.errors import KvError, Overloaded

# An enumeration's members take longer to look up.
IDLE, HANDLER = Phase.IDLE, Phase.HANDLER
PAGE_BEGIN = (b"GET /v1/kv?", b"GET /v1/kv ")
# In the place of a method, for a GET of many keys.
SCAN = "SCAN"
_OPERATIONS = {"GET": "get", "HEAD": "get", "PUT": "put", "DELETE": "delete", SCAN: "scan"}


class FastProtocol(HttpProtocol):
    """Args: lane, pages: of this process."""

    __slots__ = (
        "_arrived",
        "_data",
        "_done",
        "_has_ended",
        "_held_bytes",
        "_is_between",
        "_lane",
        "_method",
        "_pages",
        "_put_head",
        "_rest",
        "_time_s",
    )

    def __init__(self, server: Host, loop: asyncio.AbstractEventLoop, lane: FastLane, pages: FastPages) -> None:
        super().__init__(server, loop)
        self._lane = lane
        self._pages = pages
        self._time_s = loop.time
        # The request that is under way on the short way, if one is, and what followed the key in the last plain GET and
        # in the head of the last plain PUT.
        self._data = b""
        self._method = ""
        self._rest = b""
        self._put_head: PutHead | None = None
        self._arrived = bytearray()
        # The client has shut its side; the parser holds no part of a request.
        self._has_ended = False
        self._is_between = True
        self._held_bytes = 0
        self._done: asyncio.Future[None] | None = None

    # ---- receiving --------------------------------------------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        if self._data:
            self._keep(data)
            return
        try:
            is_begun = self._begin(data)
        except Exception as error:
            self.fail(error)
            return
        if not is_begun:
            self._parse(data)

    def _parse(self, data: bytes) -> None:
        """Leave it to the parser, which does not tell whether it holds a part of a request afterwards: it holds none
        if these bytes end as a head does, or end with a body that began in them, or went on, and is complete."""
        is_begin, body, body_bytes = self._is_between, self._body, self._body.total_bytes
        super().data_received(data)
        taken = self._body.total_bytes
        if self._body is body:
            taken -= body_bytes
        elif is_begin:
            taken += data.find(HEAD_END) + len(HEAD_END)
        if data:
            self._is_between = self._body.is_eof() and (data.endswith(HEAD_END) or taken == len(data))

    def _begin(self, data: bytes) -> bool:
        """Have a whole request that arrived in one piece answered on the short way; False where it cannot be."""
        is_free = self._is_between and self.phase is IDLE and self._waiter is not None and not self._is_closing
        # What is in the queue came before, and its task may not have woken yet.
        if not is_free or self._queue or self._paused or self._server.is_stopping:
            return False
        key = key_before(self._rest, data)
        if key is None:
            return self._begin_other(data)
        self._data, self._method = data, "GET"
        self.phase, self.since_s = HANDLER, self._time_s()
        if self._lane.read(self, key):
            return True
        self._free()
        return False

    def _begin_page(self, data: bytes) -> bool:
        request = recognise_page(data)
        if request is None:
            return False
        self._data, self._method = data, SCAN
        self._enter(HANDLER)
        if self._pages.begin(self, request):
            return True
        self._free()
        return False

    def _begin_other(self, data: bytes) -> bool:
        if data.startswith(PAGE_BEGIN):
            return self._begin_page(data)
        request = None if self._put_head is None else put_before(self._put_head, data)
        if request is None:
            request = recognise(data)
            if request is None:
                return False
            self._rest = rest_of(data, request) or self._rest
            self._put_head = head_of(data, request) or self._put_head
        held_bytes = len(request.value or b"")
        try:
            self.budget.take(held_bytes)
        except Overloaded:
            return False
        self._data, self._method, self._held_bytes = data, request.method, held_bytes
        self._enter(HANDLER)
        if self._lane.begin(self, request):
            return True
        self._free()
        return False

    def _keep(self, data: bytes) -> None:
        """What follows a request that is under way waits for its answer."""
        self._arrived += data
        if len(self._arrived) > READ_BUFFER_BYTES and self.transport is not None:
            self.transport.pause_reading()

    def _free(self) -> None:
        """The connection waits for a request again."""
        self._data = b""
        self.budget.used -= self._held_bytes
        self._held_bytes = 0
        self.phase, self.since_s = IDLE, self._time_s()
        if self._done is not None and not self._done.done():
            self._done.set_result(None)

    def _go_on(self) -> None:
        """Take what has arrived meanwhile."""
        if self._arrived:
            data, self._arrived = bytes(self._arrived), bytearray()
            if self.transport is not None:
                self.transport.resume_reading()
            self.data_received(data)
        if self._has_ended and not self._data:
            super().eof_received()

    def eof_received(self) -> bool:
        if not self._data:
            return super().eof_received()
        self._has_ended = True
        return True

    @property
    def serving_task(self) -> asyncio.Future[None] | None:
        if not self._data:
            return super().serving_task
        if self._done is None or self._done.done():
            self._done = self._loop.create_future()
        return self._done

    # ---- answering --------------------------------------------------------------------------------------------------

    def take_long_way(self) -> None:
        data = self._data
        self._free()
        if self._parser is not None and not self._is_closing:
            try:
                HttpProtocol.data_received(self, data)
                self._go_on()
            except Exception as error:
                self.fail(error)

    def fail(self, error: Exception) -> None:
        data = self._data
        if not data:
            # It was answered, and what came after it is lost.
            self._server.report(None, error)
            self.abort()
            return
        self._server.report(("GET" if self._method == SCAN else self._method, _target_of(data)), error)
        self._is_closing = True
        try:
            self.answer_fast(failure())
        except Exception as further:
            self._server.report(None, further)
            self._free()
            self.abort()

    def has_room(self, size: int) -> bool:
        return self.budget.has_room(size)

    def answer_fast(self, answer: Answer, error: KvError | None = None) -> None:
        assert self._data, "answered once"
        is_last = self._has_ended and not self._arrived
        closes = is_last or self._is_closing or self._server.is_stopping
        # Until it is written, another answer may take its place.
        self._server.observe(_OPERATIONS[self._method], answer.outcome, self._time_s() - self.since_s)
        if error is not None and error.status >= 500:
            self._server.report((self._method, _target_of(self._data)), error)
        size = self._write(answer, is_head=self._method == "HEAD", is_http10=False, closes=closes)
        if closes:
            self._free()
            self._is_closing = True
            self._wake()
        else:
            self._settle(size)

    def answer_plainly(self, data: bytes, now_s: float) -> float | None:
        transport = self.transport
        if (
            self._method not in ("GET", "PUT")
            or self._has_ended
            or self._is_closing
            or transport is None
            or self._server.is_stopping
        ):
            return None
        transport.write(data)
        took_s = now_s - self.since_s
        if self._paused or self._arrived:
            self._settle(len(data))
        else:
            # What `_free` would do, which has more to ask.
            self._data = b""
            self.budget.used -= self._held_bytes
            self._held_bytes = 0
            self.phase, self.since_s = IDLE, now_s
        return took_s

    def _settle(self, size: int) -> None:
        """An answer of that size has left: go on, but not before the client takes it."""
        if self._paused:
            self._loop.create_task(self._wait_for_slow_reader(size))
        else:
            self._free()
            self._go_on()

    async def _wait_for_slow_reader(self, size: int) -> None:
        try:
            try:
                await self._wait_for_reader(size)
            finally:
                self._free()
            self._go_on()
        except Exception as error:
            self.fail(error)


def _target_of(data: bytes) -> str:
    return str(data.split(b" ", 2)[1], "ascii")
