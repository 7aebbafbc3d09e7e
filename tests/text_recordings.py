"""A small recording in every text format, and the events that it says."""

import numpy as np

from heapwright.trace.importers import import_file
from heapwright.trace.schema import OPERATIONS
from heapwright.trace.store import Trace

ANDROID = """\
202: malloc 0xb4827400 1024
303: memalign 0xb4827800 16 104
202: realloc 0xb4830000 0xb4827400 2048
303: calloc 0xb4840000 32 8 1000 2000
303: free 0xb4840000
303: thread_done 0x0
303: free 0xb4827800
202: free 0x0
"""
LTRACE = """\
12 t->malloc(10 <unfinished ...>
13 t->calloc(3, 7 <unfinished ...>
13 libc.so.6->malloc(21)                         = 0x2000
12 <... malloc resumed> )                        = 0x1000
13 <... calloc resumed> )                        = 0x2000
12 t->free(0x1000 <unfinished ...>
13 t->malloc(11)                                 = 0x1000
12 <... free resumed> )                          = <void>
13 t->realloc(0x1000, 500)                       = 0x3000
13 t->memalign(64, 100, 0x7fdf9e021c60, 309)     = 0x4000
13 t->posix_memalign(0x7ffdb411f3e0, 128, 40, 5) = 0
13 t->realloc(0x3000, 0)                         = 0
13 +++ exited (status 0) +++
"""
VALGRIND = """\
==98== Memcheck, a memory error detector
==98== Copyright (C) 2002-2022, and GNU GPL'd, by Julian Seward et al.
==98== Command: ./p --fast
--98-- malloc(10) = 0x4A40040
--98-- _Znwm(72) = 0x4A40090
==98== Invalid read of size 4
--98-- realloc(0x4A40040,5000) = 0x4A400F0
--98-- _ZnwmSt11align_val_t(size 40, al 64) = 0x4A41680
--98-- memalign(al 128, size 40) = 0x4A41700
--98-- realloc(0x4A400F0,0)free(0x4A400F0)
--98--  = 0
--98-- _ZdlPvm(0x4A40090)
--98-- malloc(4611686018427387904) = 0x0
--98-- free(0x0)
"""
MTRACE = """\
= Start
@ ./p:(main+0x1d)[0x11bb] + 0x1000 0xa
@ ./p:[0x11e3] < 0x1000
@ ./p:[0x11e3] > 0x2000 0x1388
@ ./p:[0x131d] ! 0x2000 0x2000000000000000
@ ./p:[0x11bb] + (nil) 0x4000000000000000
@ /a path/lib x.so:[0x9] + 0x3000 0
- 0x2000
= End
"""
HEAPTRACK = """\
v 10400 3
x 6 /bin/p
X ./p 1
m 1 x 1000 0 800 1000 331
t 1020 0
t 1040 1
t 1080 1
+ a 2 5000
+ 20 2 6000
- 5000
+ 1388 3 7000
c 10
- 6000
+ 1f 2 6000
- 7000
R 39e
"""
HEAPTRACK_INTERPRETED = """\
v 10400 3
X ./p 1
s 6 /bin/p
s 4 main
s 8 /src/p.c
i 1020 1 2 3 c
t 1 0
a a 1
a 14 1
+ 0
+ 0
+ 1
- 0
- 1
"""
FORMATS = {
    "android": (
        ANDROID,
        [
            ("malloc", 0, 1024, 0, 0),
            ("memalign", 1, 104, 4, 1),
            ("realloc", 0, 2048, 0, 0),
            ("calloc", 2, 256, 0, 1),
            ("free", 2, 0, 0, 1),
            ("thread_exit", -1, 0, 0, 1),
            ("free", 1, 0, 0, 2),  # the id came back: another thread
        ],
        ["frees of NULL, left out: 1"],
    ),
    "csapp": (
        "20000\n2\n7\n1\na 0 512\na 1 128\nr 0 640\nf 0\na 1 7\nr 1 0\nf -1\n",
        [
            ("malloc", 0, 512, 0, 0),
            ("malloc", 1, 128, 0, 0),
            ("realloc", 0, 640, 0, 0),
            ("free", 0, 0, 0, 0),
            ("malloc", 0, 7, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        ["objects that lost their name to another and are never freed: 1"],
    ),
    "ltrace": (
        LTRACE,
        [
            ("malloc", 0, 10, 0, 0),
            ("calloc", 1, 21, 0, 1),
            ("free", 0, 0, 0, 0),
            ("malloc", 0, 11, 0, 1),
            ("realloc", 0, 500, 0, 1),
            ("memalign", 2, 100, 6, 1),
            ("free", 0, 0, 0, 1),
        ],
        ["calls whose result is not told, left out: 1"],
    ),
    "valgrind": (
        VALGRIND,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 72, 0, 0),
            ("realloc", 0, 5000, 0, 0),
            ("memalign", 2, 40, 6, 0),
            ("memalign", 3, 40, 7, 0),
            ("free", 0, 0, 0, 0),
            ("free", 1, 0, 0, 0),
            ("malloc", -1, (1 << 48) - 1, 0, 0),
        ],
        ["requests beyond any address space, which stand as refused: 1"],
    ),
    "logalloc": (
        "5 9 malloc(32)=0x10\n5 9 calloc(2,8)=0x20\n6 9 malloc(1)=0x10\n"
        "5 8 posix_memalign(256,240)=0x30\n5 8 jemalloc_stats()\n5 8 realloc(0x10,64)=0x40\n"
        "5 9 free(0x20)\n",
        [
            ("malloc", 0, 32, 0, 0),
            ("calloc", 1, 16, 0, 0),
            ("memalign", 2, 240, 8, 1),
            ("realloc", 0, 64, 0, 1),
            ("free", 1, 0, 0, 0),
        ],
        ["lines of other processes than the first, left out: 1"],
    ),
    "munged logalloc": (
        "1 1 malloc(32)=#1\n1 1 realloc(#1,64)=#1\n1 1 free(#1)\n1 1 free(#0)\n",
        [("malloc", 0, 32, 0, 0), ("realloc", 0, 64, 0, 0), ("free", 0, 0, 0, 0)],
        ["frees of NULL, left out: 1"],
    ),
    "mtrace": (
        MTRACE,
        [
            ("malloc", 0, 10, 0, 0),
            ("realloc", 0, 5000, 0, 0),
            ("malloc", -1, (1 << 48) - 1, 0, 0),
            ("malloc", 1, 0, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        ["refused reallocs, left out: their blocks stay as they were: 1"],
    ),
    "heaptrack": (
        HEAPTRACK,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 32, 0, 0),
            ("free", 0, 0, 0, 0),  # nothing proves a realloc
            ("malloc", 0, 5000, 0, 0),
            ("free", 1, 0, 0, 0),
            ("malloc", 1, 31, 0, 0),
            ("free", 0, 0, 0, 0),
        ],
        [
            "nor threads, nor requests that were refused",
            "2 allocations came straight after a free and were kept apart",
        ],
    ),
    "heaptrack, interpreted": (
        HEAPTRACK_INTERPRETED,
        [
            ("malloc", 0, 10, 0, 0),
            ("malloc", 1, 10, 0, 0),
            ("malloc", 2, 20, 0, 0),
            ("free", 1, 0, 0, 0),  # the last one made of its kind
            ("free", 2, 0, 0, 0),
        ],
        ["of several live blocks of one size and stack the last one is taken to be freed, 1 times"],
    ),
    "table": (
        "op,object,old,size,align,thread,site\nmalloc,0x10,,5,,7,main\nnew,0x20,,6,64,7,\n"
        "realloc,0x30,0x10,9,,8,grow\nfree,0x20,,,,7,\nfree,0x20,,,,7,\nmemalign,(nil),,8,64,8,\n",
        [
            ("malloc", 0, 5, 0, 0),
            ("malloc", 1, 6, 0, 0),
            ("realloc", 0, 9, 0, 1),
            ("free", 1, 0, 0, 0),
            ("memalign", -1, 8, 6, 1),
        ],
        ["blocks that were not live, freed twice or allocated before the recording began: 1"],
    ),
}


def imported(content, tmp_path, **options):
    source, output = tmp_path / "source", tmp_path / "out.parquet"
    source.write_bytes(content if isinstance(content, bytes) else content.encode())
    import_file(source, output, **options)
    return Trace.open(output)


def told(trace):
    """The events as (operation, slot, size, align log2, thread)."""
    found = []
    for batch in trace.batches():
        nothing = np.zeros(len(batch.op), np.int64)
        columns = [batch.op, batch.slot, batch.size]
        columns += [c if len(c) else nothing for c in (batch.align, batch.thread)]
        rows = zip(*(column.tolist() for column in columns), strict=True)
        found += [(OPERATIONS[op], *rest) for op, *rest in rows]
    return found
