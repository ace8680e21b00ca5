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
from cluster.control.messages import Answer, DrawIdWindow, DrawIncarnation, IdWindow, Incarnation, Request
from kvstore.errors import KvError
from kvstore.map_values import Entry, Rid
from kvstore.messages import CasResult, Failed, MapUpdate, NodeReport


class DialProblem(Enum):
    UNREACHABLE = "nothing listens there, or it hangs up"
    SILENT = "no answer in time"
    REFUSED = "the other side is not the node that was expected"


@dataclass(frozen=True, slots=True)
class Loaded:
    """The map as the store has it: before any other event, and again whenever another gateway changed it."""

    map: ClusterMap


@dataclass(frozen=True, slots=True)
class PlannerChosen:
    """Whether this control is the one that plans from now on; until told otherwise it is."""

    is_mine: bool


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
    process: bytes = b""
    is_new: bool = False


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
    """A node has every copy that it was asked for."""

    node: str
    connection: int
    rids: tuple[tuple[int, Rid], ...]


@dataclass(frozen=True, slots=True)
class CopiesFailed:
    """A node may have none of the copies that it was asked for; asking again is safe."""

    node: str
    connection: int
    pids: tuple[int, ...]
    detail: str


@dataclass(frozen=True, slots=True)
class Stored:
    """Proposals met the store: for each its number and one outcome per change, and what stands for all of them."""

    outcomes: tuple[tuple[int, tuple[Outcome, ...]], ...]
    current: MapUpdate


@dataclass(frozen=True, slots=True)
class PidsAllocated:
    """`ask` is the question that they are for, `keyspace` the one that is to have them; None, and empty, for the first
    ones of the default keyspace."""

    first: int
    ask: int | None = None
    keyspace: str = ""


@dataclass(frozen=True, slots=True)
class Looked:
    """The store was asked after the question `ask`, and what it says was told by `Loaded` where it was new."""

    ask: int


@dataclass(frozen=True, slots=True)
class GivenUp:
    """Nobody waits any more for the answer to `ask`, for which the store was to be asked; it is not."""

    ask: int


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """Nobody waits any more for what this proposal would change; it is not handed to the store (again)."""

    proposal: int


@dataclass(frozen=True, slots=True)
class SplitTold:
    """A leader says at which key its partition is to be split, None where that would not help, for the `reason`."""

    node: str
    pid: int
    key: bytes | None
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Drawn:
    """What the map store handed out, for good; `ask` numbers the question."""

    ask: int
    drawn: Incarnation | IdWindow


@dataclass(frozen=True, slots=True)
class Compared:
    """A leader compared the copy that a move brings with its own, in `epoch`; `differences` names what is not equal,
    `failed` says why nothing is known (then it is asked again)."""

    move: int
    pid: int
    epoch: int
    differences: tuple[str, ...] = ()
    failed: str = ""


@dataclass(frozen=True, slots=True)
class Retired:
    """A node has noted that it is no member any more, and ends."""

    node: str
    connection: int


Event = (
    Loaded
    | PlannerChosen
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
    | Looked
    | GivenUp
    | Withdrawn
    | Drawn
    | Compared
    | SplitTold
    | Retired
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
class DropOrphans:
    """Tell the node that these entries stand, and that its copies that they name no more are needed by nobody."""

    node: str
    connection: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Compare:
    """Ask the leader on this connection to compare the copy `rid` with its own, for a move, in `epoch` and by the map
    entry `ver`; `Compared` tells what came of it."""

    node: str
    connection: int
    move: int
    pid: int
    ver: int
    rid: Rid
    epoch: int


@dataclass(frozen=True, slots=True)
class RetireNode:
    """Tell the node that it is no member any more; `Retired` tells that it knows."""

    node: str
    connection: int


@dataclass(frozen=True, slots=True)
class AnswerCas:
    node: str
    connection: int
    call: int
    answer: CasResult | Failed


@dataclass(frozen=True, slots=True)
class Propose:
    """Propose changes to the map store; proposals may share a transaction, in their order. One for the question `ask`
    is proposed only while somebody waits for its answer, and else `Withdrawn`."""

    proposal: int
    changes: tuple[Change, ...]
    ask: int | None = None


@dataclass(frozen=True, slots=True)
class AllocatePids:
    """Reserve uids of partitions; `ask` and `keyspace` stand in `PidsAllocated` again."""

    count: int
    ask: int | None = None
    keyspace: str = ""


@dataclass(frozen=True, slots=True)
class LookAtStore:
    """Ask the store how the map stands from now on, for the question `ask`; `Looked` tells that it is known."""

    ask: int


@dataclass(frozen=True, slots=True)
class AskSplit:
    """Ask a leader where its partition, whose keys are from `start` to `end`, is to be split: by `load` or `size`."""

    node: str
    connection: int
    pid: int
    ver: int
    by: str
    start: bytes
    end: bytes


@dataclass(frozen=True, slots=True)
class Draw:
    """Have the map store hand out what is wanted, for the question `ask`."""

    ask: int
    wanted: DrawIncarnation | DrawIdWindow


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
class Note:
    """Progress worth a line in the log."""

    what: str
    fields: dict[str, str | int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Complain:
    """A failure worth a line in the log."""

    what: str
    fields: dict[str, str | int] = field(default_factory=dict)


Effect = (
    Dial
    | HangUp
    | Cut
    | Tell
    | AskCopies
    | DropOrphans
    | Compare
    | AskSplit
    | RetireNode
    | AnswerCas
    | Propose
    | AllocatePids
    | LookAtStore
    | Draw
    | Reply
    | Refuse
    | Publish
    | Note
    | Complain
)
