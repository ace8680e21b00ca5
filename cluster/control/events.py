"""What happens to control, and what it does about it.

Guarantees: immutable values; everything that the controller learns of the outside is an event, everything that it
wants of it is an effect, and effects are carried out in their order. Leaves to others: deciding (`controller`),
carrying out (`server`). Sans-IO.

A connection to a node is named by a number that is never used again, so that what an old connection says is told from
what the present one says.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

from cluster.cluster_map import Change, ClusterMap
from cluster.control.map_store import Outcome
from cluster.control.messages import Answer, Request
from kvstore.errors import KvError
from kvstore.messages import CasResult, Entry, Failed, MapUpdate, NodeReport, Rid


class DialProblem(Enum):
    UNREACHABLE = "nothing listens there, or it hangs up"
    SILENT = "no answer in time"
    REFUSED = "the other side is not the node that was expected"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The map as the store has it, once, before any other event."""

    map: ClusterMap


@dataclass(frozen=True, slots=True)
class Ticked:
    """Time went by; several times a second."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A worker asks; `ask` numbers the question."""

    ask: int
    request: Request


@dataclass(frozen=True, slots=True)
class Connected:
    """A node said welcome on a new connection."""

    node: str
    connection: int
    boot: int


@dataclass(frozen=True, slots=True)
class DialFailed:
    """One attempt failed; further ones follow by themselves."""

    node: str
    problem: DialProblem
    detail: str


@dataclass(frozen=True, slots=True)
class Disconnected:
    node: str
    connection: int


@dataclass(frozen=True, slots=True)
class Reported:
    node: str
    connection: int
    report: NodeReport


@dataclass(frozen=True, slots=True)
class CasAsked:
    """A node proposes entries; `call` numbers its question on that connection."""

    node: str
    connection: int
    call: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class CopiesMade:
    node: str
    connection: int
    rids: tuple[tuple[int, Rid], ...]


@dataclass(frozen=True, slots=True)
class CopiesFailed:
    node: str
    connection: int
    detail: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Proposals met the store: for each its number and one outcome per change, and what stands for all of them."""

    outcomes: tuple[tuple[int, tuple[Outcome, ...]], ...]
    current: MapUpdate


@dataclass(frozen=True, slots=True)
class PidsAllocated:
    first: int


Event = (
    Loaded
    | Ticked
    | Asked
    | Connected
    | DialFailed
    | Disconnected
    | Reported
    | CasAsked
    | CopiesMade
    | CopiesFailed
    | Stored
    | PidsAllocated
)


@dataclass(frozen=True, slots=True)
class Dial:
    """Keep a connection to the node from now on, at this address instead of any other."""

    node: str
    address: str


@dataclass(frozen=True, slots=True)
class HangUp:
    """Cut the connection to the node and dial it no more."""

    node: str


@dataclass(frozen=True, slots=True)
class Cut:
    """End this connection; a new one is dialled."""

    node: str
    connection: int
    reason: str


@dataclass(frozen=True, slots=True)
class Tell:
    node: str
    connection: int
    update: MapUpdate


@dataclass(frozen=True, slots=True)
class AskCopies:
    node: str
    connection: int
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class AnswerCas:
    node: str
    connection: int
    call: int
    answer: CasResult | Failed


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose changes to the map store; proposals may share a transaction, in their order."""

    proposal: int
    changes: tuple[Change, ...]


@dataclass(frozen=True, slots=True)
class AllocatePids:
    count: int


@dataclass(frozen=True, slots=True)
class Reply:
    ask: int
    answer: Answer


@dataclass(frozen=True, slots=True)
class Refuse:
    ask: int
    error: KvError


@dataclass(frozen=True, slots=True)
class Publish:
    """News of the map for every subscriber."""

    update: MapUpdate


@dataclass(frozen=True, slots=True)
class Complain:
    """A failure worth a line in the log."""

    what: str
    fields: dict[str, str | int] = field(default_factory=dict)


Effect = (
    Dial | HangUp | Cut | Tell | AskCopies | AnswerCas | Propose | AllocatePids | Reply | Refuse | Publish | Complain
)
