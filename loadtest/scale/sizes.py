"""One size of cluster after the other: everything that is measured or worked out of it, as one result.

Guarantees: what depends on a placement is worked out of the same one. Leaves to others: each of the parts, and which
sizes there are (`__main__`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

from cluster.control.server import TICK_S
from cluster.placement.relocation import Relocation
from scale.clusters import map_of, members, placed
from scale.control_costs import ControlCosts, control_costs
from scale.evenness import Change, Spread, change, copy_counts, spread, timed
from scale.map_costs import MapCosts, map_costs
from scale.schedule import Schedule, move_s, schedule
from scale.traffic import REPORT_S, Traffic, traffic

# A move is looked at in each of control's rounds, of which it needs one for each of: copy, entry, comparison, its end;
# and what it has reached stands in its node's next report.
STEPS_S = 4 * TICK_S + REPORT_S
NODE_BYTES = (100e9, 1e12)
BYTES_PER_S = (25e6, 100e6)
GROWTH = 10
MEASURED_REPLICAS = 2


@dataclass(frozen=True)
class Moving:
    """How long a change takes where each node has `node_bytes` and copies at `bytes_per_s`."""

    what: str
    node_bytes: float
    bytes_per_s: float
    result: Schedule


@dataclass(frozen=True)
class Size:
    """One cluster. `grow`: a tenth more nodes, at once. Control was tried with two copies only."""

    nodes: int
    partitions: int
    replicas: int
    copies: Spread
    leaders: Spread
    place_s: float
    join: Change
    leave: Change
    grow: Change
    moving: Sequence[Moving]
    traffic: Traffic
    map: MapCosts
    control: ControlCosts | None


def size(nodes: int, partitions: int, replicas: int) -> Size:
    """Work all of it out; with many nodes and partitions that takes most of a minute."""
    everybody = members(nodes + max(1, nodes // GROWTH))
    of, copies = everybody[:nodes], partitions * replicas
    first, place_s = timed(lambda: placed(partitions, of, replicas))
    left = of[nodes // 2].id
    stay = [member for member in of if member.id != left]
    held = sum(left in names for names in first.values())
    join, joining = change(first, partitions, everybody[: nodes + 1], replicas, copies / (nodes + 1))
    leave, leaving = change(first, partitions, stay, replicas, float(held))
    more = len(everybody) - nodes
    grow, growing = change(first, partitions, everybody, replicas, copies * more / len(everybody))
    plans = {"join": joining, "leave": leaving, "grow": growing}
    ids = [member.id for member in of]
    cluster = map_of(first, of, replicas)
    return Size(
        *(nodes, partitions, replicas),
        spread(copy_counts(first), ids, copies),
        spread(Counter(names[0] for names in first.values()), ids, partitions),
        place_s,
        *(join, leave, grow),
        [one for what, plan in plans.items() for one in _moving(what, plan, copies / nodes)],
        traffic(first, nodes, replicas),
        map_costs(cluster, replicas),
        control_costs(cluster, replicas) if replicas == MEASURED_REPLICAS else None,
    )


def _moving(what: str, plan: Sequence[Relocation], copies: float) -> list[Moving]:
    return [
        Moving(what, node_bytes, rate, schedule(plan, 1, move_s(node_bytes, copies, rate, STEPS_S)))
        for node_bytes in NODE_BYTES
        for rate in BYTES_PER_S
    ]
