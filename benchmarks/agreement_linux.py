"""The table of agreement with a real Linux's allocators, from full samples of two kernels.

    python -m benchmarks.agreement_linux SAMPLES [--memblock memblock.so]

writes docs/agreement-linux.md. SAMPLES holds what kernels wrote down of themselves; the page says
how that is made. Nothing in it is typed by hand: run this again after a change to a twin.
"""

import argparse
import datetime
import gzip
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from benchmarks.linux_boot import PROGRAM
from benchmarks.tables import table
from heapwright.linux.geometry import room_of
from heapwright.linux.recorded import (
    areas,
    boot,
    frames,
    objects,
    objects_at_work,
    reclaim,
    workload,
)
from heapwright.linux.recorded.events import Recording, recording, section
from heapwright.references.tally import percent
from heapwright.result import Result
from heapwright.trace.programs import synthesise
from heapwright.trace.store import Trace
from heapwright.tunnel.conditions import Conditions
from heapwright.tunnel.limited import Limit, limited

KERNELS = {"debian": "Debian's 6.1", "uml": "a user-mode 6.1"}
PROGRAMS = 2000
HEADER = ("twin", "kernel", "what", "equal", "compared", "and at the end")
FRAMES = 1 << 16  # of the machines that were recorded
LARGE = 1000  # of counts: those below differ by the pages that a program has of its own


def lines(path: Path) -> list[str]:
    """A packed text's lines."""
    with gzip.open(path, "rt", errors="replace") as text:
        return text.read().replace("\0", "").splitlines()


def booted(folder: Path) -> Recording:
    """What a boot of a kernel left in a folder."""
    with gzip.open(folder / "ttyS1.gz", "rt", errors="replace") as console:
        text = console.read()
    with gzip.open(folder / "debugcon.gz", "rb") as dump:
        return recording(text, dump.read())


def cells(what: str, equal: int, compared: int, end: str) -> list[str]:
    """The last cells of a row."""
    return [what, percent(equal, compared), f"{compared:,}", end]


def scripted(samples: Path) -> Iterator[list[str]]:
    """Rows of the scripted sequences."""
    for kernel, name in KERNELS.items():
        told = lines(samples / "scripted" / f"{kernel}.dump.gz")
        for each in frames.scripted(told):
            end = "every list and counter" if not each.different else "; ".join(each.different)
            what = f"frames of `{each.command}`, {each.refused:,} refusals"
            yield ["page-allocator", name, *cells(what, each.exact, each.allocations, end)]
        for found in objects.scripted(told):
            if isinstance(found, objects.Layouts):
                right = found.caches - len(found.wrong)
                yield ["slub", name, *cells("caches' layouts", right, found.caches, "")]
                right = found.sizes - len(found.wrong_sizes)
                yield ["kmalloc", name, *cells("steps of its room", right, found.sizes, "")]
                continue
            order = "random order" if found.random else "ascending"
            end = "every list of frames" if not found.different else "; ".join(found.different)
            what = f"objects of {found.cache}, {order}, {found.new_slabs} slabs"
            yield ["slub", name, *cells(what, found.exact, found.allocations, end)]
        area = areas.scripted(told)
        if area:
            yield ["vmalloc", name, *cells("addresses", area.exact, area.allocations, "")]


def at_work(samples: Path) -> Iterator[list[str]]:
    """Rows of the recordings of a kernel at work: whatever folders of SAMPLES hold one."""
    for console in sorted(samples.glob("*/ttyS1.gz")):
        found = booted(console.parent)
        name = console.parent.name
        listed = objects.slabinfo(section("\n".join(lines(console)), "proc/slabinfo").splitlines())
        if listed.caches:
            right = listed.caches - len(listed.wrong)
            yield ["slub", name, *cells("caches of /proc/slabinfo", right, listed.caches, "")]
        print(f"{name}: {len(found.events):,} events", file=sys.stderr)
        asked = [each[2] for each in found.events if each[1] == "kmalloc" and each[2]["ptr"]]
        if asked:
            right = sum(room_of(each["bytes_req"]) == each["bytes_alloc"] for each in asked)
            yield ["kmalloc", name, *cells("room of each request", right, len(asked), "")]
        if {"w0", "w1"} <= set(found.snapshots):
            events = found.between("w0", "w1")
            told = workload.replayed(found.snapshots["w0"], events, found.snapshots["w1"])
            end = (
                "every list and counter" if not told.different else f"{len(told.different)} differ"
            )
            what = f"frames, {told.events:,} events"
            yield ["page-allocator", name, *cells(what, told.exact, told.allocations, end)]
        slabs = objects_at_work.snapshots(found.lines)
        if {"w0", "w1"} <= set(slabs):
            events = found.between("slabs-w0", "slabs-w1")
            work = objects_at_work.replayed(slabs["w0"], events, slabs["w1"], FRAMES)
            same = work.caches - len(work.different)
            end = f"{same} of {work.caches} caches' slabs and lists"
            what = f"objects, {len(events):,} events, {work.new_slabs} new slabs"
            yield ["slub", name, *cells(what, work.exact, work.allocations, end)]


def at_boot(samples: Path, library: Path | None) -> Iterator[list[str]]:
    """Rows of the boot allocator."""
    for console in sorted(samples.glob("*/console.gz")):
        log = boot.booted(lines(console))
        if log.allocations:
            where = console.parent.name
            yield ["memblock", where, *cells("a boot's log", log.exact, log.allocations, "")]
    if library:
        told = boot.fuzz(library, PROGRAMS)
        right = told.operations - len(told.different)
        end = f"{told.handed_over} hand-overs to the page allocator"
        what = f"operations of {told.programs:,} random programs, both lists after each"
        yield ["memblock", "mm/memblock.c", *cells(what, right, told.operations, end)]


GROUPS = ("program", "scanned", "reclaimed", "major faults", "refaults of files", "killed")
MALLOCS = ("limit", "swap", "outcome", "operations done", "major faults", "reclaimed")
COUNTED = ("pgscan", "pgsteal", "pgmajfault", "workingset_refault_file", "oom_kill")


def groups(samples: Path) -> Iterator[list[str]]:
    """Rows of programs under a memory limit: what the kernel counted, and how far the twin is from
    it."""
    for path in sorted(samples.glob("*/reclaim.gz")):
        for job, real in reclaim.read("\n".join(lines(path))):
            mine = reclaim.counted(job)
            yield [job.words, *(beside(real[name], mine[name]) for name in COUNTED)]


def mallocs(samples: Path) -> Iterator[list[str]]:
    """Rows of a program on the real glibc under a limit: when it was killed, what it swapped."""
    for path in sorted(samples.glob("*/malloc.gz")):
        with tempfile.TemporaryDirectory() as folder:
            recorded = Path(folder) / "t.heap.parquet"
            synthesise(PROGRAM, recorded, {}, lambda made: None)
            trace = Trace.open(recorded)
            for limit, swap, real in reclaim.mallocs("\n".join(lines(path))):
                told = Result("glibc", "twin", 0, 0, {}, 0, 0)
                limited(told, trace, Limit(limit << 20, swap << 20), Conditions.of(trace))
                mine = told.under_limit
                assert mine
                event = mine.killed_event if mine.killed else trace.events
                out = mine.swapped_out_bytes // 4096
                ended = "killed" if real["oom_kill"] else "runs"
                if bool(real["oom_kill"]) != mine.killed:
                    ended += ", the twin not alike"
                yield [
                    *(f"{limit} MiB", f"{swap} MiB", ended, beside(real["done"], event)),
                    *(beside(real["pgmajfault"], mine.major_faults), beside(real["pgsteal"], out)),
                ]


def beside(real: int, mine: int) -> str:
    """A figure of the kernel, and how far the twin's is from it."""
    if mine == real:
        return f"{real:,}"
    if real < LARGE:
        return f"{real:,}, not {mine:,}"
    return f"{real:,}, {100 * (mine / real - 1):+.2f} %"


def page(samples: Path, library: Path | None) -> str:
    """The whole page."""
    rows = [*scripted(samples), *at_work(samples), *at_boot(samples, library)]
    today = datetime.datetime.now(datetime.UTC).date().isoformat()
    return f"""# Agreement with Linux

Written by `benchmarks/agreement_linux.py` on {today}.

The key is what a real Linux 6.1 wrote down of its own allocators: ordered free lists, a
processor's lists, slabs and their free objects before and after, and every answer in between. Two
kernels: Debian's in an emulated machine (zones DMA and DMA32, blocks of 512 frames, partial slabs
of a processor, random free lists), and a user-mode kernel from the same source (one zone, blocks
of 1024 frames, no such slabs, ascending lists). The rules are [a page of their own](linux.md).

{table(HEADER, rows)}

Given, not predicted: of a cache with a random order, where in it each new slab starts; of a kernel
at work, the zone of a request next to a watermark, a new slab's frames, and the cache of an object
where the event does not say it. After a miss a twin is set right, so that one miss is one miss.

## Under a memory limit

What a real 6.1 counted of programs that use pages in a known order, each in a group of its own
with swap on a RAM disk, and by how much the twin's figure differs; none is given where both are
equal. Not in the twin: some ten pages of the program and of the kernel for it, of which it is told
the number and not when they are used.

{table(GROUPS, list(groups(samples)))}

A million mallocs and frees of the program `{PROGRAM}` on the real glibc, which writes each block
when it is allocated and reads its first word when it is freed, as `--memory-limit` assumes; and the
twin of glibc under the twin of reclaim, which knows nothing of the program's own pages.

{table(MALLOCS, list(mallocs(samples)))}

## How the samples are made

By `make linux-keys` (`benchmarks/linux_boot.py`): it fetches Debian's kernel and its source, builds
what is needed in place and boots it.

- A module in the kernel writes the lists and runs scripted sequences with interrupts off: `pages
  COUNT SEED ORDER PERCENT`, `slab SIZE ALIGN COUNT SEED`, `vm COUNT SEED`. Its dump leaves an
  emulated machine by a debug port, and a user-mode kernel by its host's files.
- A kernel at work is recorded by tracefs: the events of kmem, and probes on what has no events
  (bulk allocations, drains). Raw pages of the ring follow the dump behind a line `MARK RAW`; the
  events' layouts stand in the console's text.
- The same bits at every boot: QEMU with `-icount shift=0,sleep=off -rtc base=2024-01-01,clock=vm`,
  or the user-mode kernel with `time-travel=inf-cpu`; `norandmaps random.trust_cpu=off`.
- What each kernel runs is a file of `benchmarks/linux/`: `scripted.job`, `boot.job`, `pages.job`,
  `slab.job`, `swap.job` with 160 MiB in a machine of 192, `reclaim.job` and `malloc.job`.
- The real `mm/memblock.c` is built in place as a library from Debian's `linux-source-6.1` by the
  headers of its own `tools/testing/memblock`, with functions `twin_reset`, `twin_dump` and a hook
  on the hand-over.

`python -m benchmarks.linux_keys SAMPLES` cuts the small keys that the suite replays.
"""


def main() -> int:
    """Write the page."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("samples", type=Path, help="the folder of the full samples")
    parser.add_argument("--memblock", type=Path, help="the real mm/memblock.c as a library")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/agreement-linux.md"))
    chosen = parser.parse_args()
    if not (chosen.samples / "scripted").is_dir():
        print(f"{chosen.samples} holds no samples: see docs/agreement-linux.md.", file=sys.stderr)
        return 1
    chosen.output.write_text(page(chosen.samples, chosen.memblock))
    return 0


if __name__ == "__main__":
    sys.exit(main())
