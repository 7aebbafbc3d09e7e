"""The documents speak of commands, options, targets and files that exist."""

import re
import shlex
from pathlib import Path

import pytest
from typer.testing import CliRunner

from heapwright.cli import COMMANDS, app
from heapwright.managers import managers

ROOT = Path(__file__).parents[1]
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
COMMAND = re.compile(r"^(?:\| `)?heapwright ([a-z-]+)([^`\n]*)", re.MULTILINE)


def quoted_commands() -> list[tuple[str, str]]:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    return sorted({(name, rest.strip()) for name, rest in COMMAND.findall(text)})


def test_there_are_examples() -> None:
    assert {"record", "compare", "validate"} <= {name for name, _ in quoted_commands()}


@pytest.mark.parametrize(("name", "rest"), quoted_commands())
def test_a_quoted_command_and_its_options_exist(name: str, rest: str) -> None:
    assert name in COMMANDS
    known = CliRunner().invoke(app, [name, "--help"]).output
    ours = rest.split(" -- ", maxsplit=1)[0]
    for word in shlex.split(re.sub(r"[\[\]|]", " ", ours)):
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"heapwright {name} has no {word}"


def test_quoted_settings_exist() -> None:
    text = "\n".join(path.read_text() for path in DOCUMENTS)
    built = re.findall(r'^\[project.entry-points."heapwright.managers"\]\n([\w-]+) = ', text, re.M)
    assert "mark-region" in built, "a tutorial's own manager is tried by its test"
    for manager, knob in set(re.findall(r"--set ([a-z-]+)\.([a-z_]+)=", text)):
        if manager not in built:
            assert knob in managers()[manager].module.Config._fields


def test_quoted_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        for target in re.findall(r"(?:^|`)make ([a-z-]+)", path.read_text(), re.MULTILINE):
            assert target in targets, f"{path.name}: make {target}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for link in re.findall(r"\]\(([^)#:]+)\)", path.read_text()):
        assert (path.parent / link).exists(), f"{path.name} links to {link}"
