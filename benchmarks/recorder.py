"""What the recorder costs: processor time of programs under it, over without it.

    python -m benchmarks.recorder [--runs 7] [--json FILE]

Beside the recorder as it is, one that looks at no large block: what the looks cost; and one that
keeps whole stacks. Runs of them take turns, so that a neighbour's noise meets all; the least of
each counts, as noise only adds. churn.c's patterns are nothing but requests; `written`, `python`
and `nested`, strings in a map some 25 calls deep, do work as well. Then what the recorder keeps in
memory, by threads that live at once.
"""

import argparse
import contextlib
import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from heapwright.trace.recorder.build import FLAGS, library
from heapwright.trace.recorder.control import DEPTH, controlled

RECORDER = Path("src/heapwright/trace/recorder/recorder.c")
WRITTEN = r"""
#include <stdlib.h>
#include <string.h>
int main(void) { /* large blocks that come, are written, and go, among small ones */
    static char *large[16], *small[4096];
    unsigned draw = 1;
    for (int i = 0; i < 2000000; i++) {
        unsigned at = rand_r(&draw) % 4096;
        free(small[at]);
        small[at] = malloc(16 + rand_r(&draw) % 500);
        small[at][0] = 1;
        if (i % 100) continue;
        size_t size = 70000 + rand_r(&draw) % 400000;
        free(large[at % 16]);
        large[at % 16] = malloc(size);
        memset(large[at % 16], 1, size / 2);
    }
    return 0;
}
"""
NESTED = r"""
#include <cstdio>
#include <map>
#include <string>
#include <vector>
static std::map<std::string, std::vector<int>> kept;
__attribute__((noinline)) long fill(int i) {
    auto &row = kept["a key that is too long to be kept inside " + std::to_string(i % 997)];
    row.push_back(i);
    if (row.size() > 40) row = std::vector<int>(3, i);
    return row.size();
}
__attribute__((noinline)) long down(int i, int left) {
    long sum = left ? down(i, left - 1) : fill(i);
    __asm__ volatile("" ::: "memory");
    return sum + 1;
}
int main() {
    long sum = 0;
    for (int i = 0; i < 3000000; i++) sum += down(i, 20);
    printf("%ld\n", sum);
}
"""
THREADED = r"""
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static pthread_barrier_t there;
static void *busy(void *unused) { /* more than a chunk of its log holds */
    for (int i = 0; i < 6000; i++) free(malloc(100));
    pthread_barrier_wait(&there);
    pthread_barrier_wait(&there);
    return unused;
}
int main(int count, char **words) { /* KiB that are resident while so many threads live */
    int threads = count > 1 ? atoi(words[1]) : 1;
    char line[256];
    pthread_t one;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 1 << 17);
    pthread_barrier_init(&there, 0, threads + 1);
    for (int i = 0; i < threads; i++)
        if (pthread_create(&one, &small, busy, 0)) return 3;
    pthread_barrier_wait(&there);
    FILE *status = fopen("/proc/self/status", "r");
    while (fgets(line, sizeof line, status))
        if (!strncmp(line, "VmRSS:", 6)) printf("%ld\n", atol(line + 6));
    fflush(stdout);
    _Exit(0);
}
"""
STACKS = 128  # frames
THREADS = (1, 64, 1024, 2000)
PYTHON = "x=[bytes(i%2000) for i in range(300000)]; y=[{'a':i,'b':str(i)} for i in range(100000)]"


@contextlib.contextmanager
def recorded(preload: str, depth: int, folder: Path) -> Iterator[dict[str, str]]:
    """The environment of one run under a recorder; alone where `preload` is empty."""
    environment = dict(os.environ, PYTHONMALLOC="malloc")
    with tempfile.TemporaryDirectory(dir=folder) as logs:
        if preload:
            environment |= {"LD_PRELOAD": preload, "HEAPWRIGHT_RECORD": f"0:{logs}"}
            with controlled(Path(logs)) as page:
                page[DEPTH] = depth
        yield environment


def processor_seconds(command: list[str], preload: str, depth: int, folder: Path) -> float:
    """Of one run."""
    with recorded(preload, depth, folder) as environment:
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=True)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def resident_kib(command: list[str], preload: str, depth: int, folder: Path) -> int:
    """What one run of THREADED prints."""
    with recorded(preload, depth, folder) as environment:
        return int(subprocess.run(command, env=environment, capture_output=True, check=True).stdout)


def memory(folder: Path) -> dict[str, dict[str, float]]:
    """By threads that live at once: KiB a thread that the recorder adds, without stacks and with.

    Two runs' difference, the middle of three; what it takes whatever the threads, of one's with
    none, is told apart.
    """
    (folder / "threaded.c").write_text(THREADED)
    program = str(folder / "threaded")
    subprocess.run(
        ["cc", "-O1", "-fno-builtin", "-pthread", "-o", program, program + ".c"], check=True
    )
    found: dict[str, dict[str, float]] = {}
    base = dict.fromkeys((0, STACKS), 0.0)
    for threads in (0, *THREADS):
        row: dict[str, float] = {}
        for depth in base:
            added = statistics.median(
                resident_kib([program, str(threads)], str(library()), depth, folder)
                - resident_kib([program, str(threads)], "", 0, folder)
                for _ in range(3)
            )
            if threads:
                row["stacks_kib" if depth else "kib"] = (added - base[depth]) / threads
            else:
                base[depth] = added
        if not threads:
            print(
                f"memory  {base[0]:,.0f} KiB, with stacks {base[STACKS]:,.0f}, and each thread's:"
            )
            continue
        found[str(threads)] = row
        print(
            f"{threads:6,} threads  {row['kib']:6.1f} KiB, with stacks {row['stacks_kib']:.1f}",
            flush=True,
        )
    return found


def measured(runs: int, folder: Path) -> dict[str, dict[str, float]]:
    """By program: seconds alone, and times that under each recorder."""
    (folder / "written.c").write_text(WRITTEN)
    blind = folder / "blind.so"
    builds: list[list[str | Path]] = [
        ["cc", "-O2", "-pthread", "-o", folder / "churn", "benchmarks/churn.c", "-lm"],
        ["cc", "-O1", "-fno-builtin", "-o", folder / "written", folder / "written.c"],
        ["cc", "-DLARGE_BYTES=(1UL<<60)", "-o", blind, RECORDER, *FLAGS],
    ]
    for build in builds:
        subprocess.run(list(map(str, build)), check=True, stderr=subprocess.DEVNULL)
    programs = {
        f"churn {what}": [str(folder / "churn"), what, "1"] for what in ("small", "log", "large")
    }
    if shutil.which("c++"):
        (folder / "nested.cpp").write_text(NESTED)
        compiler = ["c++", "-O2", "-o", str(folder / "nested"), str(folder / "nested.cpp")]
        subprocess.run(compiler, check=True)
        programs["nested"] = [str(folder / "nested")]
    programs |= {"written": [str(folder / "written")], "python": [sys.executable, "-c", PYTHON]}
    found = {}
    for name, command in programs.items():
        recorder = str(library())
        variants = (("", 0), (str(blind), 0), (recorder, 0), (recorder, STACKS))
        taken: dict[tuple[str, int], list[float]] = {variant: [] for variant in variants}
        for _ in range(runs):
            for (preload, depth), seconds in taken.items():
                seconds.append(processor_seconds(command, preload, depth, folder))
        alone, without, whole, stacks = (min(seconds) for seconds in taken.values())
        found[name] = {
            "seconds": alone,
            "recorded": whole / alone,
            "without_looks": without / alone,
            "looks": whole / without,
            "stacks": stacks / alone,
            "looks_median": statistics.median(taken[recorder, 0])
            / statistics.median(taken[str(blind), 0]),
        }
        print(
            f"{name:12} {alone:6.2f} s  recorded x{whole / alone:.2f}  "
            f"without looks x{without / alone:.2f}  looks {whole / without - 1:+.1%}  "
            f"stacks x{stacks / alone:.2f}",
            flush=True,
        )
    return found


def main() -> None:
    """Measure, print, and keep as JSON where asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=7)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    with contextlib.ExitStack() as kept:
        folder = Path(kept.enter_context(tempfile.TemporaryDirectory()))
        found = {"programs": measured(options.runs, folder), "memory": memory(folder)}
    if options.json:
        options.json.write_text(json.dumps(found, indent=2) + "\n")


if __name__ == "__main__":
    main()
