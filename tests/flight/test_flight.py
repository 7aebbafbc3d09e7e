"""Managers in flight: a C program that tries everything, and real ones that say what they say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from heapwright.flight.build import build
from heapwright.flight.session import fly
from heapwright.kernel import INTERPRETED

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
]


def output(library: Path, *command: str) -> str:
    environment = {"LD_PRELOAD": str(library), "PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stderr == ""
    return done.stdout


MANAGERS = ["linear", "first-fit", "segregated-fit", "buddy", "slots", "glibc"]


@pytest.fixture(scope="session")
def stress(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The C stress program, built."""
    if not shutil.which("cc"):
        pytest.skip("no C compiler")
    program = tmp_path_factory.mktemp("stress") / "stress"
    source = Path(__file__).with_name("stress.c")
    flags = ["-O2", "-Wall", "-Wno-use-after-free", "-fno-builtin", "-pthread"]
    subprocess.run(["cc", *flags, "-o", str(program), str(source)], check=True)
    return program


@pytest.mark.parametrize("manager", MANAGERS)
def test_under_stress(manager: str, stress: Path) -> None:
    """8 threads, forks and thread exits under load, every entry point, every refusal."""
    assert output(build(manager), str(stress), "4000", "8", "2") == ""


@pytest.mark.parametrize("manager", ["linear", "first-fit"])
def test_ls_lists(manager: str) -> None:
    library = build(manager)
    assert library.stat().st_size < 200_000
    assert output(library, "ls", "/") == subprocess.check_output(
        ["ls", "/"], text=True, env={"LC_ALL": "C"}
    )


def test_the_exit_status_is_passed_on() -> None:
    library = build("linear")
    assert fly(library, ["sh", "-c", "exit 7"]) == 7
    assert fly(library, ["sh", "-c", "kill -9 $$"]) == 128 + 9
