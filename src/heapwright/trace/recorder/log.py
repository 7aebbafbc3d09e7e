"""Read the log that `recorder.c` writes: streams of records, merged by their dense numbers.

    chunks of the logs ─► scatter: each record to the row of its number ─► Window, in true order

A forked child counts on from its parent, so that the parent's log up to the fork and its own are
one history: `history` finds the logs, `windows` reads them as one.

Invariant  a record of number n lies in row n - window.first; a row with op 0 was never written
"""

import os
import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError

# Operations of a window; in the log those up to MEMALIGN are the same.
(FREE, REALLOC_FROM, THREAD_EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN) = range(1, 8)
MALLOPT, TRIM, SBRK = range(8, 11)
LOOK = 12
ARENA, NODE = 14, 15  # in the log MALLOCs of such a domain, see python.h
# Of the log, as in log.h: one kind of STEERED is no record, the others MALLOPT and on; those of two
# words, less their operation of MALLOC to REALLOC; those that lie near the last.
STEERED, SHORT, SYNC, LOOKED, NEAR, NEAR_FREE = 8, 5, 12, 13, 14, 15
BASE_BELOW, LEAST_BASE, SLOTS = 1 << 30, 16, 256
ADDRESS_SHIFT = 3  # its multiples of 8
_ARENA_DOMAIN, _NODE_DOMAIN = 6, 7
# Flags of the header: there was no key whose destructor tells of threads' ends; a caller is a node
# of `tree.h`; some stacks had no room there; the process ran before, unrecorded; the log has the
# size asked for; it goes on with the one in `parent`; frames were found by pointers alone.
ENDS_UNSEEN, STACKED, STACKS_CUT, ATTACHED, CUT_ASKED, CONTINUES, WITHOUT_TABLES = (
    1 << bit for bit in range(7)
)

_HEADER = struct.Struct("=8s7Q4096s4096s4096sQ")
_NAME = re.compile(r"\d{1,10}\.\d{1,10}")  # of a log: process number, image number
MAGIC = b"HWRECRD4"
CHUNK_BYTES = 1 << 16  # as in log.h
WINDOW_EVENTS = 1 << 16
GENERATIONS = 64  # of forks that a history goes back

# Columns of a cursor int64[CURSOR]: where a stream's reading stands; the first number that is the
# child's, no longer this log's; what no sound log exceeds; and what near records go by: the number
# of the last one, where addresses are counted from, the caller in each slot
HALF, NUMBER, THREAD, LIMIT, NUMBERS, THREADS, LAST, BASE, CALLERS = range(9)
CURSOR = CALLERS + SLOTS


class Window(NamedTuple):
    """The records numbered [first, first + WINDOW_EVENTS), a row each."""

    op: np.ndarray  # uint8[row], 0 where nothing was written
    address: np.ndarray  # int64[row], 0 for a refused request
    # int64[row], bytes; of what steers the allocator its operand; of LOOK those surely written
    size: np.ndarray
    slack: np.ndarray  # int32[row], bytes; -1 unknown; of LOOK 1 where there are holes in them
    caller: np.ndarray  # int64[row], return address; 0 for those of one word; of SBRK the break; of
    # LOOK the bytes that may have been written
    align: np.ndarray  # uint8[row], log2
    thread: np.ndarray  # int32[row], the recorder's number
    time_ns: np.ndarray  # int64[row], 0 where the clock was not read
    domain: np.ndarray  # uint8[row], of those of three words: as in python.h


def window() -> Window:
    """An empty window."""
    types = (np.uint8, np.int64, np.int64, np.int32, np.int64, np.uint8, np.int32, np.int64)
    types += (np.uint8,)
    return Window(*(np.zeros(WINDOW_EVENTS, dtype) for dtype in types))


@kernel
def _half(words, at):
    return (words[unsigned(at >> 1)] >> ((at & 1) << 5)) & 0xFFFFFFFF


@kernel
def _halves(op, low):
    """How many half words a record takes that begins with `low`."""
    if op == NEAR_FREE or low == STEERED:
        return 1
    if op < MALLOC or op == NEAR:
        return 2
    return 4 if STEERED < op < SYNC else 6


@kernel
def scatter(words, cursor, rows, first):
    """Place the records of one stream that fall into the window whose first number is `first`.

    `words` int64[word] is a chunk, `cursor` int64[CURSOR] is moved on. Returns the number of the
    first record beyond the window, or -1 at the end of the stream.
    """
    past = first + len(rows.op)
    at, number, thread, last = cursor[HALF], cursor[NUMBER], cursor[THREAD], cursor[LAST]
    answer = -1
    while at < 2 * len(words):
        low = _half(words, at)
        op, head = low & 15, low
        length = _halves(op, low)
        if op == 0 or at + length > 2 * len(words):
            break
        if length == 1 and op == STEERED:
            at += 1
            continue
        here = last + 1
        if op < NEAR:
            if at & 1:  # only in a damaged log
                break
            head = words[unsigned(at >> 1)]
            here = number + ((((head >> 48) & 0xFFFF) - number) & 0xFFFF)
        if op == SYNC:
            here, thread = words[unsigned((at >> 1) + 1)], (head >> 4) & 0xFFFFFFFFFFF
            if here < 0 or here >= cursor[NUMBERS] or thread >= cursor[THREADS]:
                break
            if here >= past:
                answer = here
                break
            number, last = here, here - 1
            if here >= first:
                rows.time_ns[unsigned(here - first)] = words[unsigned((at >> 1) + 2)]
            at += 6
            continue
        if here >= cursor[LIMIT] or here < first:  # the latter only in a damaged log
            break
        if here >= past:
            answer = here
            break
        i = unsigned(here - first)
        if op < NEAR:
            address = ((head >> 4) & 0xFFFFFFFFFFF) << ADDRESS_SHIFT
        else:
            address = cursor[BASE] + (low & 0xFFFFFFF0)
            if address <= 0 or (op == NEAR and _half(words, at + 1) >> 30 == 0):
                break  # the latter where it is being written
        rows.op[i], rows.address[i], rows.thread[i] = op, address, thread
        at += length
        last = here
        if op == NEAR_FREE:
            rows.op[i] = FREE
        elif op == NEAR or STEERED < op < SYNC:
            if op == NEAR:
                told = _half(words, at - 1)
                rows.op[i] = MALLOC - 1 + (told >> 30)
                caller = cursor[CALLERS + ((told >> 16) & (SLOTS - 1))]
            else:
                told = words[unsigned((at >> 1) - 1)]
                rows.op[i] = op - SHORT
                caller = (told >> 16) & 0xFFFFFFFFFFFF
                cursor[BASE] = max(address - BASE_BELOW, LEAST_BASE)
                cursor[CALLERS + (caller & (SLOTS - 1))] = caller
            rows.size[i] = told & 0xFFFF
            rows.slack[i] = (-8 - rows.size[i]) & 15
            rows.caller[i] = caller
            rows.align[i] = rows.domain[i] = 0
        elif op >= MALLOC:
            _long(words, at >> 1, head, rows, i)
    cursor[HALF], cursor[NUMBER], cursor[THREAD], cursor[LAST] = at, number, thread, last
    return answer


@kernel
def _long(words, past, head, rows, i):
    """The rest of a record of three words that ends before word `past`, into row i."""
    size, caller = words[unsigned(past - 2)], words[unsigned(past - 1)]
    rows.size[i] = size & 0xFFFFFFFFFFFF
    slack = (size >> 48) & 0xFFFF
    rows.slack[i] = -1 if slack == 0xFFFF else slack
    rows.caller[i] = caller & 0xFFFFFFFFFFFF
    rows.align[i] = (caller >> 48) & 63
    domain = (caller >> 56) & 7
    rows.domain[i] = domain
    op = head & 15
    if op == STEERED:
        rows.op[i] = min(MALLOPT - 1 + ((head >> 4) & 15), SBRK)
        rows.address[i] = 0
    elif op == LOOKED:
        rows.op[i] = LOOK
    elif domain >= _ARENA_DOMAIN:
        rows.op[i] = ARENA if domain == _ARENA_DOMAIN else NODE


@dataclass
class _Chunk:
    words: np.ndarray  # int64[word]
    cursor: np.ndarray  # int64[CURSOR]
    next_number: int  # of the first record not yet placed; -1 at the end


class Log:
    """The log of one process image: its header, and its chunks in memory while they are read."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
        if len(head) < _HEADER.size:
            raise HeapwrightError(f"{path} is damaged: the recording has no header")
        magic, header_bytes, chunk_bytes, *numbers, program, parent, executed, unseen = (
            _HEADER.unpack(head)
        )
        if magic[:7] == MAGIC[:7] and magic != MAGIC:
            raise HeapwrightError(
                f"{path} was written by the recorder of another version of heapwright, whose logs "
                "this one does not read: `recover` it with that version"
            )
        if magic != MAGIC or not 0 < header_bytes <= 1 << 20 or chunk_bytes != CHUNK_BYTES:
            raise HeapwrightError(f"{path} is damaged: it was not written by this recorder")
        self.pid, self.lost, lost_errno, first, self.flags = numbers
        self.unseen = min(unseen, 1 << 48)  # looks at large blocks that were left out
        self.first = min(first, 1 << 62)  # number of its first event
        self.lost_reason = os.strerror(lost_errno & 0xFFFF) if self.lost else ""
        self.executable, parent_name, self.executed = (
            text.split(b"\0")[0].decode(errors="replace") for text in (program, parent, executed)
        )
        # A name in the same folder and no other path: the header may be damaged.
        self.parent = path.with_name(parent_name) if _NAME.fullmatch(parent_name) else None
        self._header_bytes, self._chunk_bytes = header_bytes, chunk_bytes
        self.size = path.stat().st_size

    def by_first_number(self) -> list[tuple[int, int]]:
        """(number of its first record, position in the log) of each chunk in use.

        While the program runs, a chunk that it begins anew stands first: its copy lies behind it.
        """
        order = []
        with self.path.open("rb") as file:
            start = self._header_bytes
            while len(head := os.pread(file.fileno(), 16, start)) == 16:
                number = self._first_number(head, start)
                if number >= 0:
                    order.append((number, start))
                start += self._chunk_bytes
        return order

    def _first_number(self, head: bytes, start: int) -> int:
        """Of a chunk that begins with these 16 bytes; -1 where it is not in use."""
        word, number = struct.unpack("=2q", head)
        most = self.first + max(self.size, start)
        return int(number) if word & 15 == SYNC and 0 <= number < most else -1

    def begun_ns(self) -> int:
        """When its first record was made, by the recorder's clock; 0 without any."""
        for _, start in sorted(self.by_first_number())[:1]:
            with self.path.open("rb") as file:
                file.seek(start + 16)
                return max(int(struct.unpack("=q", file.read(8))[0]), 0)
        return 0

    def chunk(self, number: int, start: int, limit: int) -> _Chunk:
        """The chunk at `start`, whose first record has this number; in a program that runs it may
        be one of later records by now, and its copy is looked for."""
        words = self._words(number, start)
        if not len(words):
            copies = [at for found, at in self.by_first_number() if found == number]
            words = self._words(number, copies[-1]) if copies else words
        # A number is a record of half a word at least, but for a few that were being written at
        # the end; a thread is a SYNC of three words, in this log or in one before it.
        beyond = self.first + max(self.size, start) // 4 + (1 << 16)
        cursor = np.zeros(CURSOR, np.int64)
        cursor[[LIMIT, NUMBERS, THREADS, BASE]] = limit, beyond, beyond, LEAST_BASE
        return _Chunk(words, cursor, number)

    def _words(self, number: int, start: int) -> np.ndarray:
        """int64[word]: of the chunk at `start`, none where its first record has another number."""
        with self.path.open("rb") as file:
            held = os.pread(file.fileno(), self._chunk_bytes, start)
            after = os.pread(file.fileno(), 16, start)  # it was not begun anew meanwhile
        same = len(after) == 16 and self._first_number(after, start) == number
        return np.frombuffer(held[: len(held) & -8] if same else b"", np.int64)


def history(last: Log) -> list[Log]:
    """`last` and before it the logs of its parents up to the forks, the oldest first.

    The first one has `first` 0, unless a parent's log is gone.
    """
    logs = [last]
    while logs[0].parent is not None and len(logs) < GENERATIONS and not logs[0].flags & CONTINUES:
        if not logs[0].parent.exists() or logs[0].parent in [log.path for log in logs]:
            break
        parent = Log(logs[0].parent)
        if parent.first > logs[0].first:
            break
        logs.insert(0, parent)
    return logs


def end_of(logs: list[Log]) -> int:
    """The first number that is not in the history, as far as a loss tells; 1 << 62 if none does."""
    past = [log.first for log in logs[1:]] + [1 << 62]
    losses = [log.lost - 1 for log, end in zip(logs, past, strict=True) if 0 < log.lost <= end]
    return min(losses, default=1 << 62)


def windows(logs: list[Log]) -> Iterator[tuple[Window, int, int, float]]:
    """Yield (rows, how many, number of the first, fraction read); it is the same Window each time.

    None spans a fork: its rows are all the parent's or all the child's. A chunk is in memory from
    its first record's window to its last's, so memory is bounded by the threads alive at once.
    """
    rows = window()
    end = end_of(logs)
    limits = [log.first for log in logs[1:]] + [1 << 62]
    order = sorted(
        (number, which, start)
        for which, log in enumerate(logs)
        for number, start in log.by_first_number()
        if number < limits[which]
    )
    active: list[_Chunk] = []
    taken = 0
    first = order[0][0] if order else 0
    while first < end and (taken < len(order) or active):
        forks = [limit for limit in limits if limit > first]
        past = min(first + WINDOW_EVENTS, end, *forks)
        while taken < len(order) and order[taken][0] < past:
            number, which, start = order[taken]
            active.append(logs[which].chunk(number, start, limits[which]))
            taken += 1
        rows.op[:] = 0
        rows.time_ns[:] = 0
        for chunk in active:
            if chunk.next_number < past:
                chunk.next_number = scatter(chunk.words, chunk.cursor, rows, first)
        active = [chunk for chunk in active if chunk.next_number >= 0]
        count = past - first
        if taken == len(order) and not active:  # the last window
            count = min(count, int(rows.op.nonzero()[0].max(initial=-1)) + 1)
        yield rows, count, first, taken / len(order)
        pending = [chunk.next_number for chunk in active] + [
            n for n, *_ in order[taken : taken + 1]
        ]
        first = max([past, *([min(pending)] if pending else [])])
