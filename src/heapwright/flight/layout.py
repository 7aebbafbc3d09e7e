"""Where each array of a heap lies in flight, and what a process must map and write for it.

    ORIGIN            the machine's words, mapped as the manager asks for them
    TABLES ─► ...     arrays too large for the object, one after the other, mapped at the start
    the object        the others, with their content

An array that is a view of another one's memory is laid where that one is. Real addresses are
fixed, so that each is a constant of the code; nothing else in a Linux process lies there, unless
it was put there on purpose, and then the start fails.
"""

import ctypes
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from heapwright.compiler.ahead import Fixed, Forgotten, Static
from heapwright.flight.start import LAST_WORDS, Start
from heapwright.machine import PAGE_BYTES, STATIC_BASE, Machine
from heapwright.machine.address_space import BREAK_BASE, BREAK_LIMIT, MAPPED_BYTES

ORIGIN = 0x2000_0000_0000  # a multiple of every alignment that a program asks for
TABLES = ORIGIN + (1 << 43)
WHOLE = frozenset({"account.ledger.blocks", "account.sample"})  # arrays with a length
SMALL_BYTES = 1 << 14  # an array up to here lies in the object
JOINED_WORDS = 4  # zeros between two runs that are not worth a run of their own


class Plan:
    """What is laid out so far."""

    def __init__(
        self,
        forgotten: frozenset[str],
        following: frozenset[str],
        growing: Mapping[str, int] | None = None,
        ceiling: int = BREAK_LIMIT,
    ) -> None:
        """Arrays in fields named in `forgotten` get no place: nobody asks for their content. Of
        those named in `following` a first part will do while the break stays low. Of `growing` ones
        so many bytes are mapped at the start, and the manager sees to the rest. The break stays
        below the `ceiling`."""
        self.forgotten = forgotten
        self.following = following
        self.growing = growing or {}
        self.ceiling = ceiling
        self.ranges: list[tuple[int, int, int]] = []  # to map: see Start
        self.runs: list[tuple[int, int, int, int]] = []  # to write: see Start
        self.content: list[np.ndarray] = []
        self._content_words = 0
        self._next_table = TABLES
        self._placed: dict[int, tuple[int, int]] = {}  # by where it is: bytes, real address
        self._in_object: dict[int, tuple[str, int]] = {}  # by where it is: name, bytes

    def place_words(self, machine: Machine) -> None:
        """The machine's words; what boot wrote to the data segment is kept."""
        assert machine.meters[MAPPED_BYTES] == 0, "a manager that maps in boot cannot fly"
        self._placed[machine.words.ctypes.data] = (machine.words.nbytes, ORIGIN)
        static = machine.words[STATIC_BASE >> 3 : BREAK_BASE >> 3]
        if any(True for _ in _written(static)):
            self.ranges.append((ORIGIN + STATIC_BASE, static.nbytes, 0))
            self._keep(static, ORIGIN + STATIC_BASE)

    def place(self, name: str, state: Any) -> Any:
        """A place for an array, or the same NamedTuple with a place for each of its arrays."""
        if isinstance(state, tuple):
            names = (f"{name}.{field}" for field in state._fields)  # type: ignore[attr-defined]
            return type(state)(*map(self.place, names, state))
        field = name.rpartition(".")[2]
        if field in self.forgotten:
            return Forgotten()
        if name in WHOLE:
            return Fixed(state.dtype, self._place_table(state), state.shape)
        address = self._placed_at(state)
        if not address and state.nbytes <= SMALL_BYTES:
            return self._place_in_object(name, state)
        if not address:
            address = self._place_table(state, field in self.following, self.growing.get(field))
        return Fixed(state.dtype, address)

    def _place_in_object(self, name: str, array: np.ndarray) -> Static:
        """An array of the object; one that two fields hold is one there too."""
        if not array.size:
            return Static(name, np.zeros(1, array.dtype))
        first = array.ctypes.data
        name, length = self._in_object.setdefault(first, (name, array.nbytes))
        assert length == array.nbytes, f"{name} of {array.nbytes} bytes begins as one of {length}"
        return Static(name, array)

    def start(self) -> Start:
        """The arrays that a process begins with: in the object, whatever their size."""
        follows = any(range_[2] for range_ in self.ranges)
        arrays = Start(
            np.array([len(self.ranges), len(self.runs), self.ceiling, follows], np.int64),
            np.zeros(2, np.int64),
            np.array([*self.ranges, (0, 0, 0)], np.int64).reshape(-1),
            np.array([*self.runs, (0, 0, 0, 0)], np.int64).reshape(-1),
            np.concatenate([np.zeros(1, np.int64), *self.content]),
            np.frombuffer(LAST_WORDS.encode(), np.int8),
        )
        in_object: Any = (Static(f"start.{name}", a) for name, a in arrays._asdict().items())
        return Start(*in_object)

    def _placed_at(self, array: np.ndarray) -> int:
        """The real address of an array that shares another one's memory, else 0."""
        first = array.ctypes.data
        for other, (length, address) in self._placed.items():
            if other <= first < other + length:
                return address + first - other
        return 0

    def _place_table(
        self, array: np.ndarray, follows: bool = False, first_bytes: int | None = None
    ) -> int:
        """The real address of an array of its own, of which a first part may do."""
        address = self._next_table
        length = (array.nbytes + PAGE_BYTES - 1) & -PAGE_BYTES
        self._next_table += length + PAGE_BYTES
        first = min(length, (first_bytes or length) + PAGE_BYTES - 1 & -PAGE_BYTES)
        self.ranges.append((address, first, int(follows)))
        self._placed[array.ctypes.data] = (array.nbytes, address)
        self._keep(array, address)
        return address

    def _keep(self, array: np.ndarray, address: int) -> None:
        """Note what is not zero of an array's words, as runs."""
        bytes_ = array.reshape(-1).view(np.uint8)
        whole = array.nbytes & ~7
        for first, words in _written(bytes_[:whole].view(np.int64)):
            self._keep_words(address + 8 * first, words)
        if bytes_[whole:].any():  # a table is whole pages in flight: there is room for a last word
            last = np.zeros(8, np.uint8)
            last[: array.nbytes - whole] = bytes_[whole:]
            self._keep_words(address + whole, last.view(np.int64))

    def _keep_words(self, address: int, words: np.ndarray) -> None:
        """Note what is not zero of some words, as runs."""
        for begin, end in _runs(words):
            run = words[begin:end]
            step = int((run != run[0]).any())
            self._content_words += 1 if not self.content else len(self.content[-1])
            self.runs.append((address + 8 * begin, len(run), self._content_words, step))
            self.content.append(run.copy() if step else run[:1].copy())


def _written(words: np.ndarray) -> Iterator[tuple[int, np.ndarray]]:
    """Spans of whole resident pages of an array, with the first word's number; zeros elsewhere."""
    page_words = PAGE_BYTES // 8
    lead = -words.ctypes.data % PAGE_BYTES // 8
    if words[:lead].any():
        yield 0, words[:lead]
    pages = (len(words) - lead) // page_words
    resident = np.zeros(max(pages, 1), np.uint8)
    if pages:
        libc = ctypes.CDLL(None, use_errno=True)
        start = ctypes.c_void_p(words.ctypes.data + 8 * lead)
        libc.mincore(
            start, ctypes.c_size_t(pages * PAGE_BYTES), ctypes.c_void_p(resident.ctypes.data)
        )
    edges = np.flatnonzero(np.diff(np.concatenate([[0], resident[:pages] & 1, [0]])))
    for begin, end in edges.reshape(-1, 2).tolist():
        span = slice(lead + begin * page_words, lead + end * page_words)
        if words[span].any():
            yield span.start, words[span]
    rest = lead + pages * page_words
    if words[rest:].any():
        yield rest, words[rest:]


def _runs(words: np.ndarray) -> Iterator[tuple[int, int]]:
    """Where words are not zero, or differ from the word before, as [start, stop)."""
    written = np.flatnonzero(words)
    breaks = np.flatnonzero(np.diff(written) > JOINED_WORDS) + 1
    for part in np.split(written, breaks):
        yield int(part[0]), int(part[-1]) + 1
