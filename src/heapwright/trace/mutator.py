"""What a program with a garbage collector does, told call by call; it becomes a graph trace.

    program ─► new write refer hold root push pop ─► rows, a chunk ─► merlin ─► events ─► sink

    with TraceWriter(path, program="pair") as writer, Mutator(writer.write) as m:
        with m.frame():
            pair, other = m.new(16, fields=2), m.new(16, fields=2)
            m.write(pair, 0, other)
            m.root(pair)

An object is the number of its birth, an int that never names another one. The program says what
it allocates and refers to, never what dies: deaths are computed (`merlin.py`) and slots assigned.

A frame holds each object that is born in it, until it is left. So a program that allocates in a
loop enters a frame there, as a function's call would. An object read from a field is held with
`hold` if it is used after the field was changed. Using an object that nothing holds is a mistake
of the program; where it is noticed it is a HeapwrightError that names the object's birth.
"""

import contextlib
from array import array
from collections.abc import Callable, Iterator
from types import TracebackType

import numpy as np

from heapwright.errors import HeapwrightError
from heapwright.trace import merlin
from heapwright.trace.merlin import KIND_BITS, NOBODY, OP_BITS, WORDS
from heapwright.trace.schema import (
    FINALISABLE,
    GET,
    HOLD,
    NEW,
    OPERATIONS,
    POP,
    PUSH,
    REFER,
    ROOT,
    STEER,
    TRACK,
    UNROOT,
    WRITE,
    Events,
    events,
)

CHUNK_EVENTS = 1 << 20  # a chunk is as long as there are live objects, but no shorter than this
REACH = 1 << 31  # objects and fields alive at once, and events of a chunk, are fewer
_PER_OBJECT = ("number", "slot", "first", "stamp", "mark", "next", "stack", "rooted", "references")


class Mutator:
    """The program's side of a graph trace; `sink` gets its events in order.

    `objects` counts the births so far. About 0.2 µs a call.
    """

    def __init__(self, sink: Callable[[Events], None], *, chunk_events: int = CHUNK_EVENTS) -> None:
        self.objects = 0
        self._sink = sink
        self._chunk_words = WORDS * chunk_events
        self._limit = self._chunk_words
        self._rows = array("q")
        self._put = self._rows.append
        self._told = 0  # rows of earlier chunks
        self._state = _empty()

    def new(self, size: int, fields: int = 0, site: int = -1, kind: int = -1) -> int:
        """Allocate `size` bytes, the first `fields` words of them null references; `kind` as NEW of
        the schema has it."""
        put = self._put
        put(NEW | fields << OP_BITS)
        put(size)
        put(site + (kind + 1 << KIND_BITS))
        number = self.objects
        self.objects = number + 1
        if len(self._rows) >= self._limit:
            self.flush()
        return number

    def write(self, obj: int, field: int, target: int = NOBODY) -> None:
        """Reference `field` of `obj` refers to `target` from now on, or to nothing."""
        put = self._put
        put(WRITE | field << OP_BITS)
        put(obj)
        put(target)
        if len(self._rows) >= self._limit:
            self.flush()

    def refer(self, kind: int, target: int, size: int, fields: int = 1, site: int = -1) -> int:
        """A new reference object: `kind` as REFER of the schema has it. Its first field refers to
        `target` and does not keep it; the others are null."""
        made = self.new(size, fields, site)
        self._tell(REFER | kind << OP_BITS, made, target)
        return made

    def finalisable(self, size: int, fields: int = 0, site: int = -1) -> int:
        """A new object that has a finaliser."""
        made = self.new(size, fields, site)
        self._tell(REFER | FINALISABLE << OP_BITS, made)
        return made

    def get(self, reference: int) -> None:
        """Ask a soft reference for its target: it was used just now."""
        self._tell(GET, reference)

    def hold(self, obj: int) -> int:
        """The frame on top holds `obj` too, having read it from a field."""
        self._tell(HOLD, obj)
        return obj

    def root(self, obj: int) -> int:
        """A global variable refers to `obj`; at most one may."""
        self._tell(ROOT, obj)
        return obj

    def unroot(self, obj: int) -> None:
        """The global variable refers to `obj` no longer."""
        self._tell(UNROOT, obj)

    def push(self) -> None:
        """Enter a frame."""
        self._tell(PUSH, NOBODY)

    def pop(self, returning: int = NOBODY) -> int:
        """Leave the frame on top; the one below holds `returning`."""
        self._tell(POP, returning)
        return returning

    def steer(self, operand: int) -> None:
        """The program steers its collector; `operand` as STEER of the schema has it."""
        self._tell(STEER, NOBODY, operand)

    def track(self, obj: int, on: int) -> None:
        """The collector follows `obj` from now on, in the generation `on` - 1, or no longer (0)."""
        self._tell(TRACK | on << OP_BITS, obj)

    def take(self, rows: np.ndarray, births: int) -> None:
        """Many calls at once: int64 rows as `merlin.apply` reads them, `births` of them `new`."""
        self._rows.frombytes(rows.tobytes())
        self.objects += births
        if len(self._rows) >= self._limit:
            self.flush()

    @contextlib.contextmanager
    def frame(self) -> Iterator[None]:
        """A frame around a block; what outlives it is referred to from elsewhere."""
        self.push()
        yield
        self.pop()

    def _tell(self, op: int, obj: int, operand: int = NOBODY) -> None:
        put = self._put
        put(op)
        put(obj)
        put(operand)
        if len(self._rows) >= self._limit:
            self.flush()

    def __enter__(self) -> "Mutator":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is None:
            self.flush()

    def flush(self) -> None:
        """End the chunk: compute who died in it and hand its events on."""
        rows = np.array(self._rows, np.int64)
        del self._rows[:]
        count = len(rows) // WORDS
        if count == 0:
            return
        self._make_room(rows)
        state, wrong = self._state, np.zeros(1, np.int64)
        told = rows.copy()
        row = int(merlin.apply(state, rows, count, wrong))
        if row >= 0:
            raise self._mistake(told, row, int(wrong[0]))
        latest = np.full(count, NOBODY, np.int32)
        merlin.bury(state, latest)
        length = count + int(state.counts[merlin.DEATHS])
        made = events(
            op=np.empty(length, np.uint8),
            slot=np.empty(length, np.int32),
            size=np.empty(length, np.int64),
            site=np.empty(length, np.int32),
            field=np.empty(length, np.int32),
            target=np.empty(length, np.int32),
        )
        row = int(merlin.emit(state, rows, latest, made))
        if row >= 0:
            raise self._mistake(told, row, merlin.DEAD)
        merlin.settle(state)
        self._tabulate()
        self._told += count
        self._limit = max(self._chunk_words, WORDS * int(state.counts[merlin.SURVIVORS]))
        self._sink(made)

    def _make_room(self, rows: np.ndarray) -> None:
        """Lengthen the arrays for whatever these rows may do."""
        counts, heads = self._state.counts, rows[::WORDS]
        born = heads[heads & ((1 << OP_BITS) - 1) == NEW] >> OP_BITS
        objects = int(counts[merlin.OBJECTS]) + len(born) + 1
        fields = int(counts[merlin.FIELDS]) + sum(born[born > 0].tolist())
        if max(objects, fields, len(heads)) >= REACH:
            raise HeapwrightError(
                f"the program holds {objects:,} objects with {fields:,} fields, and fewer than "
                f"{REACH:,} of each can be followed: make it smaller."
            )
        lengths = dict.fromkeys(_PER_OBJECT, objects)
        lengths |= {"fields": fields, "spare": int(counts[merlin.SLOTS]) + len(born)}
        lengths |= {"locals": int(counts[merlin.LOCALS]) + len(heads)}
        lengths |= {"frames": int(counts[merlin.FRAMES]) + len(heads)}
        longer = {}
        for name, length in lengths.items():
            old = getattr(self._state, name)
            if length > len(old):
                longer[name] = np.zeros(max(length, len(old) * 3 // 2), old.dtype)
                longer[name][: len(old)] = old
        self._state = self._state._replace(**longer)

    def _tabulate(self) -> None:
        """Make the table by which survivors are found."""
        length = 1 << (2 * int(self._state.counts[merlin.SURVIVORS])).bit_length()
        self._state = self._state._replace(table=np.full(length, NOBODY, np.int32))
        merlin.tabulate(self._state)

    def _mistake(self, rows: np.ndarray, row: int, wrong: int) -> HeapwrightError:
        """What the program did wrong with `row` of this chunk."""
        head, obj, target = rows[WORDS * row : WORDS * (row + 1)].tolist()
        op, field = head & ((1 << OP_BITS) - 1), head >> OP_BITS
        said = f"new({obj}, {field})" if op == NEW else f"{OPERATIONS[op]}({obj})"
        if op == WRITE:
            said = f"write({obj}, {field}, {target})"
        return HeapwrightError(
            f"the program's call {self._told + row:,}, {said}, has {merlin.WRONG[wrong]}"
        )


def _empty() -> merlin.State:
    """A program without objects."""
    names = merlin.State._fields
    wide = {"number": np.int64, "first": np.int64, "mark": np.uint8, "rooted": np.uint8}
    arrays = {name: np.zeros(1, wide.get(name, np.int32)) for name in names}
    arrays |= {"table": np.full(1, NOBODY, np.int32)}
    arrays |= {"counts": np.zeros(merlin.COUNTS, np.int64)}
    return merlin.State(**arrays)
