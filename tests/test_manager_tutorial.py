"""CONTRIBUTING's manager, step by step: its blocks make a package that every command knows."""

import json
import re
import shlex
import shutil

import pytest

import tutorial
from heapwright.compiler import INTERPRETED
from small_traces import churn, write
from tutorial import ROOT, run

HEADING = "A manager, step by step"
NAME = "groups"


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    root = tutorial.installed(HEADING, tmp_path_factory.mktemp("manager"))
    write(root / "t.heap.parquet", churn(300 if INTERPRETED else 5000))
    return root


def test_the_section_makes_a_package():
    assert set(tutorial.files(HEADING)) == {
        "pyproject.toml",
        "groups/__init__.py",
        "groups/manager.py",
        "tests/test_groups.py",
    }
    lines = tutorial.commands(HEADING)
    assert {shlex.split(line)[1] for line in lines} == {"compare", "replay", "worst-case", "fly"}


def test_its_code_is_in_the_style_of_the_house(package):
    # The order of imports depends on where a package lies.
    for tool in (["check", "--ignore=I001"], ["format", "--check"]):
        settings = ["--config", str(ROOT / "pyproject.toml"), NAME]
        status, told = run(package, "ruff", *tool, *settings)
        assert status == 0, told


def test_its_own_test_passes(package):
    told = run(package, "pytest", "-q", "tests", HEAPWRIGHT_INTERPRET="1")
    assert told[0] == 0 and "1 passed" in told[1], told[1]


def test_the_conformance_suite_finds_it(package):
    tests = str(ROOT / "tests" / "managers" / "test_conformance.py")
    options = ["-q", "-c", str(ROOT / "pyproject.toml"), "-p", "no:cacheprovider", "-k", NAME]
    status, told = run(package, "pytest", *options, tests, HEAPWRIGHT_INTERPRET="1")
    assert status == 0, told
    assert int(re.search(r"(\d+) passed", told)[1]) >= 5


def test_interpreted_it_stands_on_another(package):
    """What it passes on has a head of its own, and yet the bytes of the two add up."""
    over = ["heapwright", "replay", f"{NAME} over glibc", "t.heap.parquet", "--json"]
    write(package / "few.heap.parquet", churn(200))
    over[3] = "few.heap.parquet"
    status, told = run(package, *over, HEAPWRIGHT_INTERPRET="1")
    assert status == 0, told
    assert set(json.loads(told)["result"]["storeys"]) == {NAME, "glibc"}


@pytest.mark.timeout(600)
@pytest.mark.skipif(INTERPRETED, reason="the commands are run compiled")
def test_every_command_works_at_once(package):
    for line in tutorial.commands(HEADING):
        if " fly " in line and not shutil.which("ld"):
            continue
        status, told = run(package, *shlex.split(line))
        assert status == 0, f"{line}\n{told}"
        assert "Traceback" not in told
        if "compare" in line or "worst-case" in line:
            assert NAME in told, told
    assert NAME in (package / "report.html").read_text()
