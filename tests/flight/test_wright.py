"""wright in flight: hardened, one line on standard error and an abort; and where its heap ends."""

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
  static char *small[9000];
  char *volatile large, on_stack[200];
  switch (*words[1]) {
    case '2': free(first); free(first); break;
    case 'i': free(first + 16); break;
    case 'f': free(first + (1 << 30)); break;
    case 'r': free(first); first = realloc(first, 500); break;
    case 's': free(on_stack + 64 - (unsigned long)on_stack % 16); break;
    case '1': free((void *)1); break;
    case 'c': free((void *)&main); break;
    case 't': free(first); first[20] = 7; first = malloc(100); break;
    case 'o': first[100] = 0; free(first); break;
    case 'O': for (int i = 100; i < 124; i++) first[i] = 1; free(first); break;
    case 'z': first[100] = 1; first = realloc(first, 200); break;
    case 'l': large = malloc(400000); free(large); large[8] = 7; large = malloc(400000); break;
    case 'h':
      for (int i = 0; i < 3000; i++) small[i] = malloc(100);
      for (int i = 0; i < 3000; i++) free(small[i]);
      small[2500][30] = 7;
      for (int i = 0; i < 9000; i++) free(malloc(50));
      break;
    case 'w': free(first); free(second); *second = 7; first = malloc(100); break;
  }
  return *third;
}
"""

LIMITS = """
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
int main(int count, char **words) {
  if (count > 1 && mlockall(MCL_CURRENT | MCL_FUTURE)) return 4;
  long blocks = 0;
  if (count == 1) while (blocks < 1100 && malloc(1L << 30)) blocks++;
  long size, pages;
  FILE *file = fopen("/proc/self/statm", "r");
  if (fscanf(file, "%ld %ld", &size, &pages) != 2) return 1;
  printf("%ld %ld\\n", blocks, pages * 4 >> 10);
}
"""


@pytest.fixture(scope="module")
def limits(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A program that asks for a TiB in blocks of a GiB, or with an argument locks its memory: how
    many it got, and the MiB that are resident."""
    folder = tmp_path_factory.mktemp("limits")
    (folder / "limits.c").write_text(LIMITS)
    program = str(folder / "limits")
    subprocess.run(["cc", "-O1", "-o", program, str(folder / "limits.c")], check=True)
    return program


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
        ("s", hardened.FOREIGN),
        ("1", hardened.FOREIGN),
        ("c", hardened.FOREIGN),
        ("t", hardened.WRITTEN),
        ("l", hardened.WRITTEN),
        ("h", hardened.WRITTEN),
        ("o", hardened.OVERRUN),
        ("O", hardened.OVERRUN),
        ("z", hardened.OVERRUN),
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


def ended(command: list[str], settings: dict[str, int]) -> subprocess.CompletedProcess[str]:
    environment = {"LD_PRELOAD": str(build("wright", settings)), "PATH": "/usr/bin:/bin"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("hardened", [0, 1])
def test_the_heap_ends_where_the_machine_does(limits: str, hardened: int) -> None:
    blocks, resident = ended([limits], {"hardened": hardened}).stdout.split()
    assert int(blocks) == 1100 and int(resident) < 64


@pytest.mark.parametrize("hardened", [0, 1])
def test_tables_are_no_larger_than_the_heap_needs(limits: str, hardened: int) -> None:
    """All memory is locked, so that address space is memory."""
    done = ended([limits, "lock"], {"hardened": hardened})
    if done.returncode == 4:
        pytest.skip("may not lock memory (ulimit -l)")
    assert int(done.stdout.split()[1]) < 40


@pytest.mark.parametrize("limit", ["-d", "-v"])
def test_a_limit_of_the_process_is_the_heaps(limit: str) -> None:
    for megabytes, fits in ((10, True), (300, False)):
        asks = f"my $x = q(x) x {megabytes}e6; print length $x"
        done = ended(["sh", "-c", f'ulimit {limit} 100000; exec perl -e "$0"', asks], {})
        assert (done.stdout == f"{megabytes}000000") == fits, done.stderr
        assert done.returncode >= 0, "an end in order"
