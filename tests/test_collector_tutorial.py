"""CONTRIBUTING's collector, step by step: its blocks make a package that every command knows."""

import re
import shlex

import pytest

import tutorial
from heapwright.compiler import INTERPRETED
from tutorial import ROOT, run

HEADING = "A collector, step by step"
NAME = "mark-region"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return tutorial.installed(HEADING, tmp_path_factory.mktemp("collector"))


def test_the_section_makes_a_package():
    assert set(tutorial.files(HEADING)) == {
        "pyproject.toml",
        "mark_region/__init__.py",
        "mark_region/manager.py",
        "tests/test_mark_region.py",
    }
    assert {shlex.split(line)[1] for line in tutorial.commands(HEADING)} == {
        "synthesise",
        "compare",
        "replay",
    }


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
    for line in tutorial.commands(HEADING):
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
