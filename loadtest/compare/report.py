"""The results as a page of Markdown, made from what stands in results.json and from nothing else.

Guarantees: every measurement is in a table, with its least and most; one with errors is marked; every line is told, met
or missed. Leaves to others: pictures. Sans-IO.
"""

from __future__ import annotations

import statistics
from collections.abc import Iterable, Sequence

from compare.lines import judge
from compare.matrix import BATCH_GET, BATCH_PUT, GET, MIXED, PUT
from compare.results import Measurement, Results

SIZES = {100: "100 B", 1024: "1 KiB", 65536: "64 KiB"}
OPS = (GET, PUT, MIXED, BATCH_GET, BATCH_PUT)
PICTURES = {
    "throughput.png": "Requests per second by connections, for GET, PUT and 95/5 of 100 B",
    "p99.png": "99th percentile of latency by connections, for GET, PUT and 95/5 of 100 B",
    "sizes.png": "Requests per second at 64 connections by size of the values",
    "cpu.png": "CPU seconds of all server processes for 10,000 requests, at 64 connections by size of the values",
}
PROMISES = {
    "copies": "copies of an acknowledged write on disk",
    "fsync": "fsync",
    "reads": "reads",
    "crash": "what the crash of one machine loses",
    "atomic": "several keys at once",
}
HEADS = (
    *("system", "connections", "requests/s", "least", "most", "p50 ms", "p99 ms", "p99.9 ms"),
    *("CPU s / 10,000", "RSS MB", "load average", "errors"),
)
NOT_SHOWN = (
    "The load generator shares the cores with the servers; on machines of their own all figures differ.",
    "All processes of a system are on one machine and one disk: no network between copies, and all fsyncs meet on it.",
    "Systems do different things for an answer: see the table of promises. Redis here has one copy; etcd has three and "
    "keeps every revision.",
    "etcd is measured through its JSON gateway with base64, since all are asked by plain HTTP; its gRPC clients are "
    "faster. Redis without webdis in front is faster by far.",
    "Closed loop: a client sends when it has its answer, so a slow system is asked less. wrk corrects latencies for "
    "that by its own rule, alike for all.",
    "Keys are uniform, values fit into memory, and each round is short: no long-term effects of compaction, rewriting "
    "of logs or growing files.",
    "A request that fails counts into requests/s; where there were errors, it is marked. wrk counts answers of 400 and "
    "above, broken connections and timeouts (10 s).",
)


def report(results: Results, pictures: Sequence[str]) -> str:
    """The page; `pictures` are those that lie beside it."""
    parts = [
        "# Benchmarks",
        f"Made by `{results.command}` on {results.date}, commit {results.commit}, from [results.json](results.json); "
        "not written by hand.",
        "## Lines",
        *_lines(results),
        "## What was measured",
        *_setting(results),
        "## What an answer promises",
        *_promises(results),
        "## Pictures" if pictures else "",
        *(f"![{PICTURES[name]}]({name})" for name in pictures),
        *_tables(results),
        *_own(results),
        "## What these figures do not show",
        "\n".join(f"- {one}" for one in NOT_SHOWN),
        "## Left out",
        "\n".join(f"- {one}" for one in results.left_out),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def table(heads: Sequence[str], rows: Iterable[Sequence[str]], words: int = 1) -> str:
    """A table of Markdown; its first `words` columns are words, the others numbers."""
    under = [":--" if place < words else "--:" for place in range(len(heads))]
    return "\n".join("| " + " | ".join(row) + " |" for row in (heads, under, *rows))


def number(value: float) -> str:
    """With as many digits as mean something."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def _lines(results: Results) -> list[str]:
    rows = [
        (
            one.line.name,
            one.line.bound,
            "" if one.figure is None else number(one.figure),
            one.verdict if one.is_met else f"**{one.verdict}**",
        )
        for one in judge(results)
    ]
    return [
        "Ratios are of medians; values of 100 B unless another size is named. p99 is lower where it is better.",
        table(("line", "target", "measured", ""), rows),
    ]


def _setting(results: Results) -> list[str]:
    facts = [*results.machine.items(), *results.programs.items()]
    facts += [(name, str(value)) for name, value in results.settings.items()]
    return [
        "Each system runs alone, on data it was filled with before, on the same CPUs as wrk (one thread) beside it. "
        "Every round goes over all systems, beginning with another one each time; each is started anew for it, and "
        "warmed up for a second. Keys are uniform. CPU is the time of all server processes, children included; RSS the "
        "most that the sum of their anonymous memory (RssAnon) came to, sampled five times a second. All figures are "
        "medians over the rounds, least and most those of requests/s.",
        table(("", ""), facts, words=2),
        table(("system", "set up as"), [(name, facts["setup"]) for name, facts in results.systems.items()], words=2),
    ]


def _promises(results: Results) -> list[str]:
    names = list(results.systems)
    rows = [(label, *(results.systems[name][key] for name in names)) for key, label in PROMISES.items()]
    return [table(("", *names), rows, words=1 + len(names))] if names else []


def _tables(results: Results) -> list[str]:
    parts = []
    for op in OPS:
        for size, label in SIZES.items():
            found = [one for one in results.measurements if (one.op, one.value_bytes) == (op, size)]
            if found:
                found.sort(key=lambda one: (one.connections, list(results.systems).index(one.system)))
                parts += [f"## {op}, {label}", table(HEADS, map(_row, found))]
    return parts


def _row(one: Measurement) -> Sequence[str]:
    middle = one.median
    return (
        *(one.system, str(one.connections)),
        *(number(sample.requests_per_s) for sample in (middle, one.least, one.most)),
        *(number(value) for value in (middle.p50_ms, middle.p99_ms, middle.p999_ms)),
        *(number(middle.cpu_s_per_10k), number(middle.rss_anon_mb), number(middle.load_average)),
        f"**{one.errors}**" if one.errors else "0",
    )


def _own(results: Results) -> list[str]:
    if not results.own:
        return []
    rows = [
        (name, number(statistics.median(values)), number(min(values)), number(max(values)), str(len(values)))
        for name, values in results.own.items()
    ]
    return ["## This cluster alone", table(("", "median", "least", "most", "rounds"), rows)]
