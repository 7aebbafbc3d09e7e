"""CONTRIBUTING's collector, step by step: its blocks make a package that every command knows."""

import os
import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED

ROOT = Path(__file__).parents[1]
HEADING = "## A collector, step by step"
NAME = "mark-region"
FENCED = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"\A(?:#) (\S+\.(?:py|toml))\n")


def section():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    return text.split(f"{HEADING}\n", 1)[1].split("\n## ", 1)[0]


def files():
    """The text of each file: its blocks, one after another."""
    found = {}
    for _, block in FENCED.findall(section()):
        if name := FILE.match(block):
            found[name[1]] = found.get(name[1], "") + block[name.end() :] + "\n\n"
    return found


def commands():
    blocks = [block for kind, block in FENCED.findall(section()) if not kind]
    return [line for block in blocks for line in block.splitlines() if line.startswith("heapw")]


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    """The package, as an installer leaves it: modules, metadata and entry points side by side."""
    root = tmp_path_factory.mktemp("collector")
    for name, text in files().items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text.rstrip() + "\n")
    project = tomllib.loads((root / "pyproject.toml").read_text())["project"]
    about = root / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {place}" for name, place in entries.items())]
    (about / "entry_points.txt").write_text("\n".join(lines) + "\n")
    return root


def run(package, *command, **settings):
    paths = os.pathsep.join([str(package), str(ROOT / "tests"), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=package,
        env={**os.environ, "PYTHONPATH": paths, **settings},
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def test_the_section_makes_a_package():
    assert set(files()) == {
        "pyproject.toml",
        "mark_region/__init__.py",
        "mark_region/manager.py",
        "tests/test_mark_region.py",
    }
    assert {shlex.split(line)[1] for line in commands()} == {"synthesise", "compare", "replay"}


def test_its_code_is_in_the_style_of_the_house(package):
    # The order of imports depends on where a package lies.
    for tool in (["check", "--ignore=I001"], ["format", "--check"]):
        settings = ["--config", str(ROOT / "pyproject.toml"), "mark_region"]
        status, told = run(package, "ruff", *tool, *settings)
        assert status == 0, told


@pytest.mark.parametrize("interpreted", ["0", "1"])
def test_its_own_test_passes(package, interpreted):
    if INTERPRETED and interpreted == "0":
        pytest.skip("compiled in the compiled suite")
    told = run(package, "pytest", "-q", "tests", HEAPWRIGHT_INTERPRET=interpreted)
    assert told[0] == 0 and "1 passed" in told[1], told[1]


def test_the_conformance_suite_finds_it(package):
    tests = str(ROOT / "tests" / "collectors" / "test_conformance.py")
    options = ["-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-k", NAME]
    status, told = run(package, "pytest", *options, tests, HEAPWRIGHT_INTERPRET="1")
    assert status == 0, told
    assert int(re.search(r"(\d+) passed", told)[1]) >= 3 * 5


@pytest.mark.timeout(600)
@pytest.mark.skipif(INTERPRETED, reason="the commands are run compiled")
def test_every_command_works_at_once(package):
    for line in commands():
        status, told = run(package, *shlex.split(line))
        assert status == 0, f"{line}\n{told}"
        assert "Traceback" not in told
        if "compare" in line:
            assert NAME in told, told
    assert NAME in (package / "trees.html").read_text()


@pytest.mark.parametrize(
    "command", [f"worst-case {NAME} --live 16 --ratio 4", f"fly {NAME} -- true"]
)
def test_commands_for_managers_told_to_free_say_so(package, command):
    status, told = run(package, "heapwright", *command.split())
    assert status != 0
    assert "Traceback" not in told and NAME in told
    assert len(told.strip().splitlines()) <= 3, told
