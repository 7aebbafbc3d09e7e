"""memray's capture files: what a Python process allocated, with Python stacks as call sites.

    memray.FileReader ─► batches of records ─► _paired ─► matching.Matcher ─► TraceWriter

What memray keeps and what it does not:
    realloc      a FREE of the old block, then a REALLOC that yields the new one, on one thread,
                 after the call returned: joined again here, at the place of the FREE. A free that
                 happens to precede a realloc(NULL) looks the same; see `matching.GUESSED_REALLOC`.
                 That the call was a realloc is proven, which block it took is not: so both are
                 joined unless asked not to, and counted
    alignment    not kept: taken from the address, at most CACHE_LINE_LOG2; valloc's is a page
    mmap         the program's own mappings are no heap: left out and counted
    addresses    kept, but not written: the heap was in use before memray looked, so no replay
                 can be compared with them

Source     memray: hooks.cpp (what is recorded when), records.h (the header)
"""

import importlib.metadata
import itertools
import operator
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from heapwright.errors import HeapwrightError
from heapwright.trace.importers.isolation import isolated
from heapwright.trace.importers.matching import GUESSED_REALLOC, Matcher, Records
from heapwright.trace.importers.memray_domains import UNKNOWN, Domains
from heapwright.trace.layout import first_line
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MEMALIGN, SIZE_LIMIT
from heapwright.trace.stacks import Tree
from heapwright.trace.store import TraceWriter

GUESSES_REALLOCS = True  # unless asked not to
TITLE = "captures of memray (memray run -o FILE.bin)"
MAGIC = b"memray\0"
LZ4_MAGIC = b"\x04\x22\x4d\x18"
HEADER_VERSION = 13  # whose layout `_promised_records` knows
BATCH_RECORDS = 1 << 17
GROUP_RECORDS = 1000  # memray's own pool holds 1,024 records: more at once is three times slower
ADDRESS_LIMIT = 1 << 62
THREAD_LIMIT = 1 << 20
CACHE_LINE_LOG2, PAGE_LOG2 = 6, 12

# What `_paired` counts
(MAPS, MAP_BYTES, ALIGNED, UNMAPS, APART, ALONE, SKIPPED) = range(7)

# memray.AllocatorType
(PYMALLOC_FREE, PYMALLOC_MALLOC, PYMALLOC_CALLOC, PYMALLOC_REALLOC) = range(1, 5)
(F_FREE, F_MALLOC, F_REALLOC, F_CALLOC, POSIX_MEMALIGN, ALIGNED_ALLOC) = range(5, 11)
(F_MEMALIGN, VALLOC, PVALLOC, MMAP, MUNMAP) = range(11, 16)
OTHER = 255
_STUMBLES = (OSError, ValueError, LookupError, RuntimeError, OverflowError)
OPERATION = np.full(256, OTHER, np.uint8)
OPERATION[[PYMALLOC_FREE, F_FREE]] = FREE
OPERATION[[PYMALLOC_MALLOC, F_MALLOC]] = MALLOC
OPERATION[[PYMALLOC_CALLOC, F_CALLOC]] = CALLOC
OPERATION[[PYMALLOC_REALLOC, F_REALLOC]] = GUESSED_REALLOC
OPERATION[[POSIX_MEMALIGN, ALIGNED_ALLOC, F_MEMALIGN, VALLOC, PVALLOC]] = MEMALIGN


def recognises(head: bytes, path: Path) -> bool:
    """memray's magic, plain or at the start of an LZ4 frame."""
    return head.startswith(MAGIC) or (head.startswith(LZ4_MAGIC) and MAGIC in head[:64])


def import_trace(
    path: Path,
    output: Path,
    advance: Callable[[float], None],
    guess_reallocs: bool = GUESSES_REALLOCS,
) -> None:
    """Write the trace of the memray capture `path` to `output`, in a process of its own.

    Without `guess_reallocs` each realloc stands as the free and the allocation that memray keeps.
    """
    _library(path)
    isolated(__name__, path, output, advance, *([] if guess_reallocs else ["apart"]))


def convert(path: Path, output: Path, advance: Callable[[float], None], *apart: str) -> None:
    """The same in this process, which a damaged capture may crash."""
    memray = _library(path)
    promised = _promised_records(path)
    try:
        reader = memray.FileReader(path)
    except _STUMBLES as error:
        raise HeapwrightError(
            f"{path} cannot be read by memray {importlib.metadata.version('memray')}: "
            f"{first_line(error)}"
        ) from None
    with reader:
        about = reader.metadata
        if about.file_format == memray.FileFormat.AGGREGATED_ALLOCATIONS:
            raise HeapwrightError(
                f"{path} was recorded with --aggregate, which keeps sums and no events: "
                "record again without it"
            )
        read = int(about.total_allocations)
        if promised and read < promised:
            raise HeapwrightError(
                f"{path} is truncated or damaged: it ends after record {read:,} of {promised:,}; "
                "copy or record it again"
            )
        with TraceWriter(output, program=_program(about.command_line), kind="imported") as writer:
            matcher, skipped = Matcher(), np.zeros(SKIPPED, np.int64)
            source = _Source(path, reader, about.has_native_traces)
            domains = Domains(bool(about.trace_python_allocators))
            for batch in source.batches():
                events = matcher.events(_paired(domains.enter(batch), skipped, joining=not apart))
                writer.write(domains.leave(events))
                advance(len(batch["size"]) / read)
            if domains.known:
                writer.facts.python = UNKNOWN
            writer.sites, writer.stacks = source.tree.frames, source.tree.arrays()
            writer.unmatched_frees = matcher.unmatched_frees
            writer.facts.notes += _notes(about, skipped, matcher, promised)
            writer.facts.notes += source.tree.notes()


def _library(path: Path) -> Any:
    try:
        import memray
        from memray import _memray
    except ImportError:
        raise HeapwrightError(
            f"{path} is a capture of memray, which is not installed: "
            "pip install 'heapwright[memray]'"
        ) from None
    if hasattr(_memray, "set_log_level"):
        _memray.set_log_level(100)  # it writes to stderr what is told here as a sentence
    return memray


def _promised_records(path: Path) -> int | None:
    """How many records the header says there are, 0 if the program never finished; None unknown."""
    try:
        with path.open("rb") as file:
            packed = file.read(4) == LZ4_MAGIC
        with pa.OSFile(str(path)) as raw:
            stream = pa.CompressedInputStream(raw, "lz4") if packed else raw
            head = stream.read(25)
    except (OSError, pa.ArrowException):
        return None  # memray says what is wrong with it
    if int.from_bytes(head[7:11], "little") != HEADER_VERSION:
        return None
    return int.from_bytes(head[17:], "little")


class _Source:
    """Reads a capture in batches; threads and call sites get numbers as they appear."""

    def __init__(self, path: Path, reader: Any, native: bool) -> None:
        self.tree = Tree()
        self._path, self._reader, self._native = path, reader, native
        self._site_of_stack: dict[int, int] = {0: -1}
        self._thread_of_tid: dict[int, int] = {}
        self._done = 0

    def batches(self) -> Iterator[dict[str, np.ndarray]]:
        """Columns allocator, address, size, thread, site of about BATCH_RECORDS records.

        No batch but the last ends with a free, which the next record may make a realloc.
        """
        source = iter(self._reader.get_allocation_records())
        groups: list[dict[str, np.ndarray]] = []
        rows = 0
        while records := self._read(lambda: list(itertools.islice(source, GROUP_RECORDS))):
            groups.append(self._columns(records))
            self._done += len(records)
            rows += len(records)
            if rows >= BATCH_RECORDS and OPERATION[groups[-1]["allocator"][-1]] != FREE:
                yield _joined(groups)
                groups, rows = [], 0
        if groups:
            yield _joined(groups)

    def _columns(self, records: list[Any]) -> dict[str, np.ndarray]:
        def column(name: str) -> np.ndarray:
            return np.fromiter(map(operator.attrgetter(name), records), np.int64, len(records))

        try:
            allocator, address, size = (column(c) for c in ("allocator", "address", "size"))
            tid, stack = column("tid"), column("stack_id")
            if self._native:
                stack += column("native_stack_id") << 32
        except OverflowError:
            raise self._damaged("a number beyond 2^63") from None
        if allocator.min() < 0 or allocator.max() >= OTHER:
            raise self._damaged("an unknown operation")
        if address.min() < 0 or address.max() >= ADDRESS_LIMIT:
            raise self._damaged("an address out of range")
        if size.min() < 0 or (size[allocator < MMAP] >= SIZE_LIMIT).any():
            raise self._damaged("a size out of range")
        op = OPERATION[allocator]
        stack[(op == FREE) | (op == OTHER)] = 0  # none was taken
        return {
            "allocator": allocator,
            "address": address,
            "size": size,
            "thread": _numbered(tid, self._thread_of_tid, lambda row: self._thread()),
            "site": _numbered(stack, self._site_of_stack, lambda row: self._site(records[row])),
        }

    def _thread(self) -> int:
        if len(self._thread_of_tid) >= THREAD_LIMIT:
            raise self._damaged(f"more than {THREAD_LIMIT:,} threads")
        return len(self._thread_of_tid)

    def _site(self, record: Any) -> int:
        """The number of the call site of a record whose stack is new."""
        stack = record.hybrid_stack_trace if self._native else record.stack_trace
        frames = self._read(stack)  # all of them: memray hides its own only then
        outermost_first = itertools.dropwhile(_of_memray, reversed(frames))
        return self.tree.node([_frame(*frame) for frame in outermost_first])

    def _read(self, step: Callable[[], list[Any]]) -> list[Any]:
        """What `step` gets from memray, which stumbles over damage in several ways."""
        try:
            return step()
        except _STUMBLES as error:
            raise self._damaged(f"memray says {error!r}") from None

    def _damaged(self, what: str) -> HeapwrightError:
        return HeapwrightError(
            f"{self._path} is damaged: {what} after record {self._done:,}; copy or record it again"
        )


def _joined(groups: list[dict[str, np.ndarray]]) -> dict[str, np.ndarray]:
    return {name: np.concatenate([group[name] for group in groups]) for name in groups[0]}


def _numbered(keys: np.ndarray, known: dict[int, int], number: Callable[[int], int]) -> np.ndarray:
    """`known` of each key, int32; the row where a new key first appears is given a number."""
    distinct, first, which = np.unique(keys, return_index=True, return_inverse=True)
    for place in np.argsort(first).tolist():
        key = int(distinct[place])
        if key not in known:
            known[key] = number(int(first[place]))
    return np.array([known[key] for key in distinct.tolist()], np.int32)[which]


def _of_memray(frame: tuple[str, str, int]) -> bool:
    """Whether a frame is of what starts the program: memray's command and runpy."""
    return frame[1].endswith(("memray/commands/run.py", "<frozen runpy>", "runpy.py"))


def _frame(function: str, file: str, line: int) -> str:
    """`function (folder/file.py:12)`: enough of the path to tell two `__init__.py` apart."""
    place = "/".join(file.split("/")[-2:])
    return f"{function} ({place}:{line})" if place else function


def _paired(batch: dict[str, np.ndarray], skipped: np.ndarray, joining: bool = True) -> Records:
    """Records without mappings; `joining`, each FREE and the REALLOC that follows on its thread
    become one.

    `skipped` int64[SKIPPED] counts mappings made, their bytes, alignments that were guessed,
    mappings given up, reallocs not joined though a free precedes, reallocs that none precedes.
    """
    allocator, size = batch["allocator"], batch["size"]
    mapped = allocator == MMAP
    skipped[MAPS] += np.count_nonzero(mapped)
    skipped[MAP_BYTES] += size[mapped].sum()
    skipped[UNMAPS] += np.count_nonzero(allocator == MUNMAP)
    op, of_python = OPERATION[allocator], allocator < F_FREE
    align = _alignments(allocator, batch["address"])
    skipped[ALIGNED] += np.count_nonzero((op == MEMALIGN) & (allocator < VALLOC))
    rows = np.flatnonzero(op != OTHER)
    by_thread = rows[np.argsort(batch["thread"][rows], kind="stable")]
    before, after = by_thread[:-1], by_thread[1:]
    joined = (
        (op[before] == FREE)
        & (op[after] == GUESSED_REALLOC)
        & (of_python[before] == of_python[after])
        & (batch["thread"][before] == batch["thread"][after])
    )
    skipped[ALONE] += np.count_nonzero(op == GUESSED_REALLOC) - np.count_nonzero(joined)
    if not joining:
        skipped[APART] += np.count_nonzero(joined)
        joined[:] = False
    free, realloc = before[joined], after[joined]
    old = np.zeros(len(op), np.int64)
    columns = {"op": op, "old": old, "align": align}
    columns.update((c, batch[c].copy()) for c in ("address", "size", "thread", "site"))
    old[free] = columns["address"][free]
    for name in ("op", "address", "size", "site"):
        columns[name][free] = columns[name][realloc]
    op[realloc] = OTHER
    kept = op != OTHER
    return Records(**{name: column[kept] for name, column in columns.items()})


def _alignments(allocator: np.ndarray, address: np.ndarray) -> np.ndarray:
    """log2 of what each aligned request may have asked for, 0 for the others."""
    lowest_bit = (address & -address).astype(np.float64)
    own = np.log2(np.maximum(lowest_bit, 1)).astype(np.uint8)
    align = np.minimum(own, CACHE_LINE_LOG2)
    align = np.where((allocator == VALLOC) | (allocator == PVALLOC), PAGE_LOG2, align)
    return np.where(OPERATION[allocator] == MEMALIGN, align, 0).astype(np.uint8)


def _program(command_line: str) -> str:
    """The command as it was typed, without the folder that memray lives in."""
    first, space, rest = command_line.partition(" ")
    return f"memray{space}{rest}" if "memray" in first else command_line


def _notes(about: Any, skipped: np.ndarray, matcher: Matcher, promised: int | None) -> list[str]:
    """What the reader of the trace has to know, a sentence each."""
    maps, map_bytes, aligned, unmaps, apart, alone = skipped.tolist()
    stacks = "native and Python" if about.has_native_traces else "Python"
    notes = [
        f"imported from memray, Python allocator {about.python_allocator}, {stacks} stacks",
    ]
    if apart:
        notes.append(f"memray splits a realloc in two: {apart:,} stand as a free and an allocation")
    if matcher.joined or matcher.parted:
        notes.append(
            "memray splits a realloc in two and does not name the old block: "
            f"{matcher.joined:,} are taken to move the block that their thread freed just before; "
            f"{matcher.parted:,}, where that would have stayed, stand as a free and an allocation"
        )
    if alone:
        notes.append(f"{alone:,} reallocs that no free precedes stand as mallocs: of NULL")
    if about.trace_python_allocators:
        notes.append(
            "memray tells neither the version of Python nor the domain of a request to its own "
            "allocators: those of up to 512 bytes that lie where malloc's heap does are taken as "
            "raw, the others as objects'"
        )
    if maps:
        notes.append(f"{maps:,} mappings of {map_bytes:,} bytes made by the program were left out")
    if unmaps:
        notes.append(f"{unmaps:,} unmappings by the program were left out")
    if aligned:
        notes.append(f"the alignment of {aligned:,} requests was taken from their addresses")
    if matcher.missed_frees:
        notes.append(f"{matcher.missed_frees:,} frees that memray did not see were put in")
    if promised == 0:
        notes.append("the program did not finish: the capture has no end")
    return notes
