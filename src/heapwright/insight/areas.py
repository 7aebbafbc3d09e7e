"""A JVM's run-time data areas: how large each becomes, what fills it, and which error says so.

    options of java ─► areas ─► for each: room, the option that sets it, after how much it is full,
                                and the text that the program then sees

Exact for the limits that are counted in bytes or elements; a range where the JVM's own objects and
classes, or an interpreter's frames, take a share that differs by release.

Source     The Java Virtual Machine Specification 17, 2.5; the figures of JDK 17 and 25 on x86-64,
           Linux, as `references/hotspot/areas.py` has them told by a real JVM
Omits      frames of compiled code, which are smaller or larger; the limits of a container
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from heapwright.collectors.hotspot.sizing import (
    LEAST_XMX,
    SPACE_BYTES,
    Generations,
    generations,
)
from heapwright.errors import HeapwrightError
from heapwright.versions import version_number, version_text

K, M, G = 1 << 10, 1 << 20, 1 << 30
COLLECTORS = ("serial", "parallel", "g1")
SURVIVOR_PARTS = {"serial": 0, "parallel": 8}  # see generations
PARALLEL_BYTES = 512 * K  # SpaceAlignment of the parallel collector
# A thread's stack: pages that guard its end, and the frames of its first methods
GUARDED = 104_400
FRAME, WORD = 88, 8  # bytes of an interpreted method's frame, and of each of its local words
LOADED, LOADER = (440 * K, 490 * K), (6100, 6180)  # bytes of metaspace at the start; of a class
# with 276 bytes of code and a loader of its own
CLASSES_LOADED, CLASS = 258 * K, 2048  # likewise of class space
CLASS_SPACE_UNIT = 16 * M
HELD = (300 * K, 1500 * K)  # bytes of Java heap that the JVM itself keeps
KEPT_IN = 16 + 4 * M  # the array that keeps the objects
LONGEST = (1 << 31) - 3  # elements of an array; longer ones are refused whatever the heap
OUT, OVER = "java.lang.OutOfMemoryError", "java.lang.StackOverflowError"


class Options(NamedTuple):
    """Options of java, 0 where it chooses."""

    gc: str = "serial"
    Xmx: int = 256 * M
    Xmn: int = 0
    Xss: int = M
    MaxMetaspaceSize: int = 0  # 0: no limit
    CompressedClassSpaceSize: int = G
    ReservedCodeCacheSize: int = 240 * M
    MaxDirectMemorySize: int = 0  # 0: as large as the heap
    piece_bytes: int = 100_000  # of what is kept to fill an area, with its header
    NewRatio: int = 2
    SurvivorRatio: int = 8
    version: int = version_number("17")


# What java itself takes: less or more and it does not start, or the area has no room at all
TAKEN = {
    "Xmx": (LEAST_XMX, 1 << 47),
    "Xss": (136 * K, G),
    "MaxMetaspaceSize": (M, 1 << 47),
    "CompressedClassSpaceSize": (M, 4 * G),
    "ReservedCodeCacheSize": (2496 * K, 2 * G),
    "MaxDirectMemorySize": (1, 1 << 62),
    "piece_bytes": (24, 1 << 47),  # an object with its header
    "NewRatio": (1, 1 << 20),
    "SurvivorRatio": (1, 1 << 20),
}
RELEASES = 17, 25  # the first and the last whose figures these are


@dataclass(frozen=True)
class Area:
    """One area; `least` to `most` pieces fill it, None where nothing does."""

    area: str
    room: int | None  # bytes; None: no limit of its own
    option: str  # that sets it, as it is typed
    fills: str  # what fills it
    error: str  # what the program sees; "" none
    least: int | None = None
    most: int | None = None
    piece: str = ""  # what is counted
    asked: tuple[str, ...] = ()  # how the real JVM is made to fill it
    flags: tuple[str, ...] = ()  # and with which options

    def to_json(self) -> dict[str, Any]:
        """As `heapwright areas --json` prints it."""
        after = None if self.least is None else {"least": self.least, "most": self.most}
        return {
            "area": self.area,
            "room_bytes": self.room,
            "option": self.option,
            "fills": self.fills,
            "after": after,
            "piece": self.piece,
            "error": self.error,
        }


def options(given: Mapping[str, str | int]) -> Options:
    """Of these options, in any case of letters; HeapwrightError where one is unknown or
    contradicts another."""
    names = {name.lower(): name for name in Options._fields}
    chosen: dict[str, Any] = {}
    for name, value in given.items():
        known = names.get(name.lower())
        if known is None:
            raise HeapwrightError(
                f"areas of hotspot has no option {name}; it has {', '.join(Options._fields)}."
            )
        chosen[known] = value
    found = Options(**chosen)
    if found.gc not in COLLECTORS:
        raise HeapwrightError(f"gc is one of {', '.join(COLLECTORS)}, not {found.gc}.")
    for name in chosen.keys() - {"gc"}:  # what is left out is as java chooses
        least, most = TAKEN.get(name, (0, 1 << 62))
        value = getattr(found, name)
        if not least <= value <= most:
            raise HeapwrightError(f"{name} is from {least:,} to {most:,}, not {value:,}.")
    if found.Xmn >= found.Xmx:
        raise HeapwrightError(f"Xmn is {found.Xmn:,} bytes of a heap, Xmx, of {found.Xmx:,}.")
    release = int(version_text(found.version).partition(".")[0])
    if not RELEASES[0] <= release <= RELEASES[1]:
        raise HeapwrightError(
            f"areas of hotspot are known of releases {RELEASES[0]} to {RELEASES[1]}, not {release}."
        )
    return found


def areas(chosen: Options) -> list[Area]:
    """Each area of such a JVM, in the order of the specification."""
    return [
        Area("program counter", WORD, "none", "the address at which a thread is: always one", ""),
        *_stacks(chosen),
        *_heap(chosen),
        *_classes(chosen),
        Area(
            "code cache",
            chosen.ReservedCodeCacheSize,
            f"-XX:ReservedCodeCacheSize={_typed(chosen.ReservedCodeCacheSize)}",
            "compiled methods",
            "no error, a warning: CodeCache is full. Compiler has been disabled.",
        ),
        _direct(chosen),
        _threads(),
    ]


def _typed(size: int) -> str:
    """A size as java's options take it."""
    for unit, letter in ((G, "g"), (M, "m"), (K, "k")):
        if size and size % unit == 0:
            return f"{size // unit}{letter}"
    return str(size)


def _stacks(chosen: Options) -> list[Area]:
    set_by = f"-Xss{_typed(chosen.Xss)}"
    depth = (chosen.Xss - GUARDED) // FRAME
    return [
        Area(
            "Java stack, a thread",
            chosen.Xss,
            set_by,
            "frames",
            OVER,
            depth - 1,
            depth + 2,
            "interpreted calls without arguments",
            ("stack",),
            ("-Xint", set_by),
        ),
        Area("native stack", chosen.Xss, set_by, "frames of C, on the same stack", OVER),
    ]


def spaces(chosen: Options) -> Generations | None:
    """The generations of the heap; None of regions."""
    if chosen.gc == "g1":
        return None
    unit = SPACE_BYTES if chosen.gc == "serial" else PARALLEL_BYTES
    return generations(chosen, unit, SURVIVOR_PARTS[chosen.gc])


def region_bytes(heap: int) -> int:
    """Of G1: about 2,048 regions, a power of two from 1 to 32 MiB."""
    return max(M, min(32 * M, 1 << max(heap // 2048, 1).bit_length() - 1))


def _heap(chosen: Options) -> list[Area]:
    heap, piece = chosen.Xmx, (chosen.piece_bytes + 7) & -8
    found = spaces(chosen)
    if found:
        heap = found.young + found.old
        rooms = found.old // piece, found.eden // piece, found.survivor // piece
        own = -(-(KEPT_IN + HELD[1]) // piece), (KEPT_IN + HELD[0]) // piece
        least, most = sum(rooms[:2]) - own[0], sum(rooms) - own[1]
    else:
        region = region_bytes(heap)
        if piece > region // 2:  # humongous: regions of its own
            whole = -(-piece // region)
            most = (heap // region - 5) // whole
            least = most - 2 - most // 20
        else:
            most = (heap - KEPT_IN - region) // piece
            least = int((heap - KEPT_IN - HELD[1]) * 0.92) // piece
    young = f" -Xmn{_typed(chosen.Xmn)}" if chosen.Xmn else ""
    flags = (
        f"-XX:+Use{ {'serial': 'Serial', 'parallel': 'Parallel', 'g1': 'G1'}[chosen.gc] }GC",
        f"-Xms{chosen.Xmx}",
        f"-Xmx{chosen.Xmx}",
        *([f"-Xmn{chosen.Xmn}"] if chosen.Xmn else []),
    )
    parts = [
        Area(
            "heap",
            heap,
            f"-Xmx{_typed(chosen.Xmx)}{young}",
            "objects and arrays",
            f"{OUT}: Java heap space",
            max(least, 0),
            max(most, 0),
            f"arrays of {chosen.piece_bytes:,} bytes that are kept",
            ("heap", str(chosen.piece_bytes)),
            flags,
        ),
        Area(
            "one array",
            None,
            "none",
            "elements, whatever the heap",
            f"{OUT}: Requested array size exceeds VM limit",
            LONGEST,
            LONGEST,
            "elements",
        ),
    ]
    if found:
        named = (("eden", found.eden), ("a survivor space", found.survivor), ("old", found.old))
        parts[1:1] = [Area(f"  {name}", room, "", "", "") for name, room in named]
    else:
        parts.insert(1, Area("  a region", region_bytes(heap), "", "", ""))
    return parts


def _classes(chosen: Options) -> list[Area]:
    limit = chosen.MaxMetaspaceSize
    room = -(-chosen.CompressedClassSpaceSize // CLASS_SPACE_UNIT) * CLASS_SPACE_UNIT
    count = (room - CLASSES_LOADED) // CLASS
    return [
        Area(
            "metaspace",
            limit or None,
            f"-XX:MaxMetaspaceSize={_typed(limit)}" if limit else "-XX:MaxMetaspaceSize, no limit",
            "methods, constant pools, annotations",
            f"{OUT}: Metaspace",
            max(0, (limit - LOADED[1]) // LOADER[1]) if limit else None,
            max(0, (limit - LOADED[0]) // LOADER[0]) if limit else None,
            "small classes, each of a loader of its own",
            ("classes",) if limit else (),
            (f"-XX:MaxMetaspaceSize={limit}",),
        ),
        Area(
            "class space",
            room,
            f"-XX:CompressedClassSpaceSize={_typed(chosen.CompressedClassSpaceSize)}",
            "the classes' own records",
            f"{OUT}: Compressed class space",
            count - 4,
            count + 4,
            "small classes",
            ("classes",) if room <= 64 * M and not limit else (),
            (f"-XX:CompressedClassSpaceSize={chosen.CompressedClassSpaceSize}",),
        ),
    ]


def direct_limit(chosen: Options) -> int:
    """Bytes: as set, else what Java's heap can hold, which is without a survivor space."""
    found = spaces(chosen)
    if chosen.MaxDirectMemorySize:
        return chosen.MaxDirectMemorySize
    return found.young + found.old - found.survivor if found else chosen.Xmx


def _direct(chosen: Options) -> Area:
    limit, piece = direct_limit(chosen), chosen.piece_bytes
    count = limit // piece
    heap = next(area for area in _heap(chosen) if area.area == "heap")
    own = [f"-XX:MaxDirectMemorySize={limit}"] if chosen.MaxDirectMemorySize else []
    return Area(
        "direct memory",
        limit,
        f"-XX:MaxDirectMemorySize={_typed(limit)}" if own else "-XX:MaxDirectMemorySize, as Xmx",
        "buffers outside the heap",
        f"{OUT}: Cannot reserve {piece} bytes of direct buffer memory (allocated: {count * piece}, "
        f"limit: {limit})",
        count,
        count,
        f"buffers of {piece:,} bytes",
        ("direct", str(piece)) if limit <= G else (),
        (*heap.flags, *own),
    )


def _threads() -> Area:
    return Area(
        "threads",
        None,
        "ulimit -u, pids.max",
        "threads, a stack each",
        f"{OUT}: unable to create native thread: possibly out of memory or process/resource "
        "limits reached",
        0 if (most := most_threads()) else None,
        most,
        "threads of this user, those of other processes too",
    )


def most_threads() -> int | None:
    """How many this machine allows; None where it does not say."""
    found = []
    for path in ("/proc/sys/kernel/threads-max", "/sys/fs/cgroup/pids.max"):
        try:
            text = Path(path).read_text()
        except OSError:
            continue
        if re.fullmatch(r"\d+\s*", text):
            found.append(int(text))
    return min(found, default=None)
