"""The picture of `advise`: how even each strategy is, what moves, what is hot, what scans ask.

Guarantees: it shows the figures of the table; a strategy has the same colour in each part. Needs matplotlib, which is
imported with this module. Leaves to others: the figures.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from cluster.advice.figures import Figures

# From the palette of Okabe and Ito, which people see apart whatever colours they see.
COLOURS = ("#0072B2", "#56B4E9", "#D55E00", "#E69F00", "#009E73", "#CC79A7")
HEADROOM = 1.15
BAR = 0.8
SCANS_MAX = 4
RANGE_LETTERS_MAX = 44


def draw(found: Sequence[Figures], scans: Sequence[str], title: str, path: Path) -> None:
    """Write it as PNG, whatever the path's end.

    Args:
        scans: the ranges of which `touched` tells, as they are to be shown; so many at most are drawn.
    """
    figure = Figure(figsize=(14, 8), layout="constrained")
    figure.suptitle(title, fontsize=15)
    partitions, nodes, moves, hot, scanned, legend = figure.subplots(2, 3).flat
    _partitions(partitions, found)
    _bars(nodes, [one.fullest_node for one in found], "{:.2f}")
    nodes.set(title="Keys of the fullest node", ylabel="times the mean")
    _even(nodes, 1)
    _bars(moves, [one.moved for one in found], "{:.0%}")
    moves.set(title="Keys that move when a node joins")
    moves.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _even(moves, found[0].moved_even)
    _bars(hot, [one.at_a_time for one in found], "{:.0%}")
    hot.set(title="Of what comes at a time, on one node")
    hot.yaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _even(hot, 1 / len(found[0].keys_of_nodes))
    _scans(scanned, found, len(scans[:SCANS_MAX]))
    _legend(legend, found, scans[:SCANS_MAX])
    figure.savefig(path, dpi=110, format="png")


def _partitions(panel: Any, found: Sequence[Figures]) -> None:
    for one, colour in zip(found, COLOURS, strict=True):
        mean = sum(one.keys_of_partitions) / one.partitions
        heights = [keys / mean for keys in sorted(one.keys_of_partitions, reverse=True)]
        places = [place / max(1, len(heights) - 1) for place in range(len(heights))]
        # Where two have the same partitions, the one drawn first shows on both sides of the other.
        panel.plot(places, heights, color=colour, linewidth=6 if one is found[0] else 2)
    panel.set(
        title="Keys of each partition, the fullest first", ylabel="times the mean", xlabel="part of all partitions"
    )
    panel.xaxis.set_major_formatter(PercentFormatter(1, decimals=0))
    _even(panel, 1)
    _plain(panel)


def _bars(panel: Any, heights: Sequence[float], form: str) -> None:
    bars = panel.bar(range(len(heights)), heights, BAR, color=COLOURS)
    labels = panel.bar_label(bars, [form.format(height) for height in heights], padding=3)
    for label in labels:
        label.set_bbox({"facecolor": "white", "edgecolor": "none", "pad": 0.5})
    panel.set_xticks([])
    _plain(panel)
    panel.set_ylim(0, HEADROOM * max(heights))


def _scans(panel: Any, found: Sequence[Figures], count: int) -> None:
    panel.set(title="Partitions that a scan asks")
    _plain(panel)
    if not count:
        panel.text(0.5, 0.5, "no --scan was given", ha="center", va="center", transform=panel.transAxes)
        panel.set_xticks([])
        panel.set_yticks([])
        return
    width = BAR / len(found)
    for place, (one, colour) in enumerate(zip(found, COLOURS, strict=True)):
        shift = (place - (len(found) - 1) / 2) * width
        bars = panel.bar([number + shift for number in range(count)], one.touched[:count], width, color=colour)
        panel.bar_label(bars, padding=2, fontsize=9)
    panel.set_xticks(range(count), [f"scan {number}" for number in range(1, count + 1)])
    panel.yaxis.set_major_locator(MaxNLocator(integer=True))
    panel.set_ylim(0, HEADROOM * max(max(one.touched) for one in found))


def _legend(panel: Any, found: Sequence[Figures], scans: Sequence[str]) -> None:
    panel.axis("off")
    handles = [panel.bar([0], [0], color=colour, label=one.label) for one, colour in zip(found, COLOURS, strict=True)]
    handles.append(panel.plot([], [], color="black", linestyle="--", linewidth=1, label="even")[0])
    panel.legend(handles=handles, loc="upper left", frameon=False, fontsize=12)
    lines = [f"scan {number}: {_short(text)}" for number, text in enumerate(scans, 1)]
    panel.text(0.02, 0.05, "\n".join(lines), va="bottom", transform=panel.transAxes, parse_math=False)


def _short(text: str) -> str:
    return text if len(text) <= RANGE_LETTERS_MAX else f"{text[:RANGE_LETTERS_MAX]}…"


def _even(panel: Any, height: float) -> None:
    panel.axhline(height, color="black", linestyle="--", linewidth=1)


def _plain(panel: Any) -> None:
    panel.grid(axis="y", alpha=0.3)
    panel.set_axisbelow(True)
    panel.spines[["top", "right"]].set_visible(False)
    panel.set_ylim(bottom=0)
