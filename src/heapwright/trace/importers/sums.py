"""Files that hold sums instead of events: known by their first bytes, and answered in a sentence.

    profile, snapshot, log, dump ─► told(path) ─► what it holds, why it cannot be replayed, and what
                                                  to record instead

A replay needs each request and each free, in order. A profile has their sums by stack, a snapshot
what was alive at a moment, a log of collections their sizes. Only the head of such a file is read:
a pickle could run code, a dump can be of any size.

Source     jemalloc and gperftools heap profiles (heap_v2); pprof profile.proto; valgrind's
           ms_print and dh_view inputs; JEP 271 unified GC logs; V8's --trace-gc; Go's gctrace and
           WriteHeapDump; HPROF's header; ELF's e_type; perf.data's magic
"""

import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from heapwright.errors import HeapwrightError
from heapwright.trace.importers.source import open_source

HEAD_BYTES = 4096
_RECORD = "record the program instead: `heapwright record -o app.heap.parquet -- CMD`"
_PYTHON = (
    "record the program instead: `heapwright record -o app.heap.parquet -- python3 app.py`, or "
    "the objects themselves: `heapwright record --graph -- python3 app.py`"
)
_RUNTIME = (
    "its objects cannot be recorded here, what the runtime asks of malloc can: "
    "`heapwright record -o app.heap.parquet -- {}`"
)
_JAVA = (
    "record its objects instead: `heapwright record --graph -o app.heap.parquet -- "
    "java -jar app.jar`"
)
_GC_LOG = (
    "`heapwright info` reads it, `heapwright validate hotspot-serial TRACE --log` lays it beside "
    "a twin, and `heapwright record --graph -- java -jar app.jar` records the objects"
)
_CGO = (
    "its objects cannot be recorded here, what it asks of malloc through cgo can: "
    "`heapwright record -o app.heap.parquet -- ./app`"
)
_TIME = re.compile(
    rb"\[\d+[.,]\d+s\]|\[\d{4}-\d\d-\d\dT[^\]\n]{8,30}\]|\[\d+ms\]|\[gc[^\]\n]*\]", re.ASCII
)
_COLLECTION = re.compile(  # with decorations before it, or none
    rb"(?:\[[^\]\n]{1,60}\]){0,9} ?(?:GC\(\d{1,12}\) (?:Pause|Concurrent|Garbage|Major|Minor) |"
    rb"Using (?:Serial|Parallel|G1|Concurrent Mark Sweep|Shenandoah|The Z Garbage Collector)\s*$)"
)
_OLDER = re.compile(
    rb"(?:\d{4}-\d\d-\d\dT\S{1,40}: )?(?:\d{1,12}[.,]\d+: )?\[(?:Full )?GC(?: |\()", re.ASCII
)
GC_LOG = "a log of a JVM's collections"
_SAMPLE_TYPE = 0x0A  # field 1 of a Profile, a message
_PROFILE_FIELDS = {number << 3 | 2 for number in (1, 2, 3, 4, 5, 6, 11)} | {  # messages, strings
    number << 3
    for number in (7, 8, 9, 10, 12, 13, 14, 15)  # numbers
}
_VALUE_TYPE = re.compile(rb"\x08[\x80-\xff]?[\x00-\x7f]\x10[\x80-\xff]?[\x00-\x7f]", re.DOTALL)


class Kind(NamedTuple):
    """A kind of file."""

    what: str  # it is
    holds: str
    instead: str  # what to record
    recognises: Callable[[bytes], object]


def _matches(pattern: bytes) -> Callable[[bytes], object]:
    """Whether the head matches from its first byte."""
    return re.compile(pattern).match


def _line_matches(pattern: bytes) -> Callable[[bytes], object]:
    """Whether any of its lines does."""
    return re.compile(rb"^" + pattern, re.MULTILINE).search


def _begins(*magics: bytes) -> Callable[[bytes], object]:
    return lambda head: head.startswith(magics)


def _is_elf(kinds: tuple[int, ...]) -> Callable[[bytes], object]:
    """Whether it is an ELF file of one of these types, in its own byte order."""

    def recognises(head: bytes) -> bool:
        if not head.startswith(b"\x7fELF") or len(head) < 18:
            return False
        return int.from_bytes(head[16:18], "big" if head[5] == 2 else "little") in kinds

    return recognises


def _is_tracemalloc(head: bytes) -> bool:
    """A pickle of protocol 2 to 5 whose first class is tracemalloc's."""
    return head[:1] == b"\x80" and head[1:2] in b"\2\3\4\5" and b"tracemalloc" in head[:200]


def _is_pprof(head: bytes) -> bool:
    """Every field is one of a Profile's, with its wire type, and a sample type is among them: a
    message of two small numbers. Writers put fields in any order."""
    at = types = 0
    while at < len(head):
        tag = head[at]
        if tag not in _PROFILE_FIELDS:
            return False
        value, at = _varint(head, at + 1)
        if value < 0:
            break
        if tag & 7 == 2:
            body, at = head[at : at + value], at + value
            if tag == _SAMPLE_TYPE:
                if not _VALUE_TYPE.fullmatch(body):
                    return False
                types += 1
    return types > 0


def _varint(head: bytes, at: int) -> tuple[int, int]:
    """A number of protobuf's and where it ends; -1 where the head ends first."""
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(head):
            break
        value |= (head[at] & 127) << shift
        at += 1
        if head[at - 1] < 128:
            return value, at
    return -1, at


def _is_gc_log(head: bytes) -> bool:
    """Unified logging with a tag of gc, or any other decorations before a line of a collection; or
    the lines of JDK 8, with or without dates."""
    for line in head.split(b"\n")[:40]:
        stamps = _TIME.match(line)
        if stamps and re.search(rb"\[gc[,\w ]*\]", line[:120]):
            return True
        if _COLLECTION.match(line) or _OLDER.match(line):
            return True
    return False


KINDS = (
    Kind(
        "a heap profile of jemalloc",
        "bytes in use by stack, sampled",
        _RECORD,
        _matches(rb"heap_v2/\d+\s"),
    ),
    Kind(
        "a heap profile of gperftools or Go's older pprof",
        "bytes in use by stack, sampled",
        _RECORD,
        _matches(rb"heap profile: +\d+:"),
    ),
    Kind(
        "a pprof profile",
        "sums by stack, sampled",
        _RECORD,
        _is_pprof,
    ),
    Kind(
        "output of valgrind's massif",
        "how many bytes were alive at some moments, with stacks",
        f"{_RECORD}, or `valgrind --trace-malloc=yes --log-file=app.log ./app`",
        _matches(rb"desc: [^\n]*\ncmd: [^\n]*\ntime_unit: "),
    ),
    Kind(
        "output of valgrind's dhat",
        "sums of blocks, lifetimes and accesses by stack",
        f"{_RECORD}, or `valgrind --trace-malloc=yes --log-file=app.log ./app`",
        _matches(rb'\s*\{\s*"dhatFileVersion"'),
    ),
    Kind(
        "a tracemalloc snapshot, a pickle, which is never opened because it could run code",
        "what Python had alive at one moment",
        _PYTHON,
        _is_tracemalloc,
    ),
    Kind(
        "a pickle, which is never opened because it could run code",
        "objects of some Python program",
        _PYTHON,
        lambda head: re.match(rb"\x80[\2-\5][\x95\}\]c(]", head),
    ),
    Kind(
        "a heap dump of a JVM (HPROF)",
        "the objects of one moment and their references",
        _JAVA,
        _begins(b"JAVA PROFILE 1."),
    ),
    Kind(
        "a recording of Java's Flight Recorder",
        "sampled events of a JVM",
        _JAVA,
        _begins(b"FLR\0"),
    ),
    Kind(
        GC_LOG,
        "the pauses and the heap's size at each",
        _GC_LOG,
        _is_gc_log,
    ),
    Kind(
        "a trace of Go's collections (GODEBUG=gctrace=1)",
        "the times and the heap's size at each",
        _CGO,
        _line_matches(rb"gc \d+ @[\d.]+s \d+%: "),
    ),
    Kind(
        "a log of V8's collections (--trace-gc)",
        "the pauses and the heap's size at each",
        _RUNTIME.format("node app.js"),
        _line_matches(rb"\[\d+:0x[0-9a-f]+(?::\d+)?\] +\d+ ms: (?:Scavenge|Mark-|Minor )"),
    ),
    Kind(
        "a heap snapshot of Chrome or Node.js",
        "the objects of one moment and their references",
        _RUNTIME.format("node app.js"),
        _matches(rb'\s*\{\s*"snapshot"\s*:\s*\{\s*"meta"'),
    ),
    Kind(
        "a sampling heap profile of Chrome or Node.js",
        "bytes by stack, sampled",
        _RUNTIME.format("node app.js"),
        _matches(rb'\s*\{\s*"head"\s*:\s*\{\s*"callFrame"'),
    ),
    Kind(
        "a heap dump of Go",
        "the objects of one moment and their references",
        _CGO,
        _matches(rb"go1\.\d+ heap dump\n"),
    ),
    Kind(
        "a trace of .NET's event pipe",
        "sampled events of a runtime",
        _RUNTIME.format("dotnet app.dll"),
        _begins(b"Nettrace"),
    ),
    Kind(
        "a recording of perf",
        "samples or events of the kernel",
        _RECORD,
        _begins(b"PERFILE2", b"2ELIFREP", b"PERFFILE"),
    ),
    Kind(
        "statistics of jemalloc",
        "its counters at one moment",
        _RECORD,
        _line_matches(rb"___ Begin jemalloc statistics ___"),
    ),
    Kind(
        "what glibc's malloc_info printed",
        "the free lists of one moment",
        _RECORD,
        _matches(rb'(?:<\?xml[^>]*>\s*)?<malloc version="'),
    ),
    Kind(
        "statistics of tcmalloc",
        "its counters at one moment",
        _RECORD,
        _matches(rb"-{20,}\s+MALLOC: "),
    ),
    Kind(
        "a core dump",
        "a process's memory at one moment",
        _RECORD,
        _is_elf((4,)),
    ),
    Kind(
        "a program or a library",
        "code",
        "record what a program does: `heapwright record -o app.heap.parquet -- ./app`",
        _is_elf((1, 2, 3)),
    ),
)


def recognised(head: bytes) -> Kind | None:
    """The kind of file that begins so; None of any other."""
    return next((kind for kind in KINDS if kind.recognises(head)), None)


def sentence(path: Path, kind: Kind) -> str:
    """What it holds, why it cannot be replayed, and what to record instead."""
    return (
        f"{path} is {kind.what}: it holds {kind.holds}, not each request and each free in order, "
        f"so there is nothing to replay; {kind.instead}"
    )


def told(path: Path) -> str:
    """The sentence about a file that holds sums; "" of any other, and of what cannot be read."""
    try:
        with open_source(path) as source:
            kind = recognised(source.peek(HEAD_BYTES))
    except HeapwrightError:
        return ""
    return sentence(path, kind) if kind else ""


def is_gc_log(path: Path) -> bool:
    """Whether it is a log of a JVM's collections; False of what cannot be read."""
    try:
        with open_source(path) as source:
            kind = recognised(source.peek(HEAD_BYTES))
    except HeapwrightError:
        return False
    return kind is not None and kind.what == GC_LOG
