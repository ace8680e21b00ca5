"""Pictures of the results, as PNG: throughput and p99 by connections, throughput by size, CPU of 10,000 requests.

Guarantees: a system has the same colour and mark in each; what was not measured is not drawn. Leaves to others: the
words around them.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from compare.matrix import CONNECTIONS, GET, KEYS, MIXED, PUT
from compare.results import Measurement, Results, Sample

OPS = (GET, PUT, MIXED)
LABELS = {
    "kvstore": "kvstore",
    "etcd": "etcd",
    "redis-everysec": "Redis + webdis, fsync every second",
    "redis-always": "Redis + webdis, fsync always",
}
# From the palette of Okabe and Ito, which people see apart whatever colours they see.
COLOURS = {"kvstore": "#D55E00", "etcd": "#0072B2", "redis-everysec": "#009E73", "redis-always": "#CC79A7"}
MARKS = {"kvstore": "o", "etcd": "s", "redis-everysec": "^", "redis-always": "D"}
SIZES = {100: "100 B", 1024: "1 KiB", 65536: "64 KiB"}
BAR = 0.8

Value = Callable[[Sample], float]


def draw(results: Results, folder: Path) -> list[str]:
    """Write all of them; their names."""
    pictures = {
        "throughput.png": lambda: _by_connections(results, lambda one: one.requests_per_s, "requests/s"),
        "p99.png": lambda: _by_connections(results, lambda one: one.p99_ms, "p99, ms (log)", is_log=True),
        "sizes.png": lambda: _bars(results, lambda one: one.requests_per_s, "requests/s (log)", is_log=True),
        "cpu.png": lambda: _bars(results, lambda one: one.cpu_s_per_10k, "CPU seconds for 10,000 requests (log)", True),
    }
    for name, picture in pictures.items():
        picture().savefig(str(folder / name), dpi=120)
    return list(pictures)


def _panels(title: str, is_log: bool) -> tuple[Figure, Sequence[Any]]:
    """Where they are logarithmic they share their scale, or a bar's height would mean something else in each."""
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    figure.suptitle(title)
    return figure, figure.subplots(1, len(OPS), sharey=is_log)


def _finish(figure: Figure, panels: Sequence[Any], is_log: bool) -> Figure:
    for panel in panels:
        panel.grid(axis="y", alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if not panel.has_data():
            panel.text(0.5, 0.5, "not measured", ha="center", va="center", transform=panel.transAxes)
        elif is_log:
            panel.set_yscale("log")
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,g}"))
            panel.yaxis.set_minor_formatter(NullFormatter())
            least, most = (math.log10(limit) for limit in panel.get_ylim())
            panel.set_ylim(10 ** math.floor(least), 10 ** math.ceil(most))
        else:
            panel.set_ylim(bottom=0)
            panel.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    entries = {
        label: handle for panel in panels for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=len(entries), frameon=False)
    return figure


def _range(rounds: Sequence[Sample], value: Value) -> tuple[float, float]:
    values = [value(one) for one in rounds]
    return min(values), max(values)


def _by_connections(results: Results, value: Value, unit: str, is_log: bool = False) -> Figure:
    figure, panels = _panels("Values of 100 B, medians; bars from the least to the most of the rounds", is_log)
    for panel, op in zip(panels, OPS, strict=True):
        for system in LABELS:
            found = [one for count in CONNECTIONS if (one := results.find(system, op, 100, count)) is not None]
            if found:
                _line(panel, system, found, value)
        panel.set_title(op)
        panel.set_xlabel("connections")
        panel.set_xscale("log", base=2)
        panel.set_xticks(CONNECTIONS, [str(count) for count in CONNECTIONS])
        panel.xaxis.set_minor_locator(NullLocator())
    panels[0].set_ylabel(unit)
    return _finish(figure, panels, is_log)


def _line(panel: Any, system: str, found: Sequence[Measurement], value: Value) -> None:
    heights = [value(one.median) for one in found]
    ranges = [_range(one.rounds, value) for one in found]
    below = [height - least for height, (least, _) in zip(heights, ranges, strict=True)]
    above = [most - height for height, (_, most) in zip(heights, ranges, strict=True)]
    panel.errorbar(
        [one.connections for one in found],
        heights,
        yerr=[below, above],
        label=LABELS[system],
        color=COLOURS[system],
        marker=MARKS[system],
        capsize=3,
    )


def _bars(results: Results, value: Value, unit: str, is_log: bool) -> Figure:
    figure, panels = _panels("64 connections, by size of the values, medians", is_log)
    systems = [name for name in LABELS if any(one.system == name for one in results.measurements)]
    width = BAR / max(1, len(systems))
    for panel, op in zip(panels, OPS, strict=True):
        sizes = [size for size in KEYS if any(results.find(name, op, size, 64) for name in systems)]
        for place, system in enumerate(systems):
            found = [
                (at, one) for at, size in enumerate(sizes) if (one := results.find(system, op, size, 64)) is not None
            ]
            at = [index + (place - (len(systems) - 1) / 2) * width for index, _ in found]
            heights = [value(one.median) for _, one in found]
            bars = panel.bar(at, heights, width, label=LABELS[system], color=COLOURS[system])
            panel.bar_label(bars, [_short(height) for height in heights], fontsize=7, padding=1)
        panel.set_title(op)
        panel.set_xticks(range(len(sizes)), [SIZES[size] for size in sizes])
    panels[0].set_ylabel(unit)
    return _finish(figure, panels, is_log)


def _short(value: float) -> str:
    """Few enough digits to stand above a bar."""
    if value >= 10_000:
        return f"{value / 1000:.0f}k"
    if value >= 1000:
        return f"{value / 1000:.1f}k"
    return f"{value:.0f}" if value >= 100 else f"{value:.2g}"
