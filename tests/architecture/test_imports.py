"""Which module may know which: the layers of docs/ARCHITECTURE.md."""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Mapping
from typing import Any

import pytest

# A package (or module), and what it must not import. What stands lower knows nothing of what stands above it.
FORBIDDEN = {
    "kvstore": ("cluster", "tests"),
    "cluster": ("tests",),
    "kvstore.errors": ("kvstore",),
    "kvstore.keys": ("kvstore.map_values", "kvstore.messages", "kvstore.storage", "kvstore.rpc", "kvstore.client"),
    "kvstore.map_values": ("kvstore.messages", "kvstore.storage", "kvstore.rpc", "kvstore.client"),
    "kvstore.messages": ("kvstore.storage", "kvstore.rpc", "kvstore.replication", "kvstore.client"),
    "kvstore.client": ("kvstore.messages", "kvstore.storage", "kvstore.rpc", "kvstore.replication", "kvstore.node"),
    "kvstore.storage": ("kvstore.rpc", "kvstore.replication", "kvstore.client", "kvstore.node", "kvstore.partition"),
    "kvstore.rpc": ("kvstore.storage", "kvstore.replication", "kvstore.client", "kvstore.node", "kvstore.partition"),
    "kvstore.heat": ("kvstore.rpc", "kvstore.replication", "kvstore.client", "kvstore.node", "kvstore.partition"),
    "kvstore.replication": ("kvstore.rpc", "kvstore.client", "kvstore.node", "lmdb"),
    "cluster.cluster_map": ("cluster.control", "cluster.gateway", "cluster.cli", "kvstore.rpc", "kvstore.storage"),
    "cluster.advice": ("cluster.control", "cluster.gateway", "cluster.cli", "kvstore.rpc", "kvstore.storage"),
    "cluster.partitioning": ("cluster.control", "cluster.gateway", "cluster.cli", "cluster.placement"),
    "cluster.placement": ("cluster.control", "cluster.gateway", "cluster.cli", "cluster.partitioning"),
    "cluster.control": ("cluster.gateway", "cluster.cli", "kvstore.client", "kvstore.node"),
    "cluster.gateway": ("cluster.cli", "kvstore.client", "kvstore.node", "cluster.placement"),
    "cluster.txn": ("cluster.cli", "cluster.control", "cluster.placement", "kvstore.client", "kvstore.node"),
}

# All that a module free of I/O may import from outside; what reads a clock, a file or chance is not among it.
PURE = (
    *("__future__", "abc", "base64", "binascii", "bisect", "collections", "contextlib", "copy", "dataclasses", "enum"),
    *(
        "fractions",
        "functools",
        "hashlib",
        "heapq",
        "hmac",
        "immutables",
        "ipaddress",
        "itertools",
        "json",
        "math",
        "msgpack",
        "msgspec",
    ),
    *("operator", "re", "string", "struct", "types", "typing", "urllib.parse", "xxhash"),
)
IO_CALLS = frozenset({"open", "print", "input", "__import__", "exec", "eval"})

# Modules whose freedom of I/O the simulation and the unit tests rely on.
SANS_IO = (
    "kvstore.codec",
    "kvstore.effects",
    "kvstore.errors",
    "kvstore.keys",
    "kvstore.map_values",
    "kvstore.messages",
    "kvstore.heat.node_heat",
    "kvstore.heat.split_point",
    "kvstore.partition",
    "kvstore.versions",
    "kvstore.client.answers",
    "kvstore.client.attempts",
    "kvstore.client.freshness",
    "kvstore.client.items",
    "kvstore.client.ops",
    "kvstore.client.urls",
    "kvstore.replication.follower",
    "kvstore.replication.leader",
    "kvstore.replication.log",
    "kvstore.rpc.framing",
    "kvstore.scan.capture",
    "kvstore.scan.count",
    "kvstore.scan.page",
    "kvstore.scan.rows",
    "kvstore.storage.engine",
    "kvstore.storage.memory",
    "kvstore.storage.records",
    "cluster.advice.figures",
    "cluster.cluster_map",
    "cluster.control.controller",
    "cluster.control.id_windows",
    "cluster.control.keyspaces",
    "cluster.control.tenants",
    "cluster.directories",
    "cluster.gateway.ids",
    "cluster.gateway.router",
    "cluster.gateway.scan_merge",
    "cluster.gateway.tenant_names",
    "cluster.partitioning.directory",
    "cluster.partitioning.geo",
    "cluster.partitioning.hash",
    "cluster.partitioning.range",
    "cluster.placement.balance",
    "cluster.placement.everywhere",
    "cluster.placement.modulo",
    "cluster.placement.ring",
    "cluster.placement.zone",
    "cluster.txn.coordinator",
    "cluster.txn.exchange",
    "cluster.txn.finishing",
)


def _within(name: str, package: str) -> bool:
    return name == package or name.startswith(package + ".")


@pytest.mark.parametrize("package", FORBIDDEN)
def test_lower_layers_know_nothing_of_higher_ones(modules: Mapping[str, Any], package: str) -> None:
    assert any(_within(name, package) for name in modules), f"{package} is gone: adapt the table"
    breaches = [
        f"{name} imports {imported}"
        for name, module in modules.items()
        if _within(name, package)
        for imported in module.imports
        for forbidden in FORBIDDEN[package]
        if _within(imported, forbidden)
    ]
    assert not breaches


def test_only_the_command_line_knows_the_command_line(modules: Mapping[str, Any]) -> None:
    breaches = [
        name
        for name, module in modules.items()
        if not _within(name, "cluster.cli") and any(_within(imported, "cluster.cli") for imported in module.imports)
    ]
    assert not breaches


def test_no_two_modules_import_each_other(modules: Mapping[str, Any]) -> None:
    graph = {name: {other for other in module.imports if other in modules} - {name} for name, module in modules.items()}
    # A package's face imports its parts; a part names the package in `from package import part`.
    for name in graph:
        graph[name] -= {other for other in graph[name] if _within(name, other)}
    graphlib.TopologicalSorter(graph).prepare()


@pytest.mark.parametrize("name", SANS_IO)
def test_what_is_free_of_io_says_so(modules: Mapping[str, Any], name: str) -> None:
    assert name in modules, f"{name} is gone: adapt the list"
    assert modules[name].is_sans_io


def test_modules_that_say_sans_io_import_no_io(modules: Mapping[str, Any]) -> None:
    breaches = [
        f"{module.name} imports {imported}"
        for module in modules.values()
        if module.is_sans_io
        for imported in module.imports
        if not any(_within(imported, allowed) for allowed in (*PURE, "kvstore", "cluster"))
    ]
    assert not breaches


def test_modules_that_say_sans_io_build_only_on_such(modules: Mapping[str, Any]) -> None:
    breaches = [
        f"{module.name} imports {imported}"
        for module in modules.values()
        if module.is_sans_io
        for imported in module.imports
        if imported in modules and modules[imported].tree.body and not modules[imported].is_sans_io
    ]
    assert not breaches


def test_modules_that_say_sans_io_call_no_io(modules: Mapping[str, Any]) -> None:
    breaches = [
        f"{module.name}:{node.lineno} calls {node.func.id}"
        for module in modules.values()
        if module.is_sans_io
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id in IO_CALLS
    ]
    assert not breaches
