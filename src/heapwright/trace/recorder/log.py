"""Read the log that `recorder.c` writes: streams of records, merged by their dense numbers.

    chunks of the log ─► scatter: each record to the row of its number ─► Window, in true order

Invariant  a record of number n lies in row n - window.first; a row with op 0 was never written
"""

import mmap
import os
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.errors import HeapwrightError

# Operations of the log, as in recorder.c. Those below MALLOC take one word, the others three.
FREE, REALLOC_FROM, THREAD_EXIT, MALLOC, CALLOC, REALLOC, MEMALIGN, SYNC = range(1, 9)

_HEADER = struct.Struct("=8s5Q4096s")
MAGIC = b"HWRECORD"
CHUNK_BYTES = 1 << 20  # as in recorder.c
WINDOW_EVENTS = 1 << 20

# Columns of a cursor int64[CURSOR]: where a stream's reading stands, and what no sound log exceeds
WORD, NUMBER, THREAD, NUMBERS, THREADS, CURSOR = range(6)


class Window(NamedTuple):
    """The records numbered [first, first + WINDOW_EVENTS), a row each."""

    op: np.ndarray  # uint8[row], 0 where nothing was written
    address: np.ndarray  # int64[row], 0 for a refused request
    size: np.ndarray  # int64[row], bytes
    slack: np.ndarray  # int32[row], bytes; -1 unknown
    caller: np.ndarray  # int64[row], return address; 0 for those of one word
    align: np.ndarray  # uint8[row], log2
    thread: np.ndarray  # int32[row], the recorder's number
    time_ns: np.ndarray  # int64[row], 0 where the clock was not read


def window() -> Window:
    """An empty window."""
    types = (np.uint8, np.int64, np.int64, np.int32, np.int64, np.uint8, np.int32, np.int64)
    return Window(*(np.zeros(WINDOW_EVENTS, dtype) for dtype in types))


@kernel
def scatter(words, cursor, rows, first):
    """Place the records of one stream that fall into the window whose first number is `first`.

    `words` int64[word] is a chunk, `cursor` int64[CURSOR] is moved on. Returns the number of the
    first record beyond the window, or -1 at the end of the stream.
    """
    past = first + len(rows.op)
    at, number, thread = cursor[WORD], cursor[NUMBER], cursor[THREAD]
    answer = -1
    while at < len(words):
        head = words[unsigned(at)]
        op = (head >> 44) & 15
        if op == 0 or op > SYNC or (op >= MALLOC and at + 3 > len(words)):
            break
        if op == SYNC:
            number, thread = words[unsigned(at + 1)], head & 0xFFFFFFFFFFF
            if number < 0 or number >= cursor[NUMBERS] or thread >= cursor[THREADS]:
                break
            if number >= past:
                answer = number
                break
            if number >= first:
                rows.time_ns[unsigned(number - first)] = words[unsigned(at + 2)]
            at += 3
            continue
        here = number + ((((head >> 48) & 0xFFFF) - number) & 0xFFFF)
        if here >= past:
            answer = here
            break
        if here < first:  # only in a damaged log
            break
        i = unsigned(here - first)
        rows.op[i] = op
        rows.address[i] = (head & 0xFFFFFFFFFFF) << 4
        rows.thread[i] = thread
        if op < MALLOC:
            at += 1
            continue
        size, caller = words[unsigned(at + 1)], words[unsigned(at + 2)]
        rows.size[i] = size & 0xFFFFFFFFFFFF
        slack = (size >> 48) & 0xFFFF
        rows.slack[i] = -1 if slack == 0xFFFF else slack
        rows.caller[i] = caller & 0xFFFFFFFFFFFF
        rows.align[i] = (caller >> 48) & 63
        at += 3
    cursor[WORD], cursor[NUMBER], cursor[THREAD] = at, number, thread
    return answer


@dataclass
class _Chunk:
    words: np.ndarray  # int64[word]
    cursor: np.ndarray  # int64[CURSOR]
    next_number: int  # of the first record not yet placed; -1 at the end


class Log:
    """One process image's log; iterate `windows` once."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            head = file.read(_HEADER.size)
            if len(head) < _HEADER.size:
                raise HeapwrightError(f"{path} is damaged: the recording has no header")
            magic, header_bytes, chunk_bytes, pid, lost, lost_errno, program = _HEADER.unpack(head)
        if magic != MAGIC or not 0 < header_bytes <= 1 << 20 or chunk_bytes != CHUNK_BYTES:
            raise HeapwrightError(f"{path} is damaged: it was not written by this recorder")
        self.pid, self.lost = pid, lost
        self.lost_reason = os.strerror(lost_errno) if lost else ""
        self.executable = program.split(b"\0")[0].decode(errors="replace")
        self._header_bytes, self._chunk_bytes = header_bytes, chunk_bytes
        self._size = path.stat().st_size

    def windows(self) -> Iterator[tuple[Window, int, float]]:
        """Yield (rows, how many, fraction of the log read); it is the same Window each time.

        A chunk is mapped from its first record's window to its last's, so memory is bounded by
        the threads alive at once.
        """
        rows = window()
        end = self.lost - 1 if self.lost else 1 << 62
        active: list[_Chunk] = []
        first = taken = 0
        with self.path.open("rb") as file:
            order = self._by_first_number(file)
            while first < end and (taken < len(order) or active):
                past = min(first + WINDOW_EVENTS, end)
                while taken < len(order) and order[taken][0] < past:
                    active.append(self._map(file, *order[taken]))
                    taken += 1
                rows.op[:] = 0
                rows.time_ns[:] = 0
                for chunk in active:
                    if chunk.next_number < first + WINDOW_EVENTS:
                        chunk.next_number = scatter(chunk.words, chunk.cursor, rows, first)
                active = [chunk for chunk in active if chunk.next_number >= 0]
                count = past - first
                if taken == len(order) and not active:  # the last window
                    count = min(count, int(rows.op.nonzero()[0].max(initial=-1)) + 1)
                yield rows, count, taken / len(order)
                pending = [chunk.next_number for chunk in active] + [
                    n for n, _ in order[taken : taken + 1]
                ]
                first = max([past, *([min(pending)] if pending else [])])

    def _by_first_number(self, file: BinaryIO) -> list[tuple[int, int]]:
        """(number of its first record, position in the log) of each chunk in use, in order."""
        order = []
        for start in range(
            self._header_bytes, self._size - self._chunk_bytes + 1, self._chunk_bytes
        ):
            file.seek(start)
            head, number = struct.unpack("=2q", file.read(16))
            if (head >> 44) & 15 == SYNC and 0 <= number < self._size:
                order.append((number, start))
        return sorted(order)

    def _map(self, file: BinaryIO, number: int, start: int) -> _Chunk:
        mapped = mmap.mmap(file.fileno(), self._chunk_bytes, offset=start, access=mmap.ACCESS_READ)
        # A number is a record of a word at least, but for a few that were being written at the end;
        # a thread is a SYNC of three words.
        limits = [self._size // 8 + (1 << 16), self._size // 24]
        return _Chunk(np.frombuffer(mapped, np.int64), np.array([0, 0, 0, *limits]), number)
