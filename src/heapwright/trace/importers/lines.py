"""Lines of text into records: what every text format shares.

    Source ─► Lines.text, whole lines at a time ─► a format's `scan` kernel ─► Records ─► Events

A format's kernel takes lines one by one with `next_line`, reads numbers and words with the
scanners here, and hands what it understood to `put`, which settles what no allocator does
literally: realloc(NULL, n) is a malloc, realloc(p, 0) that returned nothing a free, free(NULL)
nothing, a request of SIZE_LIMIT bytes or more was refused. Each is counted.

Invariant  AT <= text position of the first line not yet scanned; bytes past FILLED are never read
"""

from typing import NamedTuple

import numpy as np

from heapwright.compiler import kernel, unsigned
from heapwright.trace.importers.bytes_ import (
    CLOSING,
    LOWER_A,
    LOWER_CASE,
    LOWER_F,
    LOWER_X,
    LOWER_Z,
    MINUS,
    NEWLINE,
    NINE,
    OPENING,
    RETURN,
    SPACE,
    TAB,
    UNDERSCORE,
    ZERO,
)
from heapwright.trace.importers.matching import GUESSED_REALLOC, Records
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, REALLOC, SIZE_LIMIT, THREAD_EXIT

LINE_BYTES = 1 << 16  # the longest line that is taken for text
RECORDS = 1 << 17  # made by one call of a scan kernel
BEYOND = 1 << 61  # what a number too large for any size or address is read as
NO_LINE = -1
ALIGN_LOG2_LIMIT = 48

# Lines.state
(
    AT,  # where the next line begins in `text`
    FILLED,  # bytes of `text` that hold something
    LAST,  # 1 when nothing follows: a line may end without a newline
    ROWS,  # records made in this call
    LINE,  # lines taken so far
    FAULT,  # number of the format's fault that stopped the scan, 0 for none
    THREADS,  # known so far
    RECENT_THREAD,  # the thread number asked for last...
    RECENT_NUMBER,  # ... and what it was
    NULL_FREES,
    REALLOC_NULL,
    REALLOC_ZERO,
    REALLOC_REFUSED,
    HUGE,
    ZERO_SIZES,
    OTHER_LINES,  # not the format's events
    UNENDED,  # 1 when the last line has no newline
    CRLF,  # lines that end as Windows writes them
    STOPPED,  # 1 when the format's own tables want attention before the scan goes on
    OTHER_PROCESS,  # lines of a second process
    UNFINISHED,  # calls whose result the recording does not tell
    ROUNDED_ALIGNS,  # alignments that are no power of two
    NO_THREAD,  # lines that name no thread where the format has room for it
    WITHIN,  # calls made by another call of the family
    ENTERED_BEFORE,  # calls that return and were entered before the recording
    NOT_MOVED,  # reallocs that were announced and whose new place never came
    STATE,
) = range(27)

# Lines.state[FAULT]
(NO_FAULT, LONG_LINE, BAD_LINE, BAD_ADDRESS, MANY_THREADS, BAD_OBJECT) = range(6)


class Threads(NamedTuple):
    """Thread ids of the recording, by open addressing, at most half full."""

    key: np.ndarray  # int64[row], a power of two; id + 1, 0 for an empty row
    number: np.ndarray  # int32[row], in order of first appearance


class Lines(NamedTuple):
    """What a scan kernel works on."""

    text: np.ndarray  # uint8[byte]
    state: np.ndarray  # int64[STATE]
    records: Records  # RECORDS rows
    threads: Threads


@kernel
def _is_full(lines):
    """Whether a line may find no room: it makes two records at most, and names one thread."""
    state = lines.state
    return state[ROWS] + 1 >= len(lines.records.op) or 2 * state[THREADS] > len(lines.threads.key)


@kernel
def next_line(lines):
    """(first byte, past the last byte) of the next line, without its end; (NO_LINE, 0) for none.

    None also when the records are full or the thread table needs to grow.
    """
    state, text = lines.state, lines.text
    start, filled = state[AT], state[FILLED]
    if _is_full(lines):
        return NO_LINE, 0
    end = start
    while end < filled and text[unsigned(end)] != NEWLINE:
        end += 1
    if end == filled:
        if end - start > LINE_BYTES:
            state[FAULT] = LONG_LINE
            return NO_LINE, 0
        if not state[LAST] or end == start:
            return NO_LINE, 0
        state[UNENDED] = 1
        state[AT] = end
    else:
        if end - start > LINE_BYTES:
            state[FAULT] = LONG_LINE
            return NO_LINE, 0
        state[AT] = end + 1
    state[LINE] += 1
    if end > start and text[unsigned(end - 1)] == RETURN:
        end -= 1
        state[CRLF] += 1
    return start, end


@kernel(inline=True)
def byte(text, at, end):
    """The byte at `at`, 0 past the end of the line."""
    return np.int64(text[unsigned(at)]) if at < end else np.int64(0)


@kernel(inline=True)
def is_blank(char):
    """Whether a byte is a space or a tab: what parts the words of a line."""
    return char in (SPACE, TAB)


@kernel
def past_spaces(text, at, end):
    """The first byte from `at` on that is neither space nor tab."""
    while at < end and is_blank(text[unsigned(at)]):
        at += 1
    return at


@kernel
def before_spaces(text, start, end):
    """The end of text[start:end] without the spaces and tabs that it ends in."""
    while end > start and is_blank(text[unsigned(end - 1)]):
        end -= 1
    return end


@kernel
def decimal(text, at, end):
    """(number, byte after it); -1 where no digit stands; BEYOND for a negative or endless one."""
    if at < end and text[unsigned(at)] == MINUS:  # -1 is how some tools print SIZE_MAX
        value, after = decimal_digits(text, at + 1, end)
        return (BEYOND if value > 0 else value), after
    return decimal_digits(text, at, end)


@kernel
def decimal_digits(text, at, end):
    """(number, byte after it) of digits alone."""
    value, first = np.int64(0), at
    while at < end:
        digit = np.int64(text[unsigned(at)]) - ZERO
        if digit < 0 or digit > 9:
            break
        value = value * 10 + digit if value < BEYOND // 10 - 1 else np.int64(BEYOND)
        at += 1
    return (value if at > first else np.int64(-1)), at


@kernel
def hexadecimal(text, at, end):
    """(number, byte after it) of hexadecimal digits, with or without 0x; -1 where none stands."""
    if byte(text, at, end) == ZERO and (byte(text, at + 1, end) | LOWER_CASE) == LOWER_X:
        at += 2
    value, first = np.int64(0), at
    while at < end:
        char = np.int64(text[unsigned(at)])
        if ZERO <= char <= NINE:
            digit = char - ZERO
        elif LOWER_A <= (char | LOWER_CASE) <= LOWER_F:
            digit = (char | LOWER_CASE) - LOWER_A + 10
        else:
            break
        value = value * 16 + digit if value < BEYOND // 16 - 1 else np.int64(BEYOND)
        at += 1
    return (value if at > first else np.int64(-1)), at


@kernel
def pointer(text, at, end):
    """(address, byte after it); (nil), nil, null are 0; -1 where no address stands."""
    if byte(text, at, end) == OPENING:  # (nil), (null)
        while at < end and text[unsigned(at)] != CLOSING:
            at += 1
        return np.int64(0), at + 1
    return hexadecimal(text, at, end)


@kernel
def word(text, at, end):
    """(number of the word as by `number_of`, byte after it): letters, digits, underscores."""
    value = np.int64(0)
    while at < end:
        char = np.int64(text[unsigned(at)])
        letter = LOWER_A <= (char | LOWER_CASE) <= LOWER_Z
        if not (letter or ZERO <= char <= NINE or char == UNDERSCORE):
            break
        value = (value * 31 + char) & 0xFFFFFFFFFF
        at += 1
    return value, at


def number_of(name: str) -> int:
    """What `word` makes of `name`."""
    value = 0
    for char in name.encode():
        value = (value * 31 + char) & 0xFFFFFFFFFF
    return value


@kernel
def product(count, size):
    """count * size, BEYOND when that is more; neither of them is."""
    if size == 0:
        return np.int64(0)
    return count * size if count <= BEYOND // size else np.int64(BEYOND)


@kernel
def _row_of(threads, tid):
    """The row of thread `tid`, or the empty one where it belongs."""
    mask = len(threads.key) - 1
    row = ((tid ^ (tid >> 20) ^ (tid >> 40)) * 0x9E37 >> 3) & mask
    while threads.key[unsigned(row)] != tid + 1 and threads.key[unsigned(row)] != 0:
        row = (row + 1) & mask
    return row


@kernel
def thread_number(lines, tid):
    """The number of thread `tid`, a new one for a thread not yet seen."""
    state, threads = lines.state, lines.threads
    if state[RECENT_THREAD] == tid + 1:
        return state[RECENT_NUMBER]
    row = _row_of(threads, tid)
    if threads.key[unsigned(row)] == 0:
        threads.key[unsigned(row)] = tid + 1
        threads.number[unsigned(row)] = state[THREADS]
        state[THREADS] += 1
    state[RECENT_THREAD], state[RECENT_NUMBER] = tid + 1, threads.number[unsigned(row)]
    return state[RECENT_NUMBER]


@kernel
def log2_of(align):
    """log2 of an alignment in bytes, rounded up as memalign does; ALIGN_LOG2_LIMIT if too large."""
    log2 = 0
    while log2 < ALIGN_LOG2_LIMIT and (np.int64(1) << log2) < align:
        log2 += 1
    return log2


@kernel
def put(lines, op, blocks, size, where):
    """Add a record: blocks = (address, old), size = (bytes, alignment in bytes), where = (thread,
    site). An address of 0 is a refused request. Returns a fault, NO_FAULT mostly."""
    state, records = lines.state, lines.records
    address, old = blocks
    size_bytes, align_log2 = size[0], 0
    if address < 0 or address >= BEYOND or old < 0 or old >= BEYOND:
        return BAD_ADDRESS
    if op == FREE:
        if address == 0:
            state[NULL_FREES] += 1
            return NO_FAULT
        size_bytes = 0
    elif op == THREAD_EXIT:
        address, size_bytes = 0, 0
    else:
        if size_bytes < 0:
            return BAD_LINE
        if op in (REALLOC, GUESSED_REALLOC):
            if old == 0:
                op = MALLOC
                state[REALLOC_NULL] += 1
            elif size_bytes == 0 and address == 0:
                op, address, old = FREE, old, 0
                state[REALLOC_ZERO] += 1
        if op == MEMALIGN:
            if size[1] < 0:
                return BAD_LINE
            if size[1] & (size[1] - 1):
                state[ROUNDED_ALIGNS] += 1
            align_log2 = log2_of(size[1])
            if align_log2 >= ALIGN_LOG2_LIMIT:
                align_log2, address = 0, 0
                state[HUGE] += 1
        if size_bytes >= SIZE_LIMIT:
            size_bytes, address = SIZE_LIMIT - 1, 0
            state[HUGE] += 1
        if op == REALLOC and address == 0:
            state[REALLOC_REFUSED] += 1
        if size_bytes == 0 and op != FREE:
            state[ZERO_SIZES] += 1
    row = unsigned(state[ROWS])
    records.op[row], records.address[row], records.old[row] = op, address, old
    records.size[row], records.align[row] = size_bytes, align_log2
    records.thread[row], records.site[row] = where
    state[ROWS] += 1
    return NO_FAULT


@kernel
def put_free(lines, address, where):
    """Add a record of a free."""
    return put(lines, FREE, (address, 0), (0, 0), where)


@kernel
def reenter(threads, wider):
    """Enter every thread of `threads` in `wider`, which is empty."""
    for old in range(len(threads.key)):
        key = threads.key[unsigned(old)]
        if key:
            row = _row_of(wider, key - 1)
            wider.key[unsigned(row)] = key
            wider.number[unsigned(row)] = threads.number[unsigned(old)]


@kernel
def renumber(events, dense, named):
    """Number threads in order of their first event; one that ended and comes back is a new one."""
    for number in range(len(events.op)):
        i = unsigned(number)
        thread = unsigned(events.thread[i])
        if dense[thread] < 0:
            dense[thread] = named[0]
            named[0] += 1
        events.thread[i] = dense[thread]
        if events.op[i] == THREAD_EXIT:
            dense[thread] = -1


@kernel
def take_rows(lines, rows):
    """Records of `rows` int64[7, row] from state[AT] on, until the records are full."""
    state = lines.state
    while state[AT] < rows.shape[1] and not _is_full(lines):
        i = unsigned(state[AT])
        state[AT] += 1
        state[LINE] += 1
        thread = rows[5, i]
        if thread < 0 or thread >= BEYOND:
            state[FAULT] = BAD_LINE
            break
        where = (thread_number(lines, thread), rows[6, i])
        fault = put(lines, rows[0, i], (rows[1, i], rows[2, i]), (rows[3, i], rows[4, i]), where)
        if fault:
            state[FAULT] = fault
            break
