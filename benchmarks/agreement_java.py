"""A recorded Java server flown through HotSpot's twins, beside really running it so.

    python -m benchmarks.agreement_java [-o docs/agreement-java.md] [--only c1|default]

records benchmarks/Server.java once a set-up, replays the trace at each heap through each twin, and
runs the program itself so. Nothing in the page is typed by hand. A JDK must be here.

By default the optimising compiler leaves allocations out (escape analysis), and when it compiles
what is a matter of time. While a program is recorded it keeps pace, as with -Xbatch: such runs are
what a trace is of. Of free ones it has the least; a second recording, without escape analysis, has
the most.
"""

import argparse
import datetime
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.tables import kernel, table
from heapwright.errors import HeapwrightError
from heapwright.references.hotspot.logged import LoggedAgreement, beside
from heapwright.references.tally import difference
from heapwright.trace.gc_log import GcLog, read
from heapwright.trace.recorder.graph import record_graph
from heapwright.trace.store import Trace
from heapwright.words import bytes_text

M = 1 << 20
SOURCE = Path(__file__).with_name("Server.java")
HEAPS = (16 * M, 24 * M, 32 * M)
RUNS = 3
CLIENTS, SEED = 2, 1
COLLECTORS = {  # as the twins are: one thread, sizes that stay
    "hotspot-serial": ["-XX:+UseSerialGC"],
    "hotspot-parallel": ["-XX:+UseParallelGC", "-XX:-UseAdaptiveSizePolicy"],
    "hotspot-g1": [
        *("-XX:+UseG1GC", "-XX:ConcGCThreads=1", "-XX:+UnlockDiagnosticVMOptions"),
        *("-XX:+IgnoreUnrecognizedVMOptions", "-XX:-G1UsePreventiveGC"),  # gone in 21
    ],
}
FOREGROUND = "-XX:-BackgroundCompilation"  # the program waits for its compilers
KEPT_ALL = "-XX:-DoEscapeAnalysis"
WHY_TWO = (
    f"Recorded again with `{KEPT_ALL}`: {{:,}} events. The real runs beside the twin wait for "
    f"their compilers, `{FOREGROUND}`: so a recorded program runs, as its compilers keep pace with "
    "it. A free run allocates more until they have caught up, which is a matter of time and of "
    "what else the machine does: the two recordings are the range in which it lies.\n\n"
)
SET_UPS = {  # options, what they mean, requests
    "-XX:TieredStopAtLevel=1": ("without the optimising compiler", 100_000),
    "": ("as the JVM compiles by default", 400_000),
}


def say(text: str) -> None:
    """Progress, on stderr."""
    print(text, file=sys.stderr, flush=True)


def java(classes: Path, options: list[str], requests: int) -> list[str]:
    """The command of the server."""
    program = ["-cp", str(classes), "Server", str(requests), str(CLIENTS), str(SEED)]
    return ["java", *options, *program]


def young(manager: str, heap: int) -> dict[str, int]:
    """The twin's settings: G1 with young of a fixed size, a third as the others have it."""
    sized = {"Xmn": heap // 3} if manager == "hotspot-g1" else {}
    return {"Xmx": heap, **sized}


def options_of(manager: str, heap: int, set_up: str) -> list[str]:
    """The options of a real run."""
    sizes = [f"-Xms{heap}", f"-Xmx{heap}", "-XX:ParallelGCThreads=1"]
    sized = [f"-Xmn{heap // 3}"] if manager == "hotspot-g1" else []
    return [*sizes, *sized, *COLLECTORS[manager], *([set_up] if set_up else [])]


def really(folder: Path, manager: str, heap: int, set_up: str, requests: int) -> list[GcLog]:
    """What the JVM logged of each of RUNS runs."""
    logs = []
    for number in range(RUNS):
        path = folder / f"{manager}-{number}.log"
        options = [*options_of(manager, heap, set_up), f"-Xlog:gc*:file={path}"]
        subprocess.run(java(folder, options, requests), check=True, stdout=subprocess.DEVNULL)
        logs.append(read(path))
    return sorted(logs, key=lambda log: log.youngs)


def row(
    manager: str, heap: int, found: LoggedAgreement, logs: list[GcLog], free: list[str]
) -> list[str]:
    """One heap of one collector; the real run is the median one."""
    twin, real = found.young
    return [
        manager,
        bytes_text(heap),
        f"{twin:,} / {real:,} ({difference(twin, real)})",
        f"{logs[0].youngs} to {logs[-1].youngs}",
        *free,
        "{:,} / {:,}".format(*found.full),
        " / ".join(bytes_text(value) for value in found.allocated_bytes),
        " / ".join(bytes_text(value) for value in found.after_young_bytes),
    ]


def free_runs(most: LoggedAgreement, least: int, logs: list[GcLog]) -> list[str]:
    """The range that two recordings give, and what the JVM did left to itself."""
    counts = [log.youngs for log in logs]
    held = least <= counts[0] and counts[-1] <= most.young[0]
    return [
        f"{least:,} to {most.young[0]:,}",
        f"{counts[0]} to {counts[-1]}",
        "yes" if held else "no",
    ]


def recorded(folder: Path, set_up: str, requests: int) -> Trace:
    """The server's trace, recorded in the first of the heaps with the serial collector."""
    path = folder / f"server{set_up.replace(':', '')}.heap.parquet"
    say(f"recording {set_up or 'by default'}")
    record_graph(java(folder, options_of("hotspot-serial", HEAPS[0], set_up), requests), path)
    return Trace.open(path)


def section(folder: Path, set_up: str, times: float) -> str:
    """The recording of a set-up and its table."""
    what, requests = SET_UPS[set_up][0], int(SET_UPS[set_up][1] * times)
    trace = recorded(folder, set_up, requests)
    whole = recorded(folder, KEPT_ALL, requests) if not set_up else None
    rows = []
    for manager in COLLECTORS:
        for heap in HEAPS:
            say(f"{manager} {bytes_text(heap)}")
            logs = really(folder, manager, heap, set_up or FOREGROUND, requests)
            found = beside(manager, trace, logs[len(logs) // 2], young(manager, heap))
            free = []
            if whole:
                runs = really(folder, manager, heap, set_up, requests)
                most = beside(manager, whole, runs[-1], young(manager, heap))
                free = free_runs(most, found.young[0], runs)
            rows.append(row(manager, heap, found, logs, free))
    own = trace.collections()
    kept = f"; its own run had {own.youngs:,} young collections" if own else ""
    heads = ["twin", "-Xmx", "young: twin / real", f"real, {RUNS} runs"]
    heads += ["twins of both recordings", f"{RUNS} free runs", "held"] if whole else []
    heads += ["full"]
    heads += ["allocated up to the last", "heap after a young one"]
    serial = " ".join(["-XX:+UseSerialGC", *([set_up] if set_up else [])])
    told = WHY_TWO.format(whole.events) if whole else ""
    return (
        f"## {what[0].upper()}{what[1:]}\n\n"
        f"{requests:,} requests, recorded once at {bytes_text(HEAPS[0])} with `{serial}`: "
        f"{trace.events:,} events of Java {trace.java}{kept}.\n\n{told}{table(heads, rows)}\n"
    )


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-java.md"))
    parser.add_argument("--only", choices=["c1", "default"], help="leave the other section")
    parser.add_argument("--times", type=float, default=1.0, help="so many requests as said")
    chosen = parser.parse_args()
    if not shutil.which("javac") or not shutil.which("java"):
        raise SystemExit("no JDK is here: apt install openjdk-17-jdk-headless")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        subprocess.run(["javac", "-d", name, SOURCE], check=True)
        try:
            made = {
                set_up: section(folder, set_up, chosen.times)
                for set_up in SET_UPS
                if not chosen.only or (chosen.only == "c1") == bool(set_up)
            }
        except HeapwrightError as error:
            raise SystemExit(f"{error}") from None
    today = datetime.datetime.now(datetime.UTC).date()
    where = f"{kernel()}, {os.cpu_count()} cores, {today}"
    head = (
        "# A recorded Java program beside really running it\n\n"
        "Written by `python -m benchmarks.agreement_java`, never by hand. The program is "
        f"`benchmarks/Server.java` with requests of {CLIENTS} clients. It is recorded once; each "
        "twin replays that trace at each heap, and the JVM really runs the program so: one thread "
        "of collection, sizes that stay, `-Xms` as `-Xmx`, G1 with a third of the heap as `-Xmn`. "
        f"The real figure is the median of {RUNS} runs. {where}.\n"
    )
    before = chosen.output.read_text().split("\n## ")[1:] if chosen.only else []
    kept = dict(zip(SET_UPS, (f"## {each.rstrip()}\n" for each in before), strict=False))
    sections = [made.get(set_up) or kept[set_up] for set_up in SET_UPS]
    chosen.output.write_text("\n".join([head, *sections]).rstrip() + "\n")


if __name__ == "__main__":
    main()
