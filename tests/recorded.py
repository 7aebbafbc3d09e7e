# ruff: noqa: E501  programs in other languages keep their lines
"""Record programs of the tests, and let a fresh process make the same requests again."""

import subprocess
from pathlib import Path

import numpy as np

from heapwright.trace import schema
from heapwright.trace.recorder.session import record
from heapwright.trace.store import Trace

REPLAY = r"""
#define _GNU_SOURCE
#include <malloc.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
struct event { int64_t op, slot, size, align; };
int main(void) { /* events on stdin, mapped; addresses out of a mapping too, so nothing disturbs the heap */
    struct stat s;
    fstat(0, &s);
    size_t count = s.st_size / sizeof(struct event);
    struct event *e = mmap(0, s.st_size, PROT_READ, MAP_PRIVATE, 0, 0);
    int64_t *out = mmap(0, count * 8 + 8, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    void **live = mmap(0, count * 8, 3, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    out[0] = (int64_t)sbrk(0);
    for (size_t i = 0; i < count; i++) {
        void *p = e[i].slot < 0 ? NULL : live[e[i].slot];
        if (e[i].op == 0) { free(p); continue; }
        if (e[i].op == 1) p = malloc(e[i].size);
        if (e[i].op == 2) p = calloc(1, e[i].size);
        if (e[i].op == 3) p = realloc(p, e[i].size);
        if (e[i].op == 4) p = memalign(1UL << e[i].align, e[i].size);
        if (e[i].slot >= 0) live[e[i].slot] = p;
        out[i + 1] = (int64_t)p;
    }
    for (size_t at = 0; at < (count + 1) * 8;) at += write(1, (char *)out + at, (count + 1) * 8 - at);
    _exit(0);
}
"""


def compiled(folder: Path, source: Path) -> str:
    """Path of the program of a C file."""
    program = folder / source.stem
    subprocess.run(
        ["cc", "-O0", "-g", "-fno-builtin", "-pthread", "-o", program, source], check=True
    )
    return str(program)


def run(folder: Path, *command, **options) -> tuple[int, Trace]:
    status, _ = record([str(part) for part in command], folder / "out.heap.parquet", **options)
    return status, Trace.open(folder / "out.heap.parquet")


def all_events(trace: Trace) -> schema.Events:
    batches = list(trace.batches(tuple(schema.COLUMNS)))
    return schema.Events(*(np.concatenate(column) for column in zip(*batches, strict=True)))


def replayed_addresses(folder: Path, replay: str, trace: Trace) -> tuple[np.ndarray, np.ndarray]:
    """Offsets of blocks in the heap as recorded, and as a fresh process gets them."""
    events = all_events(trace)
    rows = np.zeros((trace.events, 4), np.int64)
    for column, name in enumerate(("op", "slot", "size", "align")):
        if len(getattr(events, name)):
            rows[:, column] = getattr(events, name)
    (folder / "events").write_bytes(rows.tobytes())
    with (folder / "events").open("rb") as stdin:
        done = subprocess.run([replay], stdin=stdin, stdout=subprocess.PIPE, check=True)
    start, *addresses = np.frombuffer(done.stdout, np.int64)
    recorded = events.address - trace.heap_start
    in_heap = (events.address > 0) & (recorded >= 0) & (recorded < 1 << 32)
    return recorded[in_heap], (np.array(addresses) - start)[in_heap]
