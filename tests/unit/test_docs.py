"""The documents name what exists: settings, variables, commands, make targets, headings, files."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from cluster.cli.main import app
from cluster.gateway.settings import GatewaySettings
from kvstore.settings import NodeSettings

ROOT = Path(__file__).parents[2]
DOCS = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md"))]
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
SETTINGS = (ROOT / "docs" / "SETTINGS.md").read_text(encoding="utf-8")


def section(text: str, heading: str) -> str:
    return text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


@pytest.mark.parametrize(("heading", "settings"), [("Gateway", GatewaySettings), ("Node", NodeSettings)])
def test_every_setting_is_documented_and_no_other(
    heading: str, settings: type[GatewaySettings] | type[NodeSettings]
) -> None:
    documented = re.findall(r"^\| `(KVSTORE_\w+)`", section(SETTINGS, heading), re.MULTILINE)
    assert sorted(documented) == sorted(f"KVSTORE_{name.upper()}" for name in settings.model_fields)


def options() -> Iterator[tuple[str, Any]]:
    """Each option of each command, groups and those below them among them, but the internal ones."""

    def below(name: str, command: Any) -> Iterator[tuple[str, Any]]:
        for parameter in command.params:
            if parameter.opts[0].startswith("--") and not parameter.hidden:
                yield f"{name} {parameter.opts[0]}", parameter
        for part, inner in getattr(command, "commands", {}).items():
            yield from below(f"{name} {part}", inner)

    return below("kvstore", get_command(app))


def test_every_variable_of_the_command_line_is_documented_and_no_other() -> None:
    documented = set(re.findall(r"^\| `(KVSTORE_\w+)` \| `(--[-a-z]+)`", SETTINGS, re.MULTILINE))
    variables = {(parameter.envvar, parameter.opts[0]) for _, parameter in options() if parameter.envvar}
    assert variables == documented


def test_every_option_can_be_a_variable_but_what_is_said_twice_or_instead_of_a_command() -> None:
    without = [name for name, parameter in options() if not parameter.envvar]
    assert without == ["kvstore --version", "kvstore keyspaces delete --confirm"]


def test_every_option_says_what_it_does() -> None:
    assert not [name for name, parameter in options() if not parameter.help]


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_commands_and_make_targets_that_are_named_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    commands = set(re.findall(r"\bkvstore (\w+)(?= [-\w{]|`)", "\n".join(re.findall(r"`[^`\n]+`", text))))
    commands |= set(re.findall(r"\.venv/bin/kvstore (\w+)", text))
    assert commands <= set(get_command(app).commands)
    targets = set(re.findall(r"(?:`|^)make ([a-z-]+)", text, re.MULTILINE))
    assert targets <= set(re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE))


def test_the_readme_names_the_two_commands() -> None:
    text = DOCS[0].read_text(encoding="utf-8")
    assert "\nmake up " in text
    assert "\nmake test " in text


@pytest.mark.parametrize("document", DOCS, ids=lambda path: path.name)
def test_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text(encoding="utf-8"))
    assert not [link for link in links if not (document.parent / link).exists()]


def test_headings_that_docstrings_cite_exist() -> None:
    headings = set(re.findall(r"^## (.+)$", (ROOT / "docs" / "PROTOCOL.md").read_text(encoding="utf-8"), re.MULTILINE))
    cited = set()
    for package in ("kvstore", "cluster", "tests"):
        for path in (ROOT / package).rglob("*.py"):
            for passage in re.findall(r'PROTOCOL (?:"[^"]+"[,\s]*)+', path.read_text(encoding="utf-8")):
                cited |= {" ".join(name.split()) for name in re.findall(r'"([^"]+)"', passage)}
    assert cited
    assert not cited - headings


def test_modules_that_the_tour_names_exist() -> None:
    tour = (ROOT / "docs" / "ARCHITECTURE.md").read_text(encoding="utf-8").partition("## The code")[2]
    block = tour.partition("```")[2].partition("```")[0]
    names = set(re.findall(r"\b([a-z_]{4,})\b(?=●|/|  | [a-z_]+●)", block))
    stems = {path.stem for package in ("kvstore", "cluster") for path in (ROOT / package).rglob("*")} | {
        "kvstore",
        "cluster",
    }
    assert not names - stems
