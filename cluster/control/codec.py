"""Requests to control, and its answers, as the bytes that travel between a worker and its gateway's control.

Guarantees: what is decoded has the types that are declared, or `CodecError` is raised; an answer is read as the kind
that its request has. Leaves to others: the messages that these bytes stand in (`kvstore.messages`). Sans-IO.
"""

from __future__ import annotations

from typing import Any

import msgspec

from cluster.control.control_message import ControlMessage
from cluster.control.keyspace_messages import (
    CreateKeyspace,
    DeleteKeyspace,
    KeyspaceCreated,
    KeyspaceDeleted,
    KeyspacesLearnt,
    LearnKeyspaces,
    MoveTenant,
    ResolveTenant,
    TenantMoving,
    TenantResolved,
)
from cluster.control.messages import (
    AbortMove,
    AdmitNode,
    Admitted,
    Answer,
    ChangeNode,
    ClusterStatus,
    ClusterView,
    DrawIdWindow,
    DrawIncarnation,
    ForcePromote,
    ForcePromoted,
    IdWindow,
    Incarnation,
    MakePlan,
    NodeChanged,
    PlanView,
    Readiness,
    Ready,
    RebalanceStatus,
    RebalanceView,
    RemoveNode,
    Request,
    SetRebalance,
    StartPlan,
)
from kvstore.codec import CodecError

ANSWERS: dict[type[ControlMessage], type[ControlMessage]] = {
    AdmitNode: Admitted,
    ClusterStatus: ClusterView,
    Readiness: Ready,
    ForcePromote: ForcePromoted,
    DrawIncarnation: Incarnation,
    DrawIdWindow: IdWindow,
    RemoveNode: NodeChanged,
    ChangeNode: NodeChanged,
    MakePlan: PlanView,
    StartPlan: RebalanceView,
    RebalanceStatus: RebalanceView,
    SetRebalance: RebalanceView,
    AbortMove: RebalanceView,
    CreateKeyspace: KeyspaceCreated,
    DeleteKeyspace: KeyspaceDeleted,
    ResolveTenant: TenantResolved,
    MoveTenant: TenantMoving,
    LearnKeyspaces: KeyspacesLearnt,
}

_ENCODER = msgspec.msgpack.Encoder()
_REQUEST: msgspec.msgpack.Decoder[Request] = msgspec.msgpack.Decoder(Request)
_ANSWER: dict[type[ControlMessage], msgspec.msgpack.Decoder[Any]] = {
    request: msgspec.msgpack.Decoder(answer) for request, answer in ANSWERS.items()
}


def encode(message: Request | Answer) -> bytes:
    return _ENCODER.encode(message)


def decode_request(data: bytes) -> Request:
    """Raises CodecError: it is no request."""
    try:
        return _REQUEST.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(str(error)) from error


def decode_answer(request: Request, data: bytes) -> Answer:
    """Raises CodecError: it is no answer to `request`."""
    try:
        answer: Answer = _ANSWER[type(request)].decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise CodecError(str(error)) from error
    return answer
