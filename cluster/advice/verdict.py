"""In plain words: what the figures say of each strategy, and which to choose.

Guarantees: a word rests on a figure that stands beside it. Leaves to others: what nobody can see in a sample: how often
keys are scanned, where their readers are. Sans-IO.
"""

from __future__ import annotations

from collections.abc import Sequence

from cluster.advice.candidates import GROWN
from cluster.advice.figures import Figures
from cluster.advice.sample import Sample
from kvstore.heat.split_point import shown

# The fullest node may be so much above the mean and still be called even.
EVEN = 1.25
# More of what comes at a time on one node, beside what would be even, is a hot spot.
HOT = 1.8
# A scan that asks no more than this part of all partitions is called cheap.
CHEAP = 1 / 4


def word_of(figures: Figures, sample: Sample) -> str:
    """What is to be said of one strategy."""
    said = [_spread(figures, sample)]
    if figures.label == "directory":
        said.append(f"a table of {len(sample.tenants):,} tenants")
    if figures.label == "geo":
        said.append(f"{len(sample.tenants):,} regions, given to zones by their size here")
    nodes = len(figures.keys_of_nodes)
    if _is_hot(figures):
        said.append(f"{figures.at_a_time:.0%} of what comes at a time goes to one of {nodes} nodes")
    if figures.moved > 1.5 * figures.moved_even:
        said.append(f"{figures.moved:.0%} of all moves when a node joins")
    if figures.touched:
        said.append(_scans(figures))
    return "; ".join(said)


def _spread(figures: Figures, sample: Sample) -> str:
    if figures.fullest_node <= EVEN:
        return "even"
    strategy, _, _ = figures.label.partition(",")
    counts, kind = (sample.tenants, "tenant") if strategy in ("directory", "geo") else (sample.shard_keys, "shard key")
    if strategy == "range":
        return f"uneven: the fullest node has {figures.fullest_node:.1f} x the mean"
    name, most = counts.most_common(1)[0]
    largest = f"the largest of {len(counts)} {kind}s, {shown(name)}, has {most / len(sample):.0%} of the keys"
    return f"uneven: the fullest node has {figures.fullest_node:.1f} x the mean; {largest}"


def _scans(figures: Figures) -> str:
    most = max(figures.touched)
    if most == figures.partitions:
        return f"a scan asks all {most} partitions"
    return f"a scan asks {most} of {figures.partitions} partitions at most"


def advice(found: Sequence[Figures], sample: Sample) -> tuple[str, str]:
    """The strategy to choose, and why."""
    by_label = {figures.label: figures for figures in found}
    consistent, ranges, grown = by_label["consistent"], by_label["range"], by_label[GROWN]
    is_hot = _is_hot(ranges) or _is_hot(grown)
    gains = _gains(grown, consistent)
    if gains and not is_hot:
        return "range", f"a scan asks {gains}, and what comes is spread over the nodes"
    if consistent.fullest_node > EVEN:
        return _by_few_shard_keys(by_label, sample)
    why = ["it is even, and few keys move when a node joins"]
    if is_hot:
        why.append(
            f"of ranges one node at a time would take {grown.at_a_time:.0%} of the writes, for keys come in order"
        )
    if gains:
        why.append(f"choose range only if scans matter more than that: one asks {gains}")
    return "consistent", "; ".join(why)


def _gains(grown: Figures, consistent: Figures) -> str:
    """How many partitions fewer a scan asks of ranges; empty where that is no gain."""
    few, all_of_them = max(grown.touched, default=0), max(consistent.touched, default=0)
    is_gain = few < all_of_them and few <= max(1, CHEAP * grown.partitions)
    return f"{few} of {grown.partitions} partitions instead of all {all_of_them}" if is_gain else ""


def _is_hot(figures: Figures) -> bool:
    return figures.at_a_time > HOT / len(figures.keys_of_nodes)


def _by_few_shard_keys(by_label: dict[str, Figures], sample: Sample) -> tuple[str, str]:
    consistent, directory, ranges = by_label["consistent"], by_label["directory"], by_label["range"]
    name, most = sample.shard_keys.most_common(1)[0]
    few = f"there are {len(sample.shard_keys)} shard keys, and {shown(name)} has {most / len(sample):.0%} of the keys"
    if directory.fullest_node < min(EVEN, consistent.fullest_node):
        return "directory", f"{few}: a hash does not spread that; a directory puts each where there is room"
    if ranges.fullest_node <= EVEN and not _is_hot(ranges):
        return "range", f"{few}: a hash does not spread that; ranges look at whole keys, and cut within a shard key"
    return "consistent", f"{few}: no strategy spreads that; choose a shard key with more values"
