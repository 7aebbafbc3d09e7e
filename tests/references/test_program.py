"""A program looked at from outside: its peak, what stays, its exit; beside what it says itself."""

import os
import shutil
import struct
import sys
from dataclasses import replace

import numpy as np
import pytest

from heapwright.errors import HeapwrightError
from heapwright.references.program import (
    Held,
    Moments,
    Run,
    heap_bytes,
    held,
    image_bytes,
    image_in,
    image_span,
    run,
    trimming,
)

MIB = 1 << 20

LOAD = """
import ctypes, sys, time
libc = ctypes.CDLL(None)
libc.mmap.restype = libc.memset.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t] + [ctypes.c_int] * 3 + [ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
def taken(mib):
    at = libc.mmap(None, mib << 20, 3, 0x22, -1, 0)
    ctypes.memset(at, 1, mib << 20)
    return at
kept = taken(10)
load = taken(50)
time.sleep(0.15)
libc.munmap(load, 50 << 20)
time.sleep(0.3)
"""


def test_a_load_that_is_given_back_is_the_peak_and_does_not_stay():
    one = run([sys.executable, "-c", LOAD], dict(os.environ))
    assert one.status == 0 and len(one.clock_ns) > 20
    assert 60 * MIB <= int(one.anonymous.max()) < 80 * MIB
    base = int(one.anonymous[-1]) - 10 * MIB  # the interpreter's own
    flat = Moments(1.0, np.array([0.0, 1.0]), np.array([base, base]), base)
    figures = held(one, flat)
    assert figures.end_resident_bytes == pytest.approx(10 * MIB, abs=MIB)
    assert figures.peak_resident_bytes == pytest.approx(60 * MIB, abs=2 * MIB)
    assert 10 * MIB < figures.mean_resident_bytes < 60 * MIB
    assert figures.seconds == pytest.approx(one.seconds)


def made(anonymous, *, high=0, status=0, stopped=False):
    """Looks a second apart at so many MiB."""
    looks = len(anonymous)
    return Run(
        status,
        float(looks),
        np.arange(looks, dtype=np.int64) * 10**9,
        np.array(anonymous, np.int64) * MIB,
        np.full(looks, 2 * MIB, np.int64),
        high * MIB,
        stopped=stopped,
    )


def test_what_is_outside_of_the_heap_is_taken_off_as_it_was_recorded():
    moments = Moments(at=np.array([0.0, 1.0]), outside=np.array([0, 10]) * MIB)
    heap = heap_bytes(made([20] * 10), moments) / MIB
    assert heap.tolist() == pytest.approx([20 - n for n in range(10)], abs=0.01)


def test_without_a_recorded_look_the_first_one_is_the_baseline():
    assert (heap_bytes(made([5, 30, 7, 1]), Moments()) / MIB).tolist() == [0, 25, 2, 0]


def test_a_peak_between_two_looks_is_seen_by_the_high_water_mark():
    assert held(made([5, 30, 7], high=32 + 8), Moments()).peak_resident_bytes == 33 * MIB
    assert held(made([5, 30, 7], high=20), Moments()).peak_resident_bytes == 25 * MIB


def test_the_end_is_the_quietest_look_shortly_before_its_moment():
    looks = [0] + [50] * 46 + [40] + [50] * 42 + [1] * 10
    assert held(made(looks), Moments(end=0.5)).end_resident_bytes == 40 * MIB
    assert held(made(looks), Moments(end=0.9)).end_resident_bytes == 50 * MIB
    assert held(made(looks), Moments(end=1.0)).end_resident_bytes == 1 * MIB


def working(anonymous, worked_seconds):
    """Looks with the processor time until each."""
    one = made(anonymous)
    return replace(one, worked_ns=np.array([int(1e9 * each) for each in worked_seconds], np.int64))


def test_who_rests_is_judged_there_whatever_the_share_of_its_time():
    looks = working([10, 80, 40, 40, 40, 30], [0, 1, 2, 2, 2, 3])
    assert looks.rest() == (2, 4)
    beside = Moments(0.9, np.array([0.0, 0.8, 1.0]), np.array([0, 5, 5]) * MIB, 0, rested=True)
    assert held(looks, beside).end_resident_bytes == 35 * MIB
    busy = working([10, 80, 40, 40, 40, 30], [0, 1, 2, 3, 4, 5])
    assert busy.rest() == (-1, -1)
    gone_on = working([10, 40, 40, 80, 80, 80], [0, 1, 1, 2, 3, 4])
    assert gone_on.rest() == (-1, -1)  # more comes behind it
    assert made([1, 2]).rest() == (-1, -1)  # nobody asked


FORKS = """
import os, time
if not os.fork():
    kept = bytearray(20 << 20)
    time.sleep(0.2)
    os._exit(0)
os.wait()
"""


def test_what_a_program_forks_is_looked_at_too():
    one = run([sys.executable, "-S", "-c", FORKS], {}, children=True)
    (child,) = one.children
    grown = int(child.anonymous.max()) - int(one.anonymous.max())
    assert 19 * MIB < grown < 24 * MIB
    assert child.worked_ns is not None and 0.1 < child.seconds <= one.seconds
    assert run([sys.executable, "-S", "-c", "import time; time.sleep(0.05)"], {}).children == ()


def test_the_mean_is_over_time():
    one = made([0, 10, 40])
    assert held(one, Moments()) == Held(40 * MIB, round(50 * MIB / 3), 40 * MIB, 3.0, 0)


def test_what_failed_says_why_and_what_was_ended_did_not_fail():
    failing = "import sys, time; time.sleep(.05); sys.exit('no room for it')"
    one = run([sys.executable, "-c", failing], dict(os.environ))
    assert (one.status, one.said) == (1, "no room for it")
    endless = run([sys.executable, "-c", "import time; time.sleep(60)"], {}, seconds=0.3)
    assert endless.stopped and endless.seconds < 30
    assert held(endless, Moments()).status == 0


def test_of_several_programs_the_last_that_was_executed_counts():
    shell = f"exec {sys.executable} -S -c 'import time; time.sleep(.1)'"
    one = run(["/bin/sh", "-c", f"sleep .1; {shell}"], {})
    assert one.clock_ns[0] > 90_000_000


def test_what_cannot_be_run_is_a_sentence():
    with pytest.raises(HeapwrightError, match="cannot run"):
        run(["./not-there"], {})


@pytest.mark.skipif(
    not (shutil.which("cc") and shutil.which("sleep")), reason="needs a library and a program"
)
def test_what_a_preloaded_librarys_data_takes_is_known_and_taken_off():
    plain = {k: v for k, v in os.environ.items() if k != "LD_PRELOAD"}
    assert image_bytes(plain) == 0
    taken = image_bytes({**plain, **trimming(60)})
    assert 0 < taken <= 1 << 17 and taken % 4096 == 0
    one = made([1, 5, 5, 5])
    whole, less = held(one, Moments()), held(one, Moments(), MIB)
    assert whole.peak_resident_bytes - less.peak_resident_bytes == MIB
    assert whole.end_resident_bytes - less.end_resident_bytes == MIB


def test_an_arena_right_behind_a_library_is_none_of_its_data(tmp_path):
    """A library of 3 pages in its file and 2 of data without values, then an arena, merged."""
    library = tmp_path / "extension.so"
    head = b"\x7fELF\x02\x01".ljust(32, b"\0") + struct.pack("<Q", 64)
    head = head.ljust(54, b"\0") + struct.pack("<HH", 56, 2).ljust(10, b"\0")
    rows = [struct.pack("<IIQQQQQQ", 1, 5, 0, 0, 0, 0x1800, 0x1800, 4096)]
    rows.append(struct.pack("<IIQQQQQQ", 1, 6, 0x1800, 0x2800, 0, 0x700, 0x2100, 4096))
    library.write_bytes(head + b"".join(rows))
    assert image_span(str(library)) == 0x5000
    assert image_span(__file__) == image_span(str(tmp_path / "none.so")) == 0
    smaps = f"""10000-13000 rw-p 00000000 fe:00 77    {library}
Anonymous:             4 kB
13000-115000 rw-p 00000000 00:00 0
Anonymous:          1024 kB
115000-116000 r--p 00000000 fe:00 78    {__file__}
Anonymous:             0 kB
116000-216000 rw-p 00000000 00:00 0
Anonymous:          1024 kB
"""
    assert image_in(smaps) == (4 + 8) << 10
