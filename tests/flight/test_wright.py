"""wright hardened, in flight: one line on standard error, and an abort."""

import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from heapwright.compiler import INTERPRETED
from heapwright.flight.build import build
from heapwright.managers.malloc.wright import hardened

pytestmark = [
    pytest.mark.skipif(INTERPRETED, reason="a flight is compiled"),
    pytest.mark.skipif(not sys.platform.startswith("linux"), reason="a flight needs Linux"),
    pytest.mark.skipif(not shutil.which("ld"), reason="no linker"),
    pytest.mark.skipif(not shutil.which("cc"), reason="no C compiler"),
]

PROGRAM = """
#include <stdlib.h>
int main(int count, char **words) {
  char *volatile first = malloc(100), *volatile second = malloc(100), *volatile third = malloc(100);
  switch (*words[1]) {
    case '2': free(first); free(first); break;
    case 'i': free(first + 16); break;
    case 'f': free(first + (1 << 30)); break;
    case 'r': free(first); first = realloc(first, 500); break;
    case 'w': free(first); free(second); *second = 7; first = malloc(100); break;
  }
  return *third;
}
"""


@pytest.fixture(scope="module")
def wrong(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that does what its argument says and a program must not."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "wrong.c").write_text(PROGRAM)
    program = str(folder / "wrong")
    subprocess.run(["cc", "-O0", "-w", "-o", program, str(folder / "wrong.c")], check=True)
    return program


@pytest.mark.parametrize(
    ("deed", "verdict"),
    [
        ("2", hardened.DOUBLE_FREE),
        ("i", hardened.INSIDE),
        ("f", hardened.FOREIGN),
        ("r", hardened.DOUBLE_FREE),
        ("w", hardened.WRITTEN),
    ],
)
def test_a_mistake_is_said_and_ends_the_program(wrong: str, deed: str, verdict: int) -> None:
    library: Path = build("wright", {"hardened": 1})
    environment = {"LD_PRELOAD": str(library)}
    done = subprocess.run(
        [wrong, deed], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == -signal.SIGABRT
    assert done.stderr.strip() == hardened.SENTENCES[verdict]


def test_without_a_mistake_nothing_is_said(wrong: str) -> None:
    environment = {"LD_PRELOAD": str(build("wright", {"hardened": 1}))}
    done = subprocess.run([wrong, "-"], env=environment, capture_output=True, check=True)
    assert done.stderr == b""
