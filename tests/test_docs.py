"""The documents speak of commands, options, targets and files that exist; their examples run."""

import re
import shlex
from pathlib import Path

import examples
import pytest
from examples import DOCUMENTS, ROOT
from typer.testing import CliRunner

from heapwright.cli import COMMANDS, app
from heapwright.compiler import INTERPRETED
from heapwright.managers import managers
from warm_commands import warm_commands

COMMAND = re.compile(r"^(?:\| `|\$ )?(?:[A-Z_]+=\S+ )*heapwright ([a-z-]+)([^`\n]*)", re.MULTILINE)
FENCE = re.compile(r"^ *```(\S*)[^\n]*\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
# What cannot be run in a test, each with its reason beside it in the page.
NOT_RUN = {
    "README.md": 3,
    "CONTRIBUTING.md": 1,
    "docs/index.md": 1,
    "docs/cpython.md": 2,
    "docs/cuda-caching.md": 1,
    "docs/glibc.md": 1,
    "docs/graph-traces.md": 1,
    "docs/java.md": 3,
    "docs/linux.md": 2,
    "docs/numpy.md": 1,
    "docs/recording.md": 1,
    "docs/tutorials/go-service.md": 1,
    "docs/how-to/running-service.md": 2,
    "docs/how-to/size-classes.md": 1,
    "docs/how-to/sweep.md": 1,
    "docs/how-to/advise.md": 1,
    "docs/how-to/which-malloc.md": 1,
    "docs/how-to/cache-and-containers.md": 1,
}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))


TUTORIAL = "CONTRIBUTING.md"  # its manager is a plug-in: test_collector_tutorial.py runs its blocks
QUOTED = "\n".join(path.read_text() for path in DOCUMENTS if path.name != TUTORIAL)


def quoted_commands() -> list[tuple[str, str]]:
    text = QUOTED
    return sorted({(name, rest.strip()) for name, rest in COMMAND.findall(text)})


def test_there_are_examples() -> None:
    assert {"record", "compare", "validate"} <= {name for name, _ in quoted_commands()}


@pytest.mark.parametrize(("name", "rest"), quoted_commands())
def test_a_quoted_command_and_its_options_exist(name: str, rest: str) -> None:
    assert name in COMMANDS
    known = CliRunner().invoke(app, [name, "--help"]).output
    ours = rest.split(" -- ", maxsplit=1)[0]
    for word in shlex.split(re.sub(r"[\[\]|]", " ", ours.rstrip("\\"))):
        if word.startswith("--"):
            assert word.split("=")[0] in known, f"heapwright {name} has no {word}"


def test_quoted_settings_exist() -> None:
    for manager, knob in set(re.findall(r"--set ([a-z-]+)\.([a-z_]+)=", QUOTED)):
        assert knob in managers()[manager].module.Config._fields


def test_quoted_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for path in DOCUMENTS:
        for target in re.findall(r"(?:^|`|\$ )make ([a-z-]+)", path.read_text(), re.MULTILINE):
            assert target in targets, f"{path.name}: make {target}"


MADE = {"contributing.md", "changelog.md", "commands.md", "managers.md", "json.md", "notebook.md"}


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_links_lead_somewhere(path: Path) -> None:
    """To a file, or to a page that the site makes; `tests/test_site.py` holds those."""
    for link in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text()):
        made = "docs" in path.parts and Path(link).name in MADE | {"index.md"}
        assert made or (path.parent / link).exists(), f"{path.name} links to {link}"


@pytest.mark.parametrize("path", DOCUMENTS, ids=name_of)
def test_a_command_stands_where_it_is_run(path: Path) -> None:
    """In a block marked `console`, behind a dollar sign."""
    for language, body in FENCE.findall(path.read_text()):
        commands = re.findall(r"^ *(\$ .*|(?:heapwright|make|pip) [^─\n]*)$", body, re.MULTILINE)
        if language == "console":
            assert all(line.startswith("$ ") for line in commands) and commands
        else:
            assert not commands or path.name == TUTORIAL, f"{path.name}: {commands}"


def test_what_is_not_run_is_known() -> None:
    found: dict[str, int] = {}
    for path in DOCUMENTS:
        for block in examples.blocks(path):
            if block.reason:
                found[name_of(path)] = found.get(name_of(path), 0) + 1
    assert found == NOT_RUN


RUN = [
    path
    for path in DOCUMENTS
    if path.name != TUTORIAL
    and any(
        not block.reason and block.language in ("console", "python")
        for block in examples.blocks(path)
    )
]


@pytest.fixture(scope="module")
def warm(tmp_path_factory):
    """A folder with a `heapwright` that has imported itself."""
    with warm_commands(tmp_path_factory.mktemp("warm"), examples.environment()) as folder:
        yield folder


def executed(path, folder, warm):
    """As `examples.execute`; the test is skipped where a real system is not here."""
    try:
        yield from examples.execute(path, folder, warm)
    except AssertionError as error:
        absent = re.search("heapwright: (cannot drive the real .*)", str(error))
        if not absent:
            raise
        pytest.skip(absent[1])


@pytest.mark.skipif(INTERPRETED, reason="run as a reader would")
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", RUN, ids=name_of)
def test_the_examples_of_a_page_run_and_print_what_it_says(path, tmp_path, warm) -> None:
    for block, command, printed in executed(path, tmp_path, warm):
        lost = examples.missing(command.shown, printed)
        place = f"{name_of(path)}:{block.line}: {command.text}"
        assert not lost, f"{place}\nno longer prints {lost}; `make examples` renews it:\n{printed}"


@pytest.mark.skipif(INTERPRETED, reason="run as a reader would")
@pytest.mark.parametrize("setting", ["", "HEAPWRIGHT_INTERPRET=1 "])
def test_an_example_that_fails_is_found(tmp_path, warm, setting) -> None:
    """Forked from a warm process, or, under a setting of its own, started anew."""
    with pytest.raises(AssertionError, match=r"ends with [1-9].*\nheapwright: cannot"):
        examples.run(f"{setting}heapwright info nowhere.parquet", tmp_path, warm)
    assert "heapwright " in examples.run("heapwright --version", tmp_path, warm)


def test_a_word_that_is_no_longer_printed_is_found() -> None:
    assert examples.missing("glibc  12 KiB\n...\nfaults", "glibc 13 KiB of 9 pages") == {"faults"}
    assert not examples.missing("the peak of 12\nSaid in other words.", "the peak of 9")
    (command,) = examples.commands("$ one \\\n  two\nshown\n")
    assert command == examples.Command("one \\\n  two", "shown\n")
