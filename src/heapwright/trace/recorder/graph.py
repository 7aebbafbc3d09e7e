"""Record the object graph of a CPython program as a graph trace.

    command ─► graph.c preloaded ─► log: births, deaths; references and roots at each look
            ─► `tell`, call by call ─► Mutator ─► the trace

The log knows births and deaths exactly and references only at its looks. What is told to the
Mutator, so that an object is reachable exactly while it lives:

    birth      a global root holds the block until the next look
    look       roots and references become what was seen; what cannot be reached from them dies,
               but for what a later look finds again: a root holds that meanwhile
    deaths     those between two births are one event: what still referred to the dead is cleared,
               and a root holds what only the dead referred to, until the next look

Omits      blocks of C's malloc and of other allocators; references from other threads' C stacks;
           when between two looks a reference changed; subinterpreters
"""

import contextlib
import gc
import os
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace.merlin import NOBODY
from heapwright.trace.mutator import Mutator
from heapwright.trace.recorder.build import library
from heapwright.trace.recorder.convert import Converted
from heapwright.trace.recorder.run import run
from heapwright.trace.recorder.session import executable, preloaded
from heapwright.trace.store import TraceWriter

# Rows of the log: see graph.c.
(NEW, FREE, WRITE, ROOT, UNROOT, LOST, FOUND, LOOK, SEEN, TYPE, NAME, END) = range(1, 13)
ROW_WORDS, OP_BITS = 3, 8
CHUNK_ROWS = 1 << 16
LOOK_EVERY = 10_000  # births
FIELD_BITS = 32


def record_graph(
    command: Sequence[str],
    out: str | os.PathLike[str],
    *,
    look_every: int = LOOK_EVERY,
    environment: Mapping[str, str] | None = None,
    progress: Callable[[float], None] | None = None,
) -> tuple[int, Converted]:
    """Run `command`, write the graph of the first CPython in it to `out`: exit status, and what.

    There is a look at the references once in `look_every` births, or in half as many births as
    there are live blocks if that is more. `progress` is called while converting, with the fraction
    done. HeapwrightError when the program cannot be run, is no CPython, or the disk refuses.
    """
    out = Path(out)
    program = executable(command[0])
    preload = library("graph")
    if not out.parent.is_dir():
        raise HeapwrightError(f"cannot write {out}: there is no folder {out.parent}")
    with tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent.resolve()) as name:
        log = Path(name) / "log"
        told = {"HEAPWRIGHT_GRAPH": str(log), "HEAPWRIGHT_GRAPH_EVERY": str(look_every)}
        status, _ = run(program, command, preloaded(environment, preload, told))
        if not log.exists() or not log.stat().st_size:
            raise HeapwrightError(
                f"recorded no graph of {command[0]} (it ended with status {status}): --graph "
                "records what CPython allocates, and no CPython ran in it to its end"
            )
        events = convert(log, out, Path(command[0]).name, look_every, progress)
    return status, Converted(out, Path(command[0]).name, events, 0)


def convert(
    log: Path,
    out: Path,
    program: str,
    look_every: int = LOOK_EVERY,
    progress: Callable[[float], None] | None = None,
) -> int:
    """Write the log as the trace `out`; the number of its events."""
    words = np.fromfile(log, np.int64)
    rows = words[: len(words) // ROW_WORDS * ROW_WORDS].reshape(-1, ROW_WORDS)
    known = _foreknown(rows)
    ended = bool((rows[-1:, 0] == END).any())
    rows = rows[~np.isin(rows[:, 0] & 0xFF, (TYPE, NAME, END))]
    with TraceWriter(out, program=program) as writer, _no_collections():
        writer.sites = known.types
        with Mutator(writer.write) as mutator:
            teller = Teller(mutator, known)
            for done, row in enumerate(_rows(rows)):
                teller.tell(*row)
                if progress and done % CHUNK_ROWS == 0:
                    progress(done / len(rows))
            teller.end()
        looks = int((rows[:, 0] & 0xFF == LOOK).sum())
        writer.facts.notes += _notes(looks, look_every, teller)
        if not ended:
            writer.facts.notes.append("The recording stops before the program's end.")
    return writer.facts.events


@contextlib.contextmanager
def _no_collections() -> Iterator[None]:
    """Millions of small containers, none in a cycle: Python's collector would only look at them."""
    before = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if before:
            gc.enable()


def _notes(looks: int, look_every: int, teller: "Teller") -> list[str]:
    return [
        "The blocks are those that Python asked its allocators for, their births and deaths exact. "
        f"References are the words seen at {looks:,} looks, at least {look_every:,} births apart; "
        "from its birth to the next look a block is held by a root.",
        f"{teller.lost:,} blocks died when a look could not reach them, before Python freed them "
        f"or without; {len(teller.known.found):,} were out of reach for a while and held by a root "
        "then, as memory that is not followed must have referred to them.",
    ]


class Foreknown:
    """What a first pass over the log finds, by block."""

    def __init__(self, fields: np.ndarray, site: np.ndarray, types: list[str], found: set[int]):
        self.fields = fields.tolist()  # reference fields: up to the last one ever written
        self.site = site.tolist()  # row of `types`; -1 for what is no object
        self.types, self.found = types, found  # found: once lost and found again


def _foreknown(rows: np.ndarray) -> Foreknown:
    op, field = rows[:, 0] & 0xFF, rows[:, 0] >> OP_BITS
    births = int((op == NEW).sum())
    written = (op == WRITE) & (rows[:, 2] >= 0)
    named = {WRITE, FREE, ROOT, UNROOT, LOST, FOUND, TYPE}
    numbers = rows[np.isin(op, list(named)), 1]
    if len(numbers) and not 0 <= numbers.min() <= numbers.max() < births:
        raise HeapwrightError("the recording of the graph is damaged: record it again")
    fields = np.zeros(births, np.int64)
    np.maximum.at(fields, rows[written, 1], field[written] + 1)
    texts: dict[int, bytes] = {}
    for _, number, text in rows[op == NAME].tolist():
        texts[number] = texts.get(number, b"") + text.to_bytes(8, "little", signed=True)
    order = {number: i for i, number in enumerate(texts)}
    site = np.full(births, -1, np.int64)
    typed = rows[op == TYPE]
    site[typed[:, 1]] = [order.get(number, -1) for number in typed[:, 2].tolist()]
    types = [text.rstrip(b"\0").decode(errors="replace") for text in texts.values()]
    return Foreknown(fields, site, types, set(rows[op == FOUND, 1].tolist()))


def _rows(rows: np.ndarray) -> Iterator[list[int]]:
    for first in range(0, len(rows), CHUNK_ROWS):
        yield from rows[first : first + CHUNK_ROWS].tolist()


class Teller:
    """Tells the mutator what the log says. A block's number is also the mutator's.

    Invariant  every block that is alive is reachable, and no other; `rooted` are the global roots
    """

    def __init__(self, mutator: Mutator, known: Foreknown) -> None:
        self.m, self.known = mutator, known
        self.fields: dict[int, dict[int, int]] = {}  # of each live block: target by field
        self.referrers: dict[int, list[int]] = {}  # block << FIELD_BITS | field, perhaps outdated
        self.rooted: set[int] = set()
        self.seen_as_root: set[int] = set()  # by the last look, or born since
        self.held: set[int] = set()  # rooted until the next look
        self.unseen: set[int] = set()  # rooted until they are found again
        self.dying: list[int] = []  # freed since the last other event
        self.leaving: list[int] = []  # lost at this look
        self.looking = self.bearing = False
        self.lost = 0

    def tell(self, head: int, first: int, second: int) -> None:
        """One row."""
        op = head & 0xFF
        if op == FREE:
            if first in self.fields:
                self.dying.append(first)
            return
        if self.dying:
            self._bury()
        if op == NEW:
            self._bear(first)
        elif op == WRITE:
            if first in self.fields:
                self._write(first, head >> OP_BITS, second)
        elif op == LOOK:
            self._close()
            self.m.push()
            self.looking = True
        elif op == SEEN:
            self._seen()
        elif first in self.fields:
            self._reached(op, first)

    def end(self) -> None:
        """No more rows."""
        if self.dying:
            self._bury()
        self._close()

    def _bear(self, size: int) -> None:
        if not self.bearing:
            self.m.push()
            self.bearing = True
        number = self.m.objects
        self.m.new(size, self.known.fields[number], self.known.site[number])
        self.m.root(number)
        self.fields[number] = {}
        self.rooted.add(number)
        self.seen_as_root.add(number)

    def _close(self) -> None:
        """Leave the frame in which blocks were born: a root holds each of them."""
        if self.bearing:
            self.m.pop()
            self.bearing = False

    def _write(self, block: int, field: int, target: int) -> None:
        fields = self.fields[block]
        old = fields.get(field, NOBODY)
        if target not in self.fields:
            target = NOBODY
        if target == old:
            return
        if self.looking and old != NOBODY:
            self.m.hold(old)
        self.m.write(block, field, target)
        if target == NOBODY:
            del fields[field]
        else:
            fields[field] = target
            self.referrers.setdefault(target, []).append(block << FIELD_BITS | field)

    def _root(self, block: int) -> None:
        if block not in self.rooted:
            self.m.root(block)
            self.rooted.add(block)

    def _reached(self, op: int, block: int) -> None:
        if op == ROOT:
            self.seen_as_root.add(block)
            self._root(block)
        elif op == UNROOT:
            self.seen_as_root.discard(block)
            self.held.add(block)
        elif op == FOUND:
            self.unseen.discard(block)
            self.held.add(block)
        elif block in self.known.found:
            self.unseen.add(block)
            self._root(block)
        else:
            self.leaving.append(block)

    def _seen(self) -> None:
        """End of a look: drop the roots that it did not confirm."""
        for block in self.held:
            if block in self.rooted and not (block in self.seen_as_root or block in self.unseen):
                self.m.unroot(block)
                self.rooted.discard(block)
        self.held.clear()
        self.m.pop()
        self.looking = False
        for block in self.leaving:
            self._forget(block)
        self.lost += len(self.leaving)
        self.leaving.clear()

    def _bury(self) -> None:
        """The blocks freed since the last other event die together."""
        self._close()
        dead = set(self.dying)
        self.dying.clear()
        for block in dead:
            for target in self.fields[block].values():
                if target not in dead and target in self.fields:
                    self._root(target)
                    self.held.add(target)
        for block in dead:
            for referrer in self.referrers.get(block, ()):
                source, field = referrer >> FIELD_BITS, referrer & (1 << FIELD_BITS) - 1
                if source not in dead and self.fields.get(source, {}).get(field) == block:
                    self.m.write(source, field)
                    del self.fields[source][field]
        for block in dead:
            if block in self.rooted:
                self.m.unroot(block)
            self._forget(block)

    def _forget(self, block: int) -> None:
        del self.fields[block]
        self.referrers.pop(block, None)
        for kept in (self.rooted, self.seen_as_root, self.held, self.unseen):
            kept.discard(block)
