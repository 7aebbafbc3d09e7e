"""Managers in flight: real programs run on them and say what they always say."""

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
