"""HotSpot's table of agreement: programs of an object graph, twin and real JVM.

    python -m benchmarks.agreement_hotspot [-o docs/agreement-hotspot.md] [--only hotspot-g1]

writes the page, or with --only the sections of these twins, and leaves the others as they are.
Nothing in it is typed by hand: run this again after a change to a twin. A JVM of each release is
driven that is here; HEAPWRIGHT_JVMS names folders of further ones.
"""

import argparse
import sys
from pathlib import Path
from typing import NamedTuple

from benchmarks import tables
from benchmarks.tables import here, setting, table, today
from heapwright.errors import HeapwrightError
from heapwright.managers.registry import named
from heapwright.references.hotspot import build
from heapwright.references.hotspot.agreement import HotspotAgreement, validate
from heapwright.references.hotspot.options import COLLECTORS
from heapwright.references.tally import Tally, difference
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.versions import version_number, version_text

M = 1 << 20
OBJECTS = 300_000


class Program(NamedTuple):
    """A program and the heap that it is played in, bytes."""

    name: str
    heap: int
    young: int


PROGRAMS = (
    Program("gcbench", 6 * M, 2 * M),
    Program("linked-lists", 6 * M, 2 * M),
    Program("bitmap-cache", 100 * M, 20 * M),
    Program("request-server", 8 * M, 2 * M),
    Program("red-black-map", 8 * M, 2 * M),
)
PLAIN = {"UseTLAB": 0}
GROWING = "-XX:-UseTLAB, -Xms twice -Xmn and -Xmx four times as large as elsewhere"
SET_UPS: dict[str, dict[str, dict[str, int]]] = {
    "hotspot-serial": {
        "-XX:-UseTLAB": PLAIN,
        "-XX:TLABSize=16k": {"TLABSize": 16384},
        "-XX:-UseTLAB -XX:PretenureSizeThreshold=300": {**PLAIN, "PretenureSizeThreshold": 300},
        "-XX:-UseTLAB -XX:-UseCompressedOops": {**PLAIN, "UseCompressedOops": 0},
        GROWING: PLAIN,
    },
    "hotspot-parallel": {
        "-XX:-UseTLAB": PLAIN,
        "-XX:-UseTLAB -XX:-UseCompressedOops": {**PLAIN, "UseCompressedOops": 0},
        "-XX:-UseTLAB -XX:HeapMaximumCompactionInterval=0": {
            **PLAIN,
            "HeapMaximumCompactionInterval": 0,
        },
    },
}
REGIONS = (
    Program("gcbench", 32 * M, 4 * M),
    Program("linked-lists", 64 * M, 6 * M),
    Program("bitmap-cache", 400 * M, 40 * M),
    Program("request-server", 64 * M, 5 * M),
    Program("red-black-map", 64 * M, 8 * M),
)
SET_UPS["hotspot-g1"] = {
    "-XX:InitiatingHeapOccupancyPercent=100": {"InitiatingHeapOccupancyPercent": 100},
    "-XX:InitiatingHeapOccupancyPercent=20": {"InitiatingHeapOccupancyPercent": 20},
}
CHUNKS = (  # so large that no collection is made while the JVM starts
    Program("gcbench", 8 * M, 2 * M),
    Program("linked-lists", 8 * M, 2 * M),
    Program("bitmap-cache", 200 * M, 40 * M),
    Program("request-server", 8 * M, 2 * M),
    Program("red-black-map", 8 * M, 2 * M),
)
SET_UPS["hotspot-cms"] = {
    "-XX:-UseTLAB -XX:CMSInitiatingOccupancyFraction=100": {
        **PLAIN,
        "CMSInitiatingOccupancyFraction": 100,
    },
    "-XX:-UseTLAB -XX:CMSInitiatingOccupancyFraction=60": {
        **PLAIN,
        "CMSInitiatingOccupancyFraction": 60,
    },
}
HEAPS = {"hotspot-g1": REGIONS, "hotspot-cms": CHUNKS}
WITHOUT = {  # an option that it has no longer; rules of growth, or headers, that the twin has not
    ("25.0", "-XX:-UseTLAB -XX:PretenureSizeThreshold=300"),
    ("25.0", GROWING),
    ("11.0", GROWING),
    ("11.0", "-XX:-UseTLAB -XX:-UseCompressedOops"),
}
HEADER = (
    "program",
    "events",
    "JVM driven",
    "collections: twin / real",
    "event",
    "kind",
    "bytes in old",
    "survivors",
    "threshold",
    "age table",
    "all equal",
)
CYCLES = "concurrent cycles: twin / real"  # a column of CMS
HEADER_OF_REGIONS = (
    *HEADER[:6],
    "eden regions",
    "survivor regions",
    "humongous regions",
    "old regions",
    "threshold",
    "age table",
)


REFERENCES = "references"  # the section of a program that declares some
SOFT_OBJECTS = 20_000
SOFTLY = {"SoftRefLRUPolicyMSPerMB": 10, "events_per_ms": 100, **PLAIN}
SOFT_HEAPS: dict[str, dict[str, int]] = {
    "hotspot-serial": {"Xmx": 6 * M, "Xmn": 2 * M},
    "hotspot-parallel": {"Xmx": 10 * M, "Xmn": 2 * M},
    "hotspot-g1": {
        **{"Xmx": 16 * M, "Xmn": 3 * M, "G1HeapRegionSize": M},
        "InitiatingHeapOccupancyPercent": 100,
    },
    "hotspot-cms": {"Xmx": 8 * M, "Xmn": 2 * M, "CMSInitiatingOccupancyFraction": 100},
}
HEADER_OF_REFERENCES = (
    "twin",
    "events",
    "JVM driven",
    "collections: twin / real",
    "soft cleared: twin / real",
    "weak",
    "phantom",
    "finalisers run",
    "which, at each event that collected",
    "order in the queue, at young ones",
    "bytes, or regions, equal",
    "age table",
)


def references(folder: Path) -> str:
    """The section of references: a cache of soft ones, with weak, phantom ones and finalisers."""
    path = folder / "soft-cache.heap.parquet"
    synthesise("soft-cache", path, {"objects": SOFT_OBJECTS})
    trace, rows = Trace.open(path), []
    for manager, heap in SOFT_HEAPS.items():
        for version in named(manager).card.versions:
            number = version_number(version)
            release = int(version_text(number).split(".")[0])
            if build.missing(release):
                continue
            print(f"{manager} soft-cache, JDK {release}", file=sys.stderr)
            chosen = {**SOFTLY, **heap, "version": number}
            if manager == "hotspot-g1":
                del chosen["UseTLAB"]
            found = validate(manager, trace, chosen)
            seen = {kind: (twin, real) for kind, twin, real in found.references_seen}
            tallies = (found.references, found.queues, found.whole, found.ages)
            rows.append(
                [
                    manager,
                    f"{found.events:,}",
                    found.real_version,
                    tables.pair(found.collections),
                    *(tables.pair(seen[kind]) for kind in ("soft", "weak", "phantom", "finalised")),
                    *(f"{each.equal:,} of {each.compared:,}" for each in tallies),
                ]
            )
    heaps = "; ".join(f"{name} {setting(heap)}" for name, heap in SOFT_HEAPS.items())
    return f"""## {REFERENCES}

The program `soft-cache` with {SOFT_OBJECTS:,} objects, `SoftRefLRUPolicyMSPerMB=10`, 100 events a
millisecond; what the JVM's clock of soft references shows is told to the twin. In these heaps
survivors overflow: {heaps}.

{table(HEADER_OF_REFERENCES, rows)}
"""


def row(program: str, found: HotspotAgreement) -> list[str]:
    """The cells of one comparison."""
    twin, real = found.collections
    tallies: tuple[Tally, ...] = (
        *(found.moments, found.kinds, found.old, found.survivors),
        *(found.thresholds, found.ages, found.whole),
    )
    if found.eden.compared:
        tallies = (
            *(found.moments, found.kinds, found.eden, found.survivors),
            *(found.humongous, found.old, found.thresholds, found.ages),
        )
    cycles = [f"{found.cycles[0]:,} / {found.cycles[1]:,}"]
    return [
        program,
        f"{found.events:,}",
        found.real_version,
        f"{twin:,} / {real:,} ({difference(twin, real)})",
        *(cycles if found.manager == "hotspot-cms" else ()),
        *(f"{each.equal:,} of {each.compared:,}" for each in tallies),
    ]


def section(manager: str, traces: dict[Program, Trace]) -> str:
    """The tables of one twin."""
    text = f"## {manager}\n"
    regions = manager == "hotspot-g1"
    header = HEADER_OF_REGIONS if regions else HEADER
    if manager == "hotspot-cms":
        header = (*header[:4], CYCLES, *header[4:])
    heaps = {each.name: each for each in HEAPS.get(manager, PROGRAMS)}
    for set_up, settings in SET_UPS[manager].items():
        rows = []
        for version in named(manager).card.versions:
            number = version_number(version)
            release = int(version_text(number).split(".")[0])
            if build.missing(release) or (version, set_up) in WITHOUT:
                continue
            for program, trace in traces.items():
                print(f"{manager} {set_up}, JDK {release}, {program.name}", file=sys.stderr)
                size = heaps[program.name]
                heap = {"Xmx": size.heap, "Xmn": size.young, "version": number}
                heap |= {"G1HeapRegionSize": M} if regions else {}
                if set_up == GROWING:
                    heap |= {"Xms": 2 * size.young, "Xmx": 4 * size.heap}
                rows.append(row(program.name, validate(manager, trace, {**heap, **settings})))
        text += f"\n`{' '.join(COLLECTORS[manager])} {set_up}`\n\n{table(header, rows)}\n"
    return text


def sections(text: str) -> dict[str, str]:
    """The sections of a page that was written before, by twin."""
    parts = text.split("\n## ")[1:]
    return {part.split("\n")[0]: f"## {part.rstrip()}\n" for part in parts}


def page(folder: Path, objects: int, only: list[str], before: str) -> str:
    """The whole page; sections that are not made anew are those of `before`."""
    traces = {}
    for program in PROGRAMS:
        path = folder / f"{program.name}.heap.parquet"
        synthesise(program.name, path, {"objects": objects})
        traces[program] = Trace.open(path)
    heaps = "; ".join(
        f"{each.name} {each.heap // M} MiB of which young {each.young // M}, for G1 "
        f"{other.heap // M} and {other.young // M}, for CMS {third.heap // M} and "
        f"{third.young // M}"
        for each, other, third in zip(PROGRAMS, REGIONS, CHUNKS, strict=True)
    )
    told = sections(before) if only else {}
    for name in only or (*SET_UPS, REFERENCES):
        told[name] = references(folder) if name == REFERENCES else section(name, traces)
    written = "\n".join(told[name] for name in (*SET_UPS, REFERENCES) if name in told)
    return f"""# Agreement with HotSpot

Written by `benchmarks/agreement_hotspot.py` on {today()}: {here()}.

The key is what a real JVM's own counters say after each allocation that collected, while it plays
the same events: a fresh process without compilers (`-Xint`), `-Xms` equal to `-Xmx`. Compared is
the event, young and full collections, bytes in the old generation and of the survivors, the
tenuring threshold and the age table. An event may collect twice, so there are more collections than
events. What the JVM keeps for itself in the old generation is told to the twin. Each program makes
about {objects:,} objects. Heaps: {heaps}.

Of G1 regions are compared instead of bytes; it is run without an archive (`-Xshare:off`), so that
the JVM's own objects lie at the heap's start. Where it runs out of regions, the twin takes the last
of them in another order; with a low IHOP its cycles run beside the program, so that no two runs of
the real one are alike: there only the number of collections is to be read. So it is of CMS where
cycles ran; where none is wanted, a run beside which one began is made again.

How the twins work, and what they leave out, is [a page of its own](hotspot.md).

{written}"""


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-hotspot.md"))
    parser.add_argument("--objects", type=int, default=OBJECTS, help="that each program makes")
    parser.add_argument(
        "--only", nargs="*", default=[], help="twins", choices=[*SET_UPS, REFERENCES]
    )
    options = parser.parse_args()
    before = options.output.read_text() if options.output.exists() else ""

    def made(folder: Path) -> str:
        if found := build.missing():
            raise HeapwrightError(f"cannot drive the real HotSpot: {found}.")
        return page(folder, options.objects, options.only, before)

    return tables.written(options.output, made)


if __name__ == "__main__":
    sys.exit(main())
