"""The project's own modules, parsed once for all architecture tests."""

from __future__ import annotations

import ast
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("kvstore", "cluster")


@dataclass(frozen=True)
class Module:
    """One source file. `imports` are the absolute names it imports, at any depth of its code."""

    name: str
    path: Path
    tree: ast.Module
    lines: int
    imports: frozenset[str]

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.tree) or ""

    @property
    def is_sans_io(self) -> bool:
        return "Sans-IO." in self.docstring


def _module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def _imports(tree: ast.Module) -> frozenset[str]:
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.module is not None, "imports are absolute"
            found |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
    return frozenset(found)


def _parse(path: Path) -> Module:
    text = path.read_text(encoding="utf-8")
    tree = ast.parse(text)
    return Module(_module_name(path), path, tree, text.count("\n"), _imports(tree))


@pytest.fixture(scope="session")
def modules() -> Mapping[str, Module]:
    """Every module of the two packages, by name."""
    parsed = [_parse(path) for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]
    return {module.name: module for module in parsed}


@pytest.fixture(scope="session")
def all_files(modules: Mapping[str, Module]) -> list[Module]:
    """The modules, and the tests, load tests and examples, which are held to the same sizes."""
    others = [
        _parse(path) for folder in ("tests", "loadtest", "examples") for path in sorted((ROOT / folder).rglob("*.py"))
    ]
    return [*modules.values(), *others]
