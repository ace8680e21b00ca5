"""How long files and functions may be, what modules are called, and that each says what it is for."""

from __future__ import annotations

import ast
import re
from collections.abc import Mapping
from typing import Any

FILE_LINES_MAX = 400
FUNCTION_LINES_MAX = 70
DOCSTRING_LINES_MAX = 15

# Path or "path:function", and the reason why it is longer.
EXCEPTIONS: dict[str, str] = {
    "kvstore/messages.py": "a catalogue without logic: who looks for a message or its tag finds all in one place",
}

VAGUE_NAMES = frozenset({"base", "common", "helpers", "misc", "shared", "util", "utils"})


def test_files_are_short(all_files: list[Any]) -> None:
    long = {str(module.path): module.lines for module in all_files if module.lines > FILE_LINES_MAX}
    assert not {path: lines for path, lines in long.items() if not path.endswith(tuple(EXCEPTIONS))}


def test_functions_are_short(all_files: list[Any]) -> None:
    long = {
        f"{module.path}:{node.name}": (node.end_lineno or node.lineno) - node.lineno + 1
        for module in all_files
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    }
    assert not {
        where: lines
        for where, lines in long.items()
        if lines > FUNCTION_LINES_MAX and not where.endswith(tuple(EXCEPTIONS))
    }


def test_names_say_what_a_module_is_for(modules: Mapping[str, Any]) -> None:
    assert not [name for name in modules if VAGUE_NAMES & set(name.split("."))]


def test_every_module_says_what_it_is_for(modules: Mapping[str, Any]) -> None:
    undocumented = [name for name, module in modules.items() if module.tree.body and not module.docstring]
    assert not undocumented
    assert not [name for name, module in modules.items() if module.docstring.count("\n") >= DOCSTRING_LINES_MAX]


def test_every_test_file_says_what_it_shows(all_files: list[Any]) -> None:
    assert not [str(module.path) for module in all_files if module.tree.body and not module.docstring]


def test_only_the_command_line_prints(modules: Mapping[str, Any]) -> None:
    printing = {
        name
        for name, module in modules.items()
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "print"
    }
    assert not {name for name in printing if not name.startswith("cluster.cli.")}


def test_nothing_is_left_for_later(modules: Mapping[str, Any]) -> None:
    mark = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")
    assert not [name for name, module in modules.items() if mark.search(module.path.read_text(encoding="utf-8"))]
