"""Scanners of text: each stops where its word or its line ends, whatever stands behind it."""

import numpy as np
import pytest

from heapwright.compiler import INTERPRETED
from heapwright.trace.importers import calls, lines, ltrace, mtrace
from heapwright.trace.importers.lines import (
    ALIGN_LOG2_LIMIT,
    BAD_ADDRESS,
    BAD_LINE,
    BEYOND,
    NO_FAULT,
    STATE,
    Lines,
    Threads,
    number_of,
)
from heapwright.trace.importers.matching import Records
from heapwright.trace.schema import FREE, MALLOC, MEMALIGN, REALLOC, SIZE_LIMIT, THREAD_EXIT

pytestmark = pytest.mark.skipif(not INTERPRETED, reason="each would be compiled for itself")
A, S = b"as"
MOST_10, MOST_16 = BEYOND // 10 - 1, BEYOND // 16 - 1  # from here on one more digit is too many
NUMBERS = [  # scanner, the line, what stands behind its end, (number, byte after it)
    (lines.decimal, "123", "4", (123, 3)),
    (lines.decimal, "120x", "", (120, 3)),
    (lines.decimal, "/", "", (-1, 0)),
    (lines.decimal, "9:", "", (9, 1)),
    (lines.decimal, "", "5", (-1, 0)),
    (lines.decimal, "-", "5", (-1, 1)),
    (lines.decimal, "-0", "5", (0, 2)),
    (lines.decimal, "-1", "5", (BEYOND, 2)),
    (lines.decimal, f"{MOST_10 - 1}9", "", (10 * MOST_10 - 1, 19)),
    (lines.decimal, f"{MOST_10}0", "", (BEYOND, 19)),
    (lines.decimal, "9" * 30, "", (BEYOND, 30)),
    (lines.hexadecimal, "0x1f", "0", (31, 4)),
    (lines.hexadecimal, "0X1F", "0", (31, 4)),
    (lines.hexadecimal, "90afAF", "a", (0x90AFAF, 6)),
    (lines.hexadecimal, "x1", "", (-1, 0)),
    (lines.hexadecimal, "1x1", "", (1, 1)),
    (lines.hexadecimal, "0", "x1", (0, 1)),
    (lines.hexadecimal, "0x", "1", (-1, 2)),
    *((lines.hexadecimal, "7" + other, "", (7, 1)) for other in "/:@G`g"),
    (lines.hexadecimal, f"{MOST_16 - 1:x}f", "", (16 * MOST_16 - 1, 16)),
    (lines.hexadecimal, f"{MOST_16:x}0", "", (BEYOND, 16)),
    (lines.hexadecimal, "f" * 30, "", (BEYOND, 30)),
    (lines.pointer, "(nil)5", "", (0, 5)),
    (lines.pointer, "(nil", "5)", (0, 5)),
    (lines.pointer, "0x10", "5", (16, 4)),
    *((lines.word, name, "b", (number_of(name), len(name))) for name in ("azAZ_09", "a" * 20)),
    *((lines.word, "a" + other, "", (number_of("a"), 1)) for other in "/:@[`{"),
    (lines.past_spaces, " \tx", "", 2),
    (lines.past_spaces, " \t", " ", 2),
    (calls.value, "#3", "4", (48, 2)),
    (calls.value, "#0", "4", (0, 2)),
    (calls.value, "#", "4", (-1, 1)),
    (calls.value, f"#{(BEYOND >> 5) - 1}", "", ((BEYOND >> 1) - 16, 18)),
    (calls.value, f"#{BEYOND >> 5}", "", (-1, 18)),
    (calls.value, "(nil)", "", (0, 5)),
    (calls.value, "0x1f", "", (31, 4)),
    (calls.value, "0X1f", "", (31, 4)),
    (calls.value, "0", "x1", (0, 1)),
    (calls.value, "17x", "", (17, 2)),
    (calls.value, "fx1", "", (-1, 0)),
    (calls.name_of, "_Znwm(", "", (calls.NEW, 5)),
    (calls.name_of, "_ZdlPv(", "", (calls.DELETE, 6)),
    *((calls.name_of, s, "n", (number_of(s), len(s))) for s in ("_Z", "_Zx", "_zn", "aZn", "__n")),
    (calls.name_of, "malloc(", "", (number_of("malloc"), 6)),
    (calls.arguments, "1,2,3,4)", "", ((1, 2, 3, 0), 6)),
    (calls.arguments, "0 , 0,\t0)", "", ((0, 0, 0, 0), 8)),
    (calls.arguments, "7)", ",8", ((7, -1, -1, 0), 1)),
    (calls.arguments, "7", ",8", ((7, -1, -1, 0), 1)),
    (calls.arguments, "x,8)", "", ((-1, -1, -1, ord("x")), 1)),
    (calls.arguments, "al 64, size 100)", "", ((64, 100, -1, A), 15)),
    (calls.arguments, "size 40, al 64)", "", ((40, 64, -1, S), 14)),
    (calls.arguments, "40, al 64)", "", ((40, 64, -1, 0), 9)),
    (calls.arguments, "z 1)", "", ((1, -1, -1, ord("z")), 3)),
    (calls.result, "f) = 0x10", "0", 16),
    (calls.result, "=5", "", 5),
    (calls.result, "f)", "=5", -1),
    (calls.result, "=", "5", -1),
    (ltrace._past_library, "lua5.4->malloc(", "", 8),
    (ltrace._past_library, "->", "", 2),
    (ltrace._past_library, "malloc(a->b)", "", 0),
    (ltrace._past_library, "a-", ">", 0),
    (ltrace._past_library, "a-b>c", "", 0),
    (ltrace._breaks_off, "5 <unfinished ...>", "", 1),
    (ltrace._breaks_off, "55 <unfinished ...>", "", 1),
    (ltrace._breaks_off, "<no return ...>", "", 2),
    (ltrace._breaks_off, "<unfinished ...", ">", 0),
    (ltrace._breaks_off, "<unfinished ...>.", "", 0),
    (ltrace._breaks_off, "<unfinished ..>>", "", 0),
    (ltrace._breaks_off, "<unfinis ...>", "", 0),
    (ltrace._thread_and_time, "12 malloc", "", (12, 3)),
    (ltrace._thread_and_time, "0 malloc", "", (0, 2)),
    (ltrace._thread_and_time, "[pid 12] malloc", "", (12, 9)),
    (ltrace._thread_and_time, "[pid 12]", " 5 ", (12, 8)),
    (ltrace._thread_and_time, "12:30:01.5 malloc", "", (-1, 11)),
    (ltrace._thread_and_time, "12 12:30:01  malloc", "", (12, 13)),
    (ltrace._thread_and_time, "12malloc", "", (-1, 0)),
    (ltrace._thread_and_time, "12", " 5 ", (-1, 0)),
    (ltrace._thread_and_time, "12 .5", "9 7", (12, 3)),
    (ltrace._thread_and_time, "malloc", "", (-1, 0)),
    (ltrace._thread_and_time, "-malloc", "", (-1, 0)),
    *((mtrace._ends_caller, f" {sign} 0x5", "", True) for sign in "+-<>!"),
    (mtrace._ends_caller, "\t+\t (nil)", "", True),
    (mtrace._ends_caller, " + a", "0", False),
    (mtrace._ends_caller, " +", " 0", False),
    (mtrace._ends_caller, " + ", "0", False),
    (mtrace._ends_caller, " +0 0", "", False),
    (mtrace._ends_caller, " = 0", "", False),
    (mtrace._ends_caller, "a+ 0", "", False),
]


def of_text(text):
    """The bytes of a text as kernels see them."""
    return np.frombuffer(text.encode(), np.uint8)


@pytest.mark.parametrize(("scanner", "line", "behind", "expected"), NUMBERS)
def test_what_a_scanner_takes(scanner, line, behind, expected):
    assert scanner(of_text(line + behind), 0, len(line)) == expected


def test_blanks_at_a_lines_end():
    for line, start, expected in (("a \t", 0, 1), ("a", 0, 1), ("  x", 1, 1), ("", 0, 0)):
        end = 2 if start else len(line)
        assert lines.before_spaces(of_text(line + "  "), start, end) == expected
    assert [lines.byte(of_text("ab"), at, 1) for at in (0, 1)] == [ord("a"), 0]


def test_products_and_logarithms():
    third = BEYOND // 3
    for count, size, expected in (
        *((0, BEYOND, 0), (BEYOND, 0, 0), (1, 5, 5), (5, 1, 5), (3, 7, 21)),
        *((1, BEYOND - 1, BEYOND - 1), (BEYOND - 1, 1, BEYOND - 1), (3, third, 3 * third)),
        *((3, third + 1, BEYOND), (1, BEYOND, BEYOND), (BEYOND, 1, BEYOND), (1 << 60, 4, BEYOND)),
        (BEYOND, BEYOND, BEYOND),
    ):
        assert lines.product(count, size) == expected, (count, size)
    aligns = (0, 1, 2, 3, 4, 5, 1 << 47, (1 << 47) + 1, 1 << 48, 1 << 60)
    assert [lines.log2_of(align) for align in aligns] == [0, 0, 1, 2, 2, 3, 47, 48, 48, 48]


def put(op, blocks, size, where=(3, 4)):
    """(fault, the record if any, what was counted) of one call of `lines.put`."""
    kinds = (np.uint8, np.int64, np.int64, np.int64, np.uint8, np.int32, np.int32)
    records = Records(*(np.zeros(2, kind) for kind in kinds))
    threads = Threads(np.zeros(4, np.int64), np.zeros(4, np.int32))
    state = np.zeros(STATE, np.int64)
    fault = lines.put(Lines(of_text(""), state, records, threads), op, blocks, size, where)
    made = tuple(int(column[0]) for column in records) if state[lines.ROWS] else None
    counted = {row: n for row, n in enumerate(state.tolist()) if n and row != lines.ROWS}
    return fault, made, counted


MOST = SIZE_LIMIT - 1


@pytest.mark.parametrize(
    ("op", "blocks", "size", "made", "counted"),
    [
        (MALLOC, (BEYOND - 1, 0), (1, 9), (MALLOC, BEYOND - 1, 0, 1, 0), {}),
        (MALLOC, (16, 0), (0, 0), (MALLOC, 16, 0, 0, 0), {lines.ZERO_SIZES: 1}),
        (MALLOC, (16, 0), (MOST, 0), (MALLOC, 16, 0, MOST, 0), {}),
        (MALLOC, (16, 0), (MOST + 1, 0), (MALLOC, 0, 0, MOST, 0), {lines.HUGE: 1}),
        (REALLOC, (0, BEYOND - 1), (5, 0), (REALLOC, 0, BEYOND - 1, 5, 0), "refused"),
        (REALLOC, (1, 1), (1, 0), (REALLOC, 1, 1, 1, 0), {}),
        (REALLOC, (0, 16), (1, 0), (REALLOC, 0, 16, 1, 0), "refused"),
        (REALLOC, (32, 16), (0, 0), (REALLOC, 32, 16, 0, 0), {lines.ZERO_SIZES: 1}),
        (REALLOC, (0, 16), (0, 0), (FREE, 16, 0, 0, 0), {lines.REALLOC_ZERO: 1}),
        (REALLOC, (32, 0), (5, 0), (MALLOC, 32, 0, 5, 0), {lines.REALLOC_NULL: 1}),
        (MEMALIGN, (16, 0), (5, 1 << 47), (MEMALIGN, 16, 0, 5, 47), {}),
        (MEMALIGN, (16, 0), (5, 0), (MEMALIGN, 16, 0, 5, 0), {}),
        (MEMALIGN, (16, 0), (5, 1 << 48), (MEMALIGN, 0, 0, 5, 0), {lines.HUGE: 1}),
        (MEMALIGN, (16, 0), (5, 3), (MEMALIGN, 16, 0, 5, 2), {lines.ROUNDED_ALIGNS: 1}),
        (FREE, (1, 0), (7, 0), (FREE, 1, 0, 0, 0), {}),
        (FREE, (0, 0), (0, 0), None, {lines.NULL_FREES: 1}),
        (THREAD_EXIT, (16, 0), (7, 0), (THREAD_EXIT, 0, 0, 0, 0), {}),
    ],
)
def test_what_a_record_becomes(op, blocks, size, made, counted):
    counted = {lines.REALLOC_REFUSED: 1} if counted == "refused" else counted
    assert put(op, blocks, size) == (NO_FAULT, (*made, 3, 4) if made else None, counted)


def test_what_no_record_has():
    for place in (-1, BEYOND, BEYOND + 1):
        assert put(FREE, (place, 0), (0, 0)) == (BAD_ADDRESS, None, {})
        assert put(REALLOC, (16, place), (1, 0)) == (BAD_ADDRESS, None, {})
    assert put(MALLOC, (16, 0), (-1, 0)) == (BAD_LINE, None, {})
    assert put(MEMALIGN, (16, 0), (5, -1)) == (BAD_LINE, None, {})
    assert (BEYOND, SIZE_LIMIT, ALIGN_LOG2_LIMIT) == (1 << 61, 1 << 48, 48)


def test_a_thread_keeps_its_number_wherever_its_row_lies():
    """Half as many threads as rows, so that some meet; then in a wider table."""
    threads = Threads(np.zeros(16, np.int64), np.zeros(16, np.int32))
    state = np.zeros(STATE, np.int64)
    taken = Lines(of_text(""), state, Records(*[np.zeros(1)] * 7), threads)
    tids = [0, 7, 16, 1 << 20, 1 << 40, 32, 64, 1]
    for _ in range(2):
        assert [lines.thread_number(taken, tid) for tid in tids] == list(range(8))
    assert sorted(threads.key.tolist())[8:] == sorted(tid + 1 for tid in tids)
    wider = Threads(np.zeros(32, np.int64), np.zeros(32, np.int32))
    lines.reenter(threads, wider)
    state[lines.RECENT_THREAD] = 0
    wide = taken._replace(threads=wider)
    assert [lines.thread_number(wide, tid) for tid in tids] == list(range(8))
    assert state[lines.THREADS] == 8
