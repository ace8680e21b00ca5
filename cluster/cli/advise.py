"""The command `advise`: what each strategy would do with a sample of keys.

Guarantees: nothing is asked of any gateway; the table, the JSON and the plot show the same figures. Leaves to others:
the figures (`cluster.advice`), drawing (`advise_plot`).
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from cluster.advice.candidates import Cluster, candidates
from cluster.advice.figures import Figures, Scan, figures_of
from cluster.advice.sample import Sample
from cluster.advice.verdict import advice, word_of
from cluster.cli.console import plain_console, plain_table
from kvstore.client.items import key_of_line, text_or_base64
from kvstore.errors import BadKey, KeyTooLong, OperatorError
from kvstore.keys import check_key

PARTITIONS_MAX = 4096
NODES_MAX = 1000


def advise(
    file: Annotated[
        Path, typer.Argument(metavar="FILE", exists=True, dir_okay=False, help="Keys, one a line, or items as NDJSON.")
    ],
    nodes: Annotated[
        int,
        typer.Option(
            "--nodes", envvar="KVSTORE_NODES", metavar="N", min=1, max=NODES_MAX, help="Nodes of the cluster."
        ),
    ] = 4,
    replicas: Annotated[
        int,
        typer.Option(
            "--replicas", envvar="KVSTORE_REPLICAS", metavar="N", min=1, max=16, help="Copies of each partition."
        ),
    ] = 2,
    partitions: Annotated[
        int,
        typer.Option(
            "--partitions",
            envvar="KVSTORE_PARTITIONS",
            metavar="N",
            min=1,
            max=PARTITIONS_MAX,
            help="Partitions of each keyspace.",
        ),
    ] = 64,
    scan: Annotated[
        list[str] | None,
        typer.Option(
            "--scan",
            envvar="KVSTORE_SCAN",
            metavar="START..END",
            help="A range that is scanned, END not in it; may be repeated.",
        ),
    ] = None,
    plot: Annotated[
        Path | None,
        typer.Option(
            "--plot",
            envvar="KVSTORE_PLOT",
            metavar="FILE.png",
            dir_okay=False,
            help="Draw the figures, too; needs matplotlib.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", envvar="KVSTORE_JSON", help="Print the figures as JSON.")] = False,
) -> None:
    """Show what each strategy of sharding would do with these keys, and which to choose."""
    if replicas > nodes:
        raise typer.BadParameter(f"{replicas} copies need as many nodes", param_hint="--replicas")
    scans = [_scan(text) for text in scan or ()]
    draw = None if plot is None else _drawing()
    sample = Sample(_keys(file))
    if not sample:
        raise OperatorError(f"{file}: it has no keys")
    cluster = Cluster(nodes, replicas, partitions)
    found = [figures_of(candidate, sample, scans) for candidate in candidates(sample, cluster)]
    if draw is not None and plot is not None:
        draw(found, [_range(one) for one in scans], f"{file.name}: {len(sample):,} keys, {nodes} nodes", plot)
    if as_json:
        print(json.dumps(_document(found, sample, cluster, scans), indent=2))
    else:
        _print(found, sample, cluster, scans)


def _drawing() -> Any:
    try:
        from cluster.cli.advise_plot import draw
    except ImportError as error:
        raise OperatorError("--plot needs matplotlib: pip install matplotlib") from error
    return draw


def _scan(text: str) -> Scan:
    start, dots, end = text.partition("..")
    if not dots or (end and end <= start):
        raise typer.BadParameter(f"{text!r} is no START..END with START before END", param_hint="--scan")
    return start.encode(), end.encode()


def _keys(file: Path) -> Iterator[bytes]:
    """The keys of a file; raises OperatorError where a line holds none."""
    with file.open("rb") as stream:
        lines = ((number, line.rstrip(b"\r\n")) for number, line in enumerate(stream, 1))
        filled = ((number, line) for number, line in lines if line)
        yield from _checked(file, filled)


def _checked(file: Path, lines: Iterable[tuple[int, bytes]]) -> Iterator[bytes]:
    are_items: bool | None = None
    for number, line in lines:
        if are_items is None:
            are_items = _is_item(line)
        try:
            yield check_key(key_of_line(line) if are_items else line)
        except (ValueError, BadKey, KeyTooLong) as error:
            raise OperatorError(f"{file}, line {number}: {error}") from error


def _is_item(line: bytes) -> bool:
    """Whether it is an item of an export, and not a key that begins with a hash tag."""
    try:
        key_of_line(line)
    except ValueError:
        return False
    return line.startswith(b"{")


def _range(scan: Scan) -> str:
    start, end = (bound.decode(errors="backslashreplace") for bound in scan)
    return f"{start}..{end}"


def _print(found: Sequence[Figures], sample: Sample, cluster: Cluster, scans: Sequence[Scan]) -> None:
    console = plain_console(soft_wrap=True)
    order = "in rising order" if sample.is_rising else "in no order"
    shard_keys = f"{len(sample.shard_keys):,} shard keys (largest: {sample.share_of_shard_key:.1%})"
    tenants = f"{len(sample.tenants):,} tenants (largest: {sample.share_of_tenant:.1%})"
    console.print(f"{len(sample):,} keys {order}, {shard_keys}, {tenants}")
    console.print(f"{cluster.nodes} nodes, {cluster.replicas} copies, {cluster.partitions} partitions")
    console.print()
    console.print(_table(found))
    console.print()
    console.print("fullest: times the mean; moves: when a node joins; at a time: of what comes, on one node")
    for number, one in enumerate(scans, 1):
        console.print(f"scan {number}: partitions that {_range(one)} asks")
    console.print()
    for figures in found:
        console.print(f"{figures.label}: {word_of(figures, sample)}")
    choice, why = advice(found, sample)
    console.print()
    console.print(f"Choose {choice}: {why}.")


def _table(found: Sequence[Figures]) -> Table:
    scans = (f"scan {number}" for number in range(1, len(found[0].touched) + 1))
    figures = ("parts", "fullest partition", "fullest node", "moves", "at a time")
    table = plain_table(("strategy", *figures, *scans), texts=("strategy",))
    for one in found:
        table.add_row(
            one.label,
            str(one.partitions),
            f"{one.fullest_partition:.2f}",
            f"{one.fullest_node:.2f}",
            f"{one.moved:.0%}",
            f"{one.at_a_time:.0%}",
            *map(str, one.touched),
        )
    return table


def _document(found: Sequence[Figures], sample: Sample, cluster: Cluster, scans: Sequence[Scan]) -> dict[str, Any]:
    choice, why = advice(found, sample)
    return {
        "keys": len(sample),
        "is_rising": sample.is_rising,
        "shard_keys": _few(sample.shard_keys.most_common(1), len(sample.shard_keys), len(sample)),
        "tenants": _few(sample.tenants.most_common(1), len(sample.tenants), len(sample)),
        "nodes": cluster.nodes,
        "replicas": cluster.replicas,
        "partitions": cluster.partitions,
        "strategies": [_strategy(one, sample, scans) for one in found],
        "advice": {"strategy": choice, "why": why},
    }


def _few(largest: Sequence[tuple[bytes, int]], count: int, keys: int) -> dict[str, Any]:
    ((name, most),) = largest
    return {"count": count, "largest": {**text_or_base64("name", name), "share": round(most / keys, 4)}}


def _strategy(figures: Figures, sample: Sample, scans: Sequence[Scan]) -> dict[str, Any]:
    return {
        "strategy": figures.label,
        "partitions": figures.partitions,
        "fullest_partition": round(figures.fullest_partition, 3),
        "fullest_node": round(figures.fullest_node, 3),
        "moved_when_a_node_joins": round(figures.moved, 4),
        "newcomers_even_share": round(figures.moved_even, 4),
        "at_a_time_on_one_node": round(figures.at_a_time, 4),
        "scans": [
            {**text_or_base64("start", start), **text_or_base64("end", end), "partitions": touched}
            for (start, end), touched in zip(scans, figures.touched, strict=True)
        ],
        "word": word_of(figures, sample),
    }
