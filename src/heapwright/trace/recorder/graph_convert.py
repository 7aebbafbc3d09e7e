"""A graph recorder's log becomes a trace, a chunk at a time.

    log ─► survey ─► files: fields, type and state of each birth
        ─► tell   ─► rows ─► Mutator ─► the trace               (graph_tell.py)

Memory is that of the blocks alive at once and of two chunks; the arrays by birth are mapped files,
beside the log.
"""

import os
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.merlin import NOBODY, OP_BITS, WORDS
from heapwright.trace.mutator import Mutator
from heapwright.trace.notes import CUT, Note
from heapwright.trace.recorder import graph_books as at
from heapwright.trace.recorder import graph_tell
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.java_told import BRIEFLY_BIRTHS, JavaTold
from heapwright.trace.schema import ATOM, DICT
from heapwright.trace.stacks import Tree
from heapwright.trace.store import TraceWriter

ROW_BYTES = 8 * WORDS
CHUNK_ROWS = 1 << 18
FIRST_ROOM = 1 << 12  # of slots, fields, lists; doubled as need be
OUT_ROWS = 1 << 16
MILLISECOND = 1_000_000
MORE_ROWS = 16  # told by a row besides what it tells of the dead and the held
_HIDDEN = re.compile(r"[./+]0x[0-9a-f]{8,16}(?![0-9a-zA-Z_])")
# END's reasons; 0 is the program's end.
ENDS = {
    1: "its books took as much memory as they may; raise --limit",
    2: "its log became as long as it may; raise --limit",
    3: "the system refused it memory",
}


def convert(  # noqa: PLR0913 what, then of whom; these are named
    log: Path,
    out: Path,
    program: str,
    look_every: int,
    *,
    progress: Callable[[float], None] | None = None,
    java: JavaTold | None = None,
    command: str = "",
) -> Converted:
    """Write the log as the trace `out`; `java` is what a JVM told of itself, where it was one, and
    `command` what was run."""
    rows = log.stat().st_size // ROW_BYTES
    told, tree, version, cut = _foretold(log, rows, java)
    with TraceWriter(out, program=program) as writer:
        writer.sites, writer.stacks = tree.frames, tree.arrays()
        if command:
            writer.facts.origin["command"] = command
        if version:
            writer.facts.origin["python"] = version
        if java:
            writer.facts.origin |= java.origin()
            writer.collections = java.log
        with Mutator(writer.write) as mutator:
            done = 0
            for chunk in _chunks(log, rows):
                told = _tell(told, chunk, mutator)
                done += len(chunk)
                if progress:
                    progress(done / rows)
            told = _rows_room(told)
            graph_tell.finish(told)
            _hand_on(told, mutator)
        count = told.count
        said = (
            [*java.notes(count, look_every), *_of_looks(count)]
            if java
            else _notes(count, look_every)
        )
        writer.facts.notes += [*said, *cut]
    return Converted(out, program, writer.facts.events, 0, writer.facts.notes)


def _chunks(log: Path, rows: int) -> Iterator[np.ndarray]:
    """The rows of the log, int64[row, WORDS]."""
    with log.open("rb") as file:
        for first in range(0, rows, CHUNK_ROWS):
            count = min(CHUNK_ROWS, rows - first)
            yield np.fromfile(file, np.int64, count * WORDS).reshape(count, WORDS)


def _foretold(
    log: Path, rows: int, java: JavaTold | None = None
) -> tuple[at.Told, Tree, str, list[Note]]:
    """What a first pass finds: the state to begin with, the lines and types, Python's version,
    whether it was cut."""
    births, looks, end, version = 0, 0, -1, ""
    types: dict[int, bytes] = {}
    places: dict[int, bytes] = {}
    kinds: dict[int, int] = {}
    runs: list[np.ndarray] = []
    for chunk in _chunks(log, rows):
        op = chunk[:, 0] & (1 << OP_BITS) - 1
        births += int(np.count_nonzero(op == at.NEW))
        looks += int(np.count_nonzero(op == at.LOOK)) + int(np.count_nonzero(op == at.SEEN))
        for row, texts in ((at.NAME, types), (at.PLACE, places)):
            for _, number, text in chunk[op == row].tolist():
                texts[number] = texts.get(number, b"") + text.to_bytes(8, "little", signed=True)
        for number, kind in chunk[op == at.KIND, 1:].tolist():
            if 0 < number < at.TYPES and ATOM <= kind <= DICT:
                kinds[number] = kind
        for number in chunk[op == at.VERSION, 1].tolist():
            version = ".".join(str(number >> shift & 255) for shift in (24, 16, 8))
        over = chunk[op == at.OVER]
        runs.append(over[:, 1] & 0xFFFFFFFF | over[:, 2] << 32)
        end = int(chunk[-1, 1]) if op[-1] == at.END else -1
    begun = [np.zeros(1, np.int64)]  # of one that was not over when the program ended
    windows = np.zeros(looks + 2, np.int64)
    told = _empty(log, births)._replace(windows=windows, runs=np.concatenate([*runs, *begun]))
    if java:
        told.kinds[:] = NOBODY  # are Python's
        told.count[at.HEADER], told.count[at.WIDER] = java.header_bytes, java.wider_bytes
        told.count[at.BRIEFLY] = BRIEFLY_BIRTHS
    for number, kind in kinds.items():
        told.kinds[number] = kind
    for chunk in _chunks(log, rows):
        if at.survey(chunk, told.births, told.count, windows) == at.DAMAGED:
            raise HeapwrightError("the recording of the graph is damaged: record it again")
    at.correct(told.births, told.count[at.RUNS], told.count)
    if told.count[at.RUNS] > len(told.runs):
        raise HeapwrightError("the recording of the graph is damaged: record it again")
    told.count[at.RUNS] = told.count[at.OBJECTS] = 0
    tree = _sites(told.births, types, places)
    why = f": {ENDS[end]}" if end in ENDS else ""
    cut = [Note(f"The recording stops before the program's end{why}.", CUT)] if end else []
    return told, tree, version, cut


def _sites(births: at.Births, types: dict[int, bytes], places: dict[int, bytes]) -> Tree:
    """The tree of lines and of types made there; each birth's place becomes its node."""
    names, lines = (
        {number: _named(text) for number, text in told.items()} for told in (types, places)
    )
    tree, known = Tree(), {0: NOBODY}
    for first in range(0, len(births.place), CHUNK_ROWS):
        place, type_ = (
            births.place[first : first + CHUNK_ROWS],
            births.type[first : first + CHUNK_ROWS],
        )
        pairs, rows = np.unique(place.astype(np.int64) << 16 | type_, return_inverse=True)
        for pair in pairs.tolist():
            if pair not in known:
                both = (lines.get(pair >> 16, ""), names.get(pair & 0xFFFF, ""))
                known[pair] = tree.node([name for name in both if name])
        place[:] = np.array([known[pair] for pair in pairs.tolist()], np.int32)[rows]
    return tree


def _named(text: bytes) -> str:
    """A name without the address that a JVM gives a hidden class: Main$$Lambda$5.0x00007f26bd00."""
    return _HIDDEN.sub("", text.rstrip(b"\0").decode(errors="replace"))


def _empty(log: Path, births: int) -> at.Told:
    def by_birth(kind: type, name: str) -> np.ndarray:
        path = log.with_name(f"{log.name}.{name}")
        length = max(births, 1) * np.dtype(kind).itemsize
        try:
            with path.open("wb") as file:
                os.posix_fallocate(file.fileno(), 0, length)
        except OSError as error:
            raise HeapwrightError(
                f"cannot convert the recording: {path.parent} has no room for {length:,} bytes "
                f"({error.strerror})"
            ) from None
        return np.asarray(np.memmap(path, kind, "r+"))

    def of(kind: type) -> np.ndarray:
        return np.zeros(FIRST_ROOM, kind)

    kinds = (np.int32, np.int16, np.int32, np.uint8, np.int32, np.uint8, np.int32)
    return at.Told(
        at.Births(
            *(by_birth(kind, name) for kind, name in zip(kinds, at.Births._fields, strict=True))
        ),
        at.Live(of(np.int64), of(np.int32), of(np.int32), of(np.int32)),
        at.Fields(of(np.int64), of(np.int32), of(np.int32), of(np.int32)),
        of(np.int64),
        of(np.int64),
        of(np.int64),
        np.zeros(at.TYPES, np.int32),
        np.zeros(2, np.int64),
        np.zeros(1, np.int64),
        np.zeros(OUT_ROWS * WORDS, np.int64),
        np.zeros(at.COUNTS, np.int64),
    )


def _tell(told: at.Told, rows: np.ndarray, mutator: Mutator) -> at.Told:
    """Tell the mutator all rows; the arrays may have grown."""
    start, wanted = graph_tell.tell(told, rows, 0)
    while wanted != at.DONE:
        _hand_on(told, mutator)
        told = _rooms(told, wanted)
        start, wanted = graph_tell.tell(told, rows, start)
    _hand_on(told, mutator)
    return told


def _hand_on(told: at.Told, mutator: Mutator) -> None:
    count = told.count
    mutator.take(told.out[: WORDS * count[at.ROWS]], int(count[at.OBJECTS]) - mutator.objects)
    count[at.ROWS] = 0


def _rooms(told: at.Told, wanted: int) -> at.Told:
    """More of the room that is wanted."""
    count = told.count
    if wanted == at.ROWS_ROOM:
        return _rows_room(told)
    if wanted == at.SLOTS_ROOM:
        return told._replace(live=at.Live(*map(_longer, told.live)))
    if wanted == at.LIST_ROOM:
        least = int(count[at.HOLDING]) + int(graph_tell.rows_to_bury(told))
        dead, held, leaving = (
            _longer(column, least) for column in (told.dead, told.held, told.leaving)
        )
        return told._replace(dead=dead, held=held, leaving=leaving)
    at.close_up(told, np.zeros(len(told.live.number), np.int32))
    more = int(told.births.fields[count[at.OBJECTS]])
    if 2 * (int(count[at.FIELDS]) + more) < len(told.fields.target):
        return told
    least = int(count[at.FIELDS]) + more
    return told._replace(fields=at.Fields(*(_longer(column, least) for column in told.fields)))


def _rows_room(told: at.Told) -> at.Told:
    """Room for what the dead and the end of a look tell."""
    most = 2 * int(graph_tell.rows_to_bury(told)) + int(told.count[at.HOLDING]) + MORE_ROWS
    if WORDS * most <= len(told.out):
        return told
    return told._replace(out=np.zeros(2 * WORDS * most, np.int64))


def _longer(column: np.ndarray, least: int = 0) -> np.ndarray:
    longer = np.zeros(max(2 * len(column), least + 1), column.dtype)
    longer[: len(column)] = column
    return longer


def _notes(count: np.ndarray, look_every: int) -> list[Note]:
    """What a reader of the trace has to know."""
    looks = int(count[at.LOOKS])
    lost, found = int(count[at.FORGOTTEN]), int(count[at.FOUND_AGAIN])
    runs = int(count[at.RUNS])
    known = (
        f"It tells the {runs:,} collections that Python's own collector made once its callback was "
        "there, and which cycles each was about to take, from those on; the callback itself is one "
        "more in gc.callbacks. gc.freeze and gc.disable are not seen."
        if runs
        else "Collections of Python's own collector were not seen."
    )
    return [
        Note(
            "The blocks are those that Python asked its allocators for, their births and deaths "
            f"exact. References are the words seen at {looks:,} looks, at least {look_every:,} "
            "births apart; from its birth to the next look a block is held by a root."
        ),
        Note(
            f"{lost:,} blocks died when a look could not reach them, before Python freed them or "
            f"without; {found:,} were out of reach for a while and held by a root then, as memory "
            "that is not followed must have referred to them.",
            cases=lost + found,
        ),
        *_of_looks(count),
        Note(
            "Weak references and finalisers are not declared: the word of a weak reference counts "
            "as any other until Python frees what it refers to, and no replay clears one or calls "
            "back."
        ),
        Note(known),
    ]


def _of_looks(count: np.ndarray) -> list[Note]:
    """What the looks did to the program."""
    put_off, long = int(count[at.PUT_OFF]), int(count[at.LONG_LOOKS])
    longest_ms, all_ms = (int(count[row]) // MILLISECOND for row in (at.LONGEST_NS, at.LOOK_NS))
    notes = []
    if long:
        notes.append(
            Note(
                f"{long:,} looks stopped the program for more than {at.LONG_NS // MILLISECOND} ms, "
                f"the longest for {longest_ms:,} ms, all looks together for {all_ms:,} ms.",
                cases=long,
            )
        )
    if put_off:
        notes.append(
            Note(
                f"{put_off:,} looks came later than asked for, so that looking takes at most half "
                "of the time.",
                cases=put_off,
            )
        )
    return notes
