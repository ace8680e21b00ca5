"""The plots of docs/SCALING.md.

Guarantees: they show what is in `scale.json` and nothing else. Leaves to others: measuring.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
from matplotlib import pyplot as plt

Data = Mapping[str, Any]
COLOURS = {10: "tab:green", 100: "tab:blue", 1000: "tab:red"}
MARKERS = {2: "o", 3: "s"}
HOUR_S = 3600
GB = 1e9


def draw_all(data: Data, folder: Path) -> None:
    """Write every plot into `folder`."""
    for draw in (_evenness, _moved, _map, _control, _moving):
        figure = draw(data["sizes"])
        figure.tight_layout()
        figure.savefig(folder / f"{draw.__name__.lstrip('_')}.png", dpi=100)
        plt.close(figure)


def _evenness(sizes: Sequence[Data]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    for panel, (what, title) in zip(panels, {"copies": "copies", "leaders": "leaders"}.items(), strict=True):
        for nodes in COLOURS:
            for replicas in MARKERS:
                chosen = _chosen(sizes, nodes=nodes, replicas=replicas)
                shares = [one[what]["share"] for one in chosen]
                most = [one[what]["most"] / one[what]["share"] for one in chosen]
                panel.plot(shares, most, MARKERS[replicas] + "-", color=COLOURS[nodes], label=_label(nodes, replicas))
        panel.axhline(1.05, color="grey", linestyle="--", label="5 % above (then rounded up)")
        panel.set(xscale="log", title=f"Fullest node, {title}", xlabel=f"{title} a node has on average")
        panel.grid(alpha=0.3)
    panels[0].set_ylabel("most ÷ average")
    panels[1].legend(fontsize=8)
    return figure


def _moved(sizes: Sequence[Data]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2))
    for nodes in COLOURS:
        for what, style in {"join": "o-", "leave": "x--"}.items():
            chosen = _chosen(sizes, nodes=nodes, replicas=2)
            partitions = [one["partitions"] for one in chosen]
            ratio = [one[what]["moved"] / one[what]["ideal"] for one in chosen]
            panels[0].plot(partitions, ratio, style, color=COLOURS[nodes], label=f"{nodes} nodes, one {what}s")
        for what, style in {"place_s": "o-", "join": "x--"}.items():
            seconds = [one[what]["cpu_s"] if what == "join" else one[what] for one in chosen]
            name = "a plan when one joins" if what == "join" else "placement from nothing"
            panels[1].plot(partitions, seconds, style, color=COLOURS[nodes], label=f"{nodes} nodes, {name}")
    panels[0].axhline(1.0, color="grey", linestyle=":")
    panels[0].set(
        xscale="log", xlabel="partitions", ylabel="copies moved ÷ ideal", title="What a change of nodes moves, 2 copies"
    )
    panels[1].set(xscale="log", yscale="log", xlabel="partitions", ylabel="seconds of CPU", title="Working it out")
    return _legends(figure, panels)


def _map(sizes: Sequence[Data]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2))
    for nodes in COLOURS:
        chosen = _chosen(sizes, nodes=nodes, replicas=2)
        partitions = [one["partitions"] for one in chosen]
        for what, style in {"whole_bytes": "o-", "node_bytes": "x--"}.items():
            name = "whole map" if what == "whole_bytes" else "what one node hears when it connects"
            values = [one["map"][what] / 1e6 for one in chosen]
            panels[0].plot(partitions, values, style, color=COLOURS[nodes], label=f"{nodes} nodes, {name}")
    chosen = _chosen(sizes, nodes=10, replicas=2)
    times = {
        "decode_s": "decode all",
        "encode_s": "encode all",
        "one_since_s": "find what changed",
        "one_apply_s": "apply one entry",
    }
    for what, name in times.items():
        values = [one["map"][what] * 1000 for one in chosen]
        panels[1].plot([one["partitions"] for one in chosen], values, "o-", label=name)
    panels[0].set(xscale="log", yscale="log", xlabel="partitions", ylabel="MB", title="Bytes of the map, 2 copies")
    panels[1].set(
        xscale="log", yscale="log", xlabel="partitions", ylabel="ms of CPU", title="Time of the map (10 nodes)"
    )
    return _legends(figure, panels)


def _control(sizes: Sequence[Data]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2))
    chosen = _chosen(sizes, replicas=2)
    _by_nodes(
        panels[0], chosen, lambda one: 100 * one["control"]["report_s"] * one["traffic"]["reports_to_each_gateway"]
    )
    panels[0].axhline(100, color="grey", linestyle="--", label="one core")
    panels[0].set(ylabel="% of a core", title="Reports of all nodes, at each gateway's control")
    _by_nodes(panels[1], chosen, lambda one: one["traffic"]["messages"])
    panels[1].set(ylabel="messages a second", title="Pings and answers, at each node")
    for panel in panels:
        panel.set(xscale="log", yscale="log", xlabel="nodes")
    return _legends(figure, panels)


def _by_nodes(panel: Any, sizes: Sequence[Data], value: Callable[[Data], float]) -> None:
    for partitions in sorted({one["partitions"] for one in sizes}):
        chosen = _chosen(sizes, partitions=partitions)
        panel.plot([one["nodes"] for one in chosen], list(map(value, chosen)), "o-", label=f"{partitions:,} partitions")


def _moving(sizes: Sequence[Data]) -> Any:
    figure, panels = plt.subplots(1, 2, figsize=(11, 4.2), sharey=True)
    largest = [max(_chosen(sizes, nodes=nodes, replicas=2), key=_copies_a_node) for nodes in COLOURS]
    for panel, node_bytes in zip(panels, (100 * GB, 1000 * GB), strict=True):
        for what, style in {"join": "o", "leave": "x", "grow": "s"}.items():
            for rate, line in {25e6: "--", 100e6: "-"}.items():
                found = [_moving_of(one, what, node_bytes, rate) / HOUR_S for one in largest]
                name = {"join": "one joins", "leave": "one leaves", "grow": "a tenth joins"}[what]
                panel.plot(list(COLOURS), found, style + line, label=f"{name}, {rate / 1e6:.0f} MB/s")
        panel.set(xscale="log", yscale="log", xlabel="nodes", title=f"{node_bytes / GB:,.0f} GB a node")
    panels[0].set_ylabel("hours until the last copy has moved")
    return _legends(figure, panels)


def _moving_of(one: Data, what: str, node_bytes: float, rate: float) -> float:
    wanted = what, node_bytes, rate
    found = (each for each in one["moving"] if (each["what"], each["node_bytes"], each["bytes_per_s"]) == wanted)
    return float(next(found)["result"]["seconds"])


def _copies_a_node(one: Data) -> float:
    return float(one["partitions"])


def _chosen(sizes: Sequence[Data], **wanted: int) -> list[Data]:
    return [one for one in sizes if all(one[name] == value for name, value in wanted.items())]


def _label(nodes: int, replicas: int) -> str:
    return f"{nodes} nodes, {replicas} copies"


def _legends(figure: Any, panels: Sequence[Any]) -> Any:
    for panel in panels:
        panel.legend(fontsize=7)
        panel.grid(alpha=0.3)
    return figure
