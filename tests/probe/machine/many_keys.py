"""Batches and imports of a client's own keys.

Guarantees: of a batch each operation is judged by its own result, in the order of the batch; of an import that ended
early, what stands before the line that is told is in. Leaves to others: sending a batch (`machine`).
"""

from __future__ import annotations

from checkers.dictionary import ABSENT, ANY, UNKNOWN, Outcome, Write
from checkers.history import Anomaly
from probe.machine import wire
from probe.machine.exchange import NOT_SENT, REFUSED, Told
from probe.machine.own import Own
from probe.machine.requests import Request
from probe.machine.steps import Batch, Delete, Get, Import, Op, Put


def batch(own: Own, step: Batch) -> Request:
    """The request of a batch."""
    ops: list[tuple[bytes, Write | None]] = []
    documents = []
    for op in step.ops:
        key, write = (own.keys[op.key], None) if isinstance(op, Get) else own.written(op)
        ops.append((key, write))
        documents.append(_document(op, key, write))
    headers = {"Content-Type": wire.MEDIA_TYPES[step.form], **own.token(step.has_token)}
    if step.answer_form:
        headers["Accept"] = wire.MEDIA_TYPES[step.answer_form]
    body = wire.encode_batch(documents, step.form)
    return Request("batch", "POST", "/batch", headers, body, ops, step.answer_form or step.form)


def judge_batch(own: Own, request: Request, told: Told) -> None:
    if told.did_nothing:
        return
    if told.is_unknown:
        for key, write in request.ops:
            if write is not None:
                own.answer(key, write, UNKNOWN, told)
        return
    form = wire.MEDIA_TYPES[request.answer_form]
    if told.status != 200 or told.headers.get("content-type") != form:
        raise Anomaly(f"no answer to a batch: {told}")
    results = wire.decode(told.body, form)["results"]
    if len(results) != len(request.ops):
        raise Anomaly(f"{len(results)} results to {len(request.ops)} operations")
    for place, ((key, write), result) in enumerate(zip(request.ops, results, strict=True)):
        own.counts["operations in batches"] += 1
        try:
            _judge_result(own, key, write, result, request.answer_form, told)
        except Anomaly as anomaly:
            raise Anomaly(f"ops[{place}]: {anomaly}") from None


def _judge_result(own: Own, key: bytes, write: Write | None, result: wire.Document, form: str, told: Told) -> None:
    status = result["status"]
    own.counts["504"] += status == 504
    if status in REFUSED:
        own.counts["refused operations in batches"] += 1
        return
    if write is not None:
        etag = str(result.get("etag", ""))
        own.answer(key, write, UNKNOWN if status == 504 else Outcome(status, etag), told)
    elif status == 404:
        own.model[key].see(None, told.span)
    elif status == 200:
        own.model[key].see(wire.found_of(result, form), told.span)
    else:
        raise Anomaly(f"no answer to a get: {result}")


def import_(own: Own, step: Import) -> None:
    writes = [own.written(item) for item in step.items]
    documents = [_item(item, key) for item, (key, _) in zip(step.items, writes, strict=True)]
    body = wire.encode_items(documents, step.form, step.bad_at)
    form = wire.MSGPACK if step.form == "msgpack" else wire.NDJSON

    def judge(told: Told) -> None:
        if told.status == NOT_SENT:
            return
        imported = _imported(told, step, len(writes))
        for key, write in writes[:imported]:
            own.answer(key, write, Outcome(200), told)
            own.counts["imported items"] += 1
        if told.status not in (200, 400):
            for key, write in writes[imported : step.bad_at]:
                own.model[key].answer(write, UNKNOWN, told.span)

    keys = {key for key, _ in writes}
    own.ask("import", keys, "POST", "/import", {"Content-Type": form}, body, judge)


def _document(op: Op, key: bytes, write: Write | None) -> wire.Document:
    condition = "" if write is None else write.condition
    conditions = {"if_none_match": ANY} if condition == ABSENT else {"if_match": condition}
    kind = {Put: "put", Delete: "delete", Get: "get"}[type(op)]
    return {"op": kind, **(_item(op, key) if isinstance(op, Put) else {"key": key}), **wire.fields(**conditions)}


def _item(op: Put, key: bytes) -> wire.Document:
    return wire.fields(key=key, value=op.value, content_type=op.content_type, ttl=op.ttl_s)


def _imported(told: Told, step: Import, items: int) -> int:
    """How many items are told to be in."""
    if told.status == 200:
        imported = int(wire.decode(told.body, wire.JSON)["imported"])
        if step.bad_at is not None or imported != items:
            raise Anomaly(f"{items} items, a bad line at {step.bad_at}: {told}")
        return imported
    if told.status not in (400, 504, *REFUSED):
        if told.is_unknown:
            return 0
        raise Anomaly(f"no answer to an import: {told}")
    problem = wire.decode(told.body, wire.JSON)
    imported, line = int(problem.get("imported", 0)), problem.get("line")
    if told.status == 400 and (step.bad_at is None or (imported, line) != (step.bad_at, step.bad_at + 1)):
        raise Anomaly(f"a bad line at {step.bad_at}: {told}")
    if imported > items:
        raise Anomaly(f"{items} items: {told}")
    return imported
