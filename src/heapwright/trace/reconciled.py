"""How much of a process's memory its recording explains, and what the rest probably is.

    anonymous memory = in the recorded heap + stacks + mapped past malloc + the image's own data

A recording holds what asked malloc. What the program maps itself, as a runtime does for its own
heap, is named with its bytes, by whom, and with what to do; so is what lies in files.

Source     process.h counts; the sizes of pymalloc's arenas: CPython's Objects/obmalloc.c (256 KiB,
           from 3.10 on 1 MiB)
Omits      what was resident between two samples: the process's own high-water mark tells how far
           the largest of them is from its peak
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from heapwright.trace.notes import UNEXPLAINED, Note, of_kind
from heapwright.trace.process import (
    ANON,
    COLUMNS,
    FILE,
    HEAP,
    MAPPED,
    RSS,
    STACKS,
    Mapper,
    Process,
)
from heapwright.words import bytes_text, percent_text

if TYPE_CHECKING:
    from heapwright.trace.store import Trace

EXPLAINED = 0.9  # of the anonymous memory: where more lies in the heap, there is nothing to say
TELLING_BYTES = 1 << 20  # less of a kind is not named
FEW_BYTES = 8 << 20  # no more than any program has beside its heap: not told in every table
FAR = 1.1  # times the largest sample: the process's own peak was elsewhere
ARENA_BYTES = (1 << 18, 1 << 20)

# Whose memory it is, by a part of the name of the file that maps it: what it is, and what to do.
_KNOWN = (
    (
        "jvm",
        "the JVM's heap, code and metadata",
        "-Xmx bounds it, no malloc does: see its GC log; the recording holds its native part",
    ),
    (
        "node",
        "V8's heap",
        "--max-old-space-size bounds it, no malloc does; the recording holds the native part",
    ),
    (
        "ruby",
        "Ruby's heap of objects",
        "RUBY_GC_HEAP_* steer it; the recording holds what lies outside its slots",
    ),
    (
        "libarrow",
        "Arrow's own pool",
        "ARROW_DEFAULT_MEMORY_POOL=system in the environment makes it ask malloc",
    ),
    ("jemalloc", "what jemalloc serves", "no recorder sees a malloc that does not ask glibc"),
    ("tcmalloc", "what tcmalloc serves", "no recorder sees a malloc that does not ask glibc"),
    ("mimalloc", "what mimalloc serves", "no recorder sees a malloc that does not ask glibc"),
    ("dotnet", ".NET's heap", "DOTNET_GCHeapHardLimit bounds it, no malloc does"),
    ("coreclr", ".NET's heap", "DOTNET_GCHeapHardLimit bounds it, no malloc does"),
    ("libgo", "Go's heap", "GOGC and GOMEMLIMIT steer it"),
    ("mono", "Mono's heap", "MONO_GC_PARAMS steers it"),
    ("php", "PHP's heap", "USE_ZEND_ALLOC=0 in the environment makes it ask malloc"),
)
BEFORE = "ran_before"  # of a trace's origin: the program's file, if it ran before the recording
_PYMALLOC = (
    "pymalloc's arenas",
    "recorded from its start and without --no-python, what they hold is in the recording",
)


@dataclass
class Reconciled:
    """Of one moment: bytes of each kind, and in words."""

    moment: str  # "peak" or "end"
    sample: dict[str, int]  # by the names of process.COLUMNS
    share: float  # of the anonymous memory that lies in the recorded heap
    sentence: str

    def to_json(self) -> dict[str, Any]:
        """Plain data."""
        return {**self.sample, "heap_share": self.share, "sentence": self.sentence}


def reconciled(process: Process, origin: Mapping[str, str]) -> list[Reconciled]:
    """At the process's peak and when it was last seen; nothing where the recording does not tell.

    `origin` is that of the trace: what the kernel counted of the process. Of one whose first thread
    has ended Linux shows no memory, though others run on: such a sample tells nothing.
    """
    peak = process.peak
    if peak is None or not peak[RSS]:
        return []
    found = [_at("peak", peak.tolist(), process.mappers, origin)]
    last = process.samples[-1].tolist()
    if last != peak.tolist() and last[RSS]:
        found.append(_at("end", last, process.mappers, origin))
    return found


def note(process: Process, origin: Mapping[str, str]) -> list[str]:
    """What every reader of the trace must know: that the recording explains only a part."""
    return [
        Note(one.sentence, UNEXPLAINED)
        for one in reconciled(process, origin)[:1]
        if one.share < EXPLAINED and one.sample["anon"] - one.sample["heap"] > FEW_BYTES
    ]


def lines(trace: "Trace") -> list[str]:
    """How much of the process's peak the recording explains, in words, where no note says it."""
    if of_kind(trace.notes, UNEXPLAINED):
        return []
    return [one.sentence for one in reconciled(trace.process(), trace.origin)[:1]]


def _at(
    moment: str, row: list[int], mappers: Sequence[Mapper], origin: Mapping[str, str]
) -> Reconciled:
    share = row[HEAP] / row[ANON] if row[ANON] else 1.0
    when = "at its peak" if moment == "peak" else "when it was last seen"
    said = (
        f"Of {bytes_text(row[ANON])} of anonymous memory that the process had {when}, "
        f"{bytes_text(row[HEAP])} ({percent_text(share)}) lie in the recorded heap"
    )
    rest = row[ANON] - row[HEAP] - row[STACKS] - row[MAPPED]
    parts = []
    todo = ""
    if row[MAPPED] >= TELLING_BYTES:
        what, todo = _mapped_by(row[MAPPED], mappers, origin.get(BEFORE, ""))
        parts.append(f"{bytes_text(row[MAPPED])} {what}")
    if row[STACKS] >= TELLING_BYTES:
        parts.append(f"{bytes_text(row[STACKS])} stacks of threads")
    if rest >= TELLING_BYTES:
        parts.append(f"{bytes_text(rest)} the program's and its libraries' own data")
    if parts and share < EXPLAINED:
        said += f"; the rest: {', '.join(parts)}"
    said += f"; files and shared memory take {bytes_text(row[FILE])} more."
    if share < EXPLAINED and todo and moment == "peak":
        said += f" {todo[0].upper()}{todo[1:]}."
    high = origin.get("resident_bytes", "")
    if moment == "peak" and high.isdecimal() and int(high) > FAR * row[RSS] + TELLING_BYTES:
        said += (
            f" It had {bytes_text(int(high))} resident at most, {bytes_text(row[RSS])} where it "
            "was looked at."
        )
    return Reconciled(moment, dict(zip(COLUMNS, row, strict=True)), share, said)


def _mapped_by(mapped: int, mappers: Sequence[Mapper], before: str) -> tuple[str, str]:
    """Who mapped memory past malloc: the end of a sentence; and what to do about it. `before`: the
    program's name, if it ran before the recording began."""
    by_file: dict[str, list[Mapper]] = {}
    for mapper in mappers:
        by_file.setdefault(os.path.basename(mapper.where.partition("+0x")[0]), []).append(mapper)
    order = sorted(by_file.items(), key=lambda one: -sum(m.bytes for m in one[1]))
    total = sum(mapper.bytes for mapper in mappers)
    if not order or total < mapped // 2:
        if before:
            return _mapped_before(os.path.basename(before))
        return (
            "mapped without asking libc, as Go's runtime and other static code do",
            "no recorder of malloc sees it",
        )
    name, its = order[0]
    if "python" in name and any(mapper.most in ARENA_BYTES for mapper in its):
        return f"mapped by {name}: {_PYMALLOC[0]}", _PYMALLOC[1]
    for part, what, todo in _KNOWN:
        if part in name.lower():
            return f"mapped by {name}: {what}", todo
    return (
        f"mapped by {name} itself, past malloc",
        "what a program maps itself is not in the recording: no malloc changes it",
    )


def _mapped_before(name: str) -> tuple[str, str]:
    """Of a program that ran already nobody was seen to map it: what its name tells."""
    said = f"mapped before the recording began by {name}"
    if "python" in name.lower():
        return f"{said}: {_PYMALLOC[0]}", _PYMALLOC[1]
    for part, what, todo in _KNOWN:
        if part in name.lower():
            return f"{said}: {what}", todo
    return said, "begin it by `heapwright record` to see by whom"
