"""The lines of a JVM's log of collections: unified logging (JDK 9 on) and the form of JDK 8.

    GC(3) Pause Young (Allocation Failure) 6M->2M(23M) 11.7ms          with decorations before it
    0.1: [GC (Allocation Failure) [PSYoungGen: 4M->1M(5M)] 4M->1M(16M), 0.004 secs] [Times: ...]

A line says at most one thing: a pause and what it left, a fact of the heap, or nothing to read.

Source     OpenJDK 17 src/hotspot/share/gc/shared/gcTraceTime.cpp, gcInitLogger.cpp; JDK 8
           gc/shared/gcTraceTime.cpp, g1CollectedHeap.cpp (log_gc_header); JEP 271 for decorations
"""

import re
from typing import NamedTuple

YOUNG, MIXED, FULL, OTHER, CYCLE = KINDS = ("young", "mixed", "full", "other pause", "concurrent")
SERIAL, PARALLEL, G1 = "serial", "parallel", "g1"
LINE_CHARACTERS = 4096  # of a line that are read
SECOND, MILLISECOND = 1_000_000_000, 1_000_000
LARGEST = 1 << 53

_UNIT = {"B": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
_SIZE = r"(\d{1,12}(?:[.,]\d{1,6})?)([BKMG])"
_CHANGE = rf"{_SIZE}(?:\([^)]{{0,40}}\))?->{_SIZE}\({_SIZE}\)"
_MILLISECONDS = r"(\d{1,12}(?:[.,]\d{1,9})?) ?ms"
_STAMP = re.compile(r"\[(\d{1,12}(?:[.,]\d{1,9})?)(s|ms|ns)\s*\]")
_PAUSE = re.compile(
    rf"GC\((\d{{1,12}})\) Pause ([A-Z][A-Za-z ]{{2,30}}?)((?: \([^()]{{0,60}}(?:\([^()]*\))?\))*)"
    rf"(?: {_CHANGE})? {_MILLISECONDS}\s*$"
)
_CYCLE = re.compile(
    r"GC\((\d{1,12})\) (?:Concurrent (?:Mark )?Cycle|Concurrent Undo Cycle|Garbage Collection|"
    r"(?:Major|Minor) Collection)\b"
)
_LEFT = re.compile(rf" {_SIZE}\(\d{{1,3}}%\)->{_SIZE}\(\d{{1,3}}%\)")
_HALF = re.compile(
    rf"GC\((\d{{1,12}})\) (DefNew|PSYoungGen|ParNew|Tenured|ParOldGen|PSOldGen|CMS): {_CHANGE}"
)
_USING = re.compile(r"\bUsing ([A-Z][A-Za-z0-9 ]{1,40})\s*$")
_CAPACITY = re.compile(rf"(?:Heap|\]) Max Capacity: {_SIZE}\s*$")
_VERSION = re.compile(r"\[gc,init[^\]]*\] Version: (\d{1,3}(?:\.\d{1,3}){0,3})")
_NAMES = (
    ("Serial", SERIAL), ("Parallel", PARALLEL), ("G1", G1), ("Concurrent Mark Sweep", "cms"),
    ("Shenandoah", "shenandoah"), ("The Z Garbage Collector", "z"), ("Epsilon", "epsilon"),
)  # fmt: skip

_OLD = re.compile(
    r"(?:\d{4}-\d\d-\d\dT[\d:.,]{8,16}[-+]\d{4}: )?(?:(\d{1,12}[.,]\d{1,9}): )?"
    r"\[(Full GC|GC)\b(.*)"
)
_OLD_SECONDS = re.compile(r", (\d{1,9}[.,]\d{1,9}) secs\]")
_OLD_CHANGE = re.compile(_CHANGE)
_OLD_HEAP = re.compile(rf"\bHeap: {_SIZE}\({_SIZE}\)->{_SIZE}\({_SIZE}\)")
_OLD_FLAGS = re.compile(r"CommandLine flags: (.*)")
_OLD_COLLECTORS = (
    ("UseG1GC", G1), ("UseConcMarkSweepGC", "cms"), ("UseSerialGC", SERIAL),
    ("UseParallelGC", PARALLEL), ("UseParallelOldGC", PARALLEL),
)  # fmt: skip
_OLD_VM = re.compile(r"(?:OpenJDK|Java HotSpot).{0,40} VM \(\d+\.\d+-b\d+")


class Pause(NamedTuple):
    """A collection as the log has it; 0 bytes where it does not say."""

    at_ns: int  # since the JVM's start, at the end of it; -1 unknown
    kind: str  # one of KINDS
    cause: str
    before_bytes: int
    after_bytes: int
    heap_bytes: int  # committed
    pause_ns: int  # of a concurrent cycle 0


class Fact(NamedTuple):
    """What a line says of the run as a whole."""

    name: str  # collector, version, most_bytes, options
    value: str


class Half(NamedTuple):
    """What a collection left in one generation, which is more exact than its pause's line."""

    number: str
    before_bytes: int
    after_bytes: int


def unified(line: str) -> tuple[Pause | Fact | Half | None, str]:
    """What a line of unified logging says, and the number of its collection, "" of none."""
    if found := _PAUSE.search(line):
        number, name, causes, *sizes, length = found.groups()
        before, after, heap = map(_bytes, sizes[::2], sizes[1::2])
        took, kind = _units(length, MILLISECOND), _kind(name, causes)
        return Pause(_stamp(line), kind, _cause(causes), before, after, heap, took), number
    if found := _HALF.search(line):
        number, _, *sizes = found.groups()
        before, after, _ = map(_bytes, sizes[::2], sizes[1::2])
        return Half(number, before, after), number
    if (found := _CYCLE.search(line)) and (line.rstrip().endswith(("ms", "s", "%)"))):
        before = after = 0
        if left := _LEFT.search(line):  # Z has it
            before, after = _bytes(left[1], left[2]), _bytes(left[3], left[4])
        return Pause(_stamp(line), CYCLE, "", before, after, 0, 0), found[1]
    return _fact(line), ""


def chosen_by(options: str) -> str:
    """The collector that options of `java` choose; "" where they choose none that is known."""
    flags = options.split()
    return next((ours for flag, ours in _OLD_COLLECTORS if f"-XX:+{flag}" in flags), "")


def _fact(line: str) -> Fact | None:
    if found := _USING.search(line):
        name = next((ours for theirs, ours in _NAMES if found[1].strip() == theirs), "")
        return Fact("collector", name) if name else None
    if found := _CAPACITY.search(line):
        return Fact("most_bytes", str(_bytes(found[1], found[2])))
    if found := _VERSION.search(line):
        return Fact("version", found[1])
    return None


def _kind(name: str, causes: str) -> str:
    if name.startswith("Young"):
        return MIXED if "(Mixed)" in causes else YOUNG
    return FULL if name.startswith("Full") else OTHER


def _cause(causes: str) -> str:
    """The last parenthesis: before it G1 has what kind of pause it is."""
    return causes.rpartition("(")[2].rstrip(")") if causes.count("(") else ""


def _stamp(line: str) -> int:
    """Uptime of a line, ns; -1 where its decorations have none."""
    for number, unit in _STAMP.findall(line[: line.find("GC(")]):
        value = _units(number, {"s": SECOND, "ms": MILLISECOND, "ns": 1}[unit])
        if unit == "s" or value < 1 << 50:  # milliseconds since 1970 are no uptime
            return value
    return -1


def older(line: str) -> Pause | Fact | None:
    """What a line of the form of JDK 8 says."""
    if found := _OLD_FLAGS.match(line):
        return Fact("options", found[1].strip())
    if _OLD_VM.match(line):
        return Fact("version", "8")
    found = _OLD.match(line)
    if not found:
        return None
    at, name, rest = found.groups()
    seconds = _OLD_SECONDS.findall(rest.partition("[Times:")[0])
    if not seconds:
        return None  # the end of it stands in another line, or nowhere
    cause = re.match(r" ?(?:pause )?\(([^()]{0,60}(?:\(\))?)\)", rest)
    before, after, heap = _whole(rest)
    return Pause(
        _units(at, SECOND) if at else -1,
        _older_kind(name, rest),
        cause[1] if cause else "",
        before,
        after,
        heap,
        _units(seconds[-1], SECOND),
    )


def older_heap(line: str) -> tuple[int, int, int] | None:
    """What a pause of G1 left, in a line of its own: bytes before, after, of the heap."""
    if found := _OLD_HEAP.search(line):
        before, _, after, heap = map(_bytes, found.groups()[::2], found.groups()[1::2])
        return before, after, heap
    return None


def collector_of(line: str) -> str:
    """The collector that alone writes such a line; "" of any other."""
    marks = (
        ("PSYoungGen", PARALLEL), ("ParOldGen", PARALLEL), ("G1 Evacuation Pause", G1),
        ("G1 Humongous", G1), ("Eden regions", G1), ("ParNew", "cms"), ("CMS", "cms"),
        ("DefNew", SERIAL), ("Tenured:", SERIAL), ("ZHeap", "z"), ("Pause Init Mark", "shenandoah"),
        ("Pause Mark Start", "z"), ("Pause Young (Normal)", G1),
    )  # fmt: skip
    return next((name for mark, name in marks if mark in line), "")


def _older_kind(name: str, rest: str) -> str:
    if name == "Full GC" or "[Tenured:" in rest or "[CMS:" in rest:
        return FULL
    if "(mixed)" in rest:
        return MIXED
    others = (" remark", " cleanup", "CMS Initial Mark", "CMS Final Remark", "CMS-")
    return OTHER if any(other in rest for other in others) else YOUNG


def _whole(rest: str) -> tuple[int, int, int]:
    """Bytes before, after and of the heap: the change that no inner bracket holds."""
    depth, flat = 0, []
    for character in rest:
        depth += character == "["
        if not depth:
            flat.append(character)
        depth -= character == "]" and depth > 0
    changes = _OLD_CHANGE.findall("".join(flat))
    if not changes:
        return 0, 0, 0
    sizes = changes[-1]
    before, after, heap = (_bytes(sizes[at], sizes[at + 1]) for at in (0, 2, 4))
    return before, after, heap


def _bytes(number: str | None, unit: str | None) -> int:
    return _units(number, _UNIT[unit]) if number and unit else 0


def _units(number: str, unit: int) -> int:
    return min(int(float(number.replace(",", ".")) * unit + 0.5), LARGEST)
