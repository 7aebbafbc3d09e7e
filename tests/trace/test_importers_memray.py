"""memray's captures: a real program is recorded, then each of its requests is looked for."""

import logging
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("memray")

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import import_file
from heapwright.trace.importers import memray as importer
from heapwright.trace.importers.isolation import isolated
from heapwright.trace.importers.memray_domains import MAPPINGS, SHIFT, Domains
from heapwright.trace.schema import CALLOC, FREE, MALLOC, MALLOC_DOMAIN, OBJECT, RAW, REALLOC
from heapwright.trace.schema import events as made_events
from heapwright.trace.store import Trace

PROGRAM = """
import mmap
import threading

def keep(n):
    return [bytearray(100_000 + i) for i in range(n)]

def churn():
    for i in range(50):
        block = bytearray(70_000)
        del block

def grow():
    text = bytearray(30_001)
    for i in range(1, 40):
        text.extend(bytes(1_000))
    return text

kept = keep(20)
churn()
grown = grow()
zeroed = bytes(123_457)
worker = threading.Thread(target=churn)
worker.start()
worker.join()
mapping = mmap.mmap(-1, 1 << 20)
mapping.close()
"""


@pytest.fixture(scope="module")
def record(tmp_path_factory):
    """A function: memray's options -> the capture of PROGRAM."""
    made = {}

    def recorded(*options):
        if options not in made:
            folder = tmp_path_factory.mktemp("memray")
            (folder / "program.py").write_text(PROGRAM)
            command = [sys.executable, "-m", "memray", "run", "-q", *options, "-o", "capture.bin"]
            subprocess.run([*command, "program.py"], cwd=folder, check=True, timeout=120)
            made[options] = folder / "capture.bin"
        return made[options]

    return recorded


def imported(capture, tmp_path):
    """(trace, its events with call sites)"""
    shares = []
    importer.convert(capture, tmp_path / "out.parquet", shares.append)
    assert sum(shares) == pytest.approx(1)
    trace = Trace.open(tmp_path / "out.parquet")
    (events,) = trace.batches(("op", "slot", "size", "align", "thread", "site"))
    return trace, events


def test_requests_frees_and_threads_of_a_real_program(record, tmp_path):
    trace, events = imported(record(), tmp_path)
    assert trace.kind == "imported" and "program.py" in trace.program
    assert trace.threads == 2 and not trace.has_addresses
    for size in range(100_001, 100_021):  # a bytearray takes one byte more
        (row,) = np.flatnonzero((events.op == MALLOC) & (events.size == size))
        assert events.slot[row] not in events.slot[row + 1 :][events.op[row + 1 :] == MALLOC]
    churned = np.flatnonzero(events.size == 70_001)
    assert len(churned) == 100 and set(events.thread[churned].tolist()) == {0, 1}
    for row in churned.tolist():  # each dies before the next is born
        after = np.flatnonzero(events.slot[row + 1 :] == events.slot[row])
        assert events.op[row + 1 + after[0]] == FREE
    assert np.count_nonzero((events.op == CALLOC) & (events.size == 123_457 + 33)) == 1


def test_a_growing_block_is_one_object_that_is_reallocated(record, tmp_path):
    _, events = imported(record(), tmp_path)
    (born,) = np.flatnonzero(events.size == 30_002)
    life = np.flatnonzero(events.slot == events.slot[born])
    life = life[life > born]
    grown = life[: np.count_nonzero(np.cumprod(events.op[life] == REALLOC))]
    assert len(grown) >= 5 and (np.diff(events.size[grown]) > 0).all()
    assert events.size[grown[-1]] > 60_000


def test_reallocs_are_joined_and_counted_or_kept_apart(record, tmp_path):
    joined, _ = imported(record(), tmp_path)
    (note,) = [note for note in joined.notes if "does not name the old block" in note]
    assert f" {joined.reallocations:,} are taken to move" in note and joined.reallocations >= 5
    import_file(record(), tmp_path / "apart.parquet", guess_reallocs=False)
    apart = Trace.open(tmp_path / "apart.parquet")
    assert apart.reallocations == 0
    parted = int(note.partition("before; ")[2].partition(",")[0])
    assert apart.frees == joined.frees + joined.reallocations
    (note,) = [note for note in apart.notes if "stand as a free and an allocation" in note]
    assert f": {joined.reallocations + parted:,} stand" in note


def test_python_stacks_are_kept_whole(record, tmp_path):
    trace, events = imported(record(), tmp_path)
    (row,) = np.flatnonzero((events.op == MALLOC) & (events.size == 100_005))
    stack = trace.stack(events.site[row])
    assert stack[0].startswith("<module> (program.py:") and "keep (program.py:6)" in stack
    assert trace.sites()[events.site[row]] == stack[-1]
    for site in events.site[(events.size == 70_001) & (events.thread == 1)].tolist():
        assert trace.stack(site)[-1] == "churn (program.py:10)"
        assert trace.stack(site)[-2].startswith("run (")
    assert (events.site[events.op == FREE] == -1).all()


def test_native_frames_stand_among_the_python_ones(record, tmp_path):
    trace, events = imported(record("--native"), tmp_path)
    (row,) = np.flatnonzero((events.op == MALLOC) & (events.size == 100_005))
    stack = trace.stack(events.site[row])
    assert "keep (program.py:6)" in stack[:-1] and ".py" not in stack[-1]
    assert any("native and Python stacks" in note for note in trace.notes)


def test_mappings_are_left_out_and_counted(record, tmp_path):
    trace, events = imported(record(), tmp_path)
    assert not (events.size == 1 << 20).any()
    (note,) = [note for note in trace.notes if " mappings of " in note]
    assert int(note.split()[0]) >= 1 and "were left out" in note
    (note,) = [note for note in trace.notes if "unmappings" in note]
    assert int(note.split()[0]) >= 1


def test_requests_to_pythons_own_allocators_are_told_by_domain(record, tmp_path):
    plain, _ = imported(record(), tmp_path)
    traced, _ = imported(record("--trace-python-allocators"), tmp_path)
    assert traced.allocations > 3 * plain.allocations
    assert traced.by_domain and not plain.by_domain and traced.python == "unknown"
    (made,) = traced.batches(("op", "slot", "domain"))
    of_slot: dict[int, int] = {}
    for op, slot, domain in zip(
        *(column.tolist() for column in made[:2]), made.domain.tolist(), strict=True
    ):
        assert domain == (of_slot.pop(slot) if op == FREE else of_slot.setdefault(slot, domain))
    assert any("nor the domain of a request" in note for note in traced.notes)


def test_which_domain_a_request_asked():
    """The edges: of small requests, of the heap below mappings, of Python's allocators."""
    rows = [
        (512, MAPPINGS - 1, 4, RAW),
        (513, MAPPINGS - 1, 4, OBJECT),
        (512, MAPPINGS, 4, OBJECT),
        (512, MAPPINGS - 1, 5, MALLOC_DOMAIN),
        (0, 64, 1, OBJECT),
        (1, 64, 1, RAW),
    ]
    size, address, allocator, domain = np.array(rows, np.int64).T
    thread = np.arange(len(rows), dtype=np.int32)
    batch = {"size": size, "address": address, "allocator": allocator, "thread": thread}
    assert Domains(known=False).enter(batch) is batch
    entered = Domains(known=True).enter(batch)["thread"]
    assert (entered >> SHIFT).tolist() == domain.tolist()
    assert (entered & (1 << SHIFT) - 1).tolist() == thread.tolist()


def test_events_have_domains_where_any_is_known():
    whole = made_events(op=[MALLOC, FREE], slot=[0, 0], thread=[2 | OBJECT << SHIFT, 5])
    assert Domains(known=False).leave(whole) is whole
    known = Domains(known=True)
    nothing = made_events(op=[], slot=[])
    assert known.leave(nothing) is nothing
    left = known.leave(whole)
    assert (left.thread.tolist(), left.domain.tolist()) == ([2, 5], [OBJECT, OBJECT])
    far = 1 << 12  # just beyond the table that there is at first
    late = made_events(op=[MALLOC, FREE], slot=[far, far], thread=[RAW << SHIFT, 5])
    assert known.leave(late).domain.tolist() == [RAW, RAW]


def test_an_aggregated_capture_is_a_sentence(record, tmp_path):
    with pytest.raises(HeapwrightError, match="--aggregate, which keeps sums"):
        imported(record("--aggregate"), tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("share", [0.02, 0.5, 0.999])
def test_a_truncated_capture_is_a_sentence(record, share, tmp_path, capfd):
    whole = record("--trace-python-allocators").read_bytes()
    cut = tmp_path / "cut.bin"
    cut.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(HeapwrightError, match=r"truncated or damaged|cannot be read by memray"):
        import_file(cut, tmp_path / "out.parquet")
    assert list(tmp_path.iterdir()) == [cut]
    assert "Memray" not in capfd.readouterr().err


def test_a_damaged_capture_is_a_sentence_or_a_sound_trace(record, tmp_path):
    whole = record("--trace-python-allocators").read_bytes()
    source, output = tmp_path / "damaged.bin", tmp_path / "out.parquet"
    random = np.random.default_rng(11)
    refused = 0
    for _ in range(4):
        damaged = bytearray(whole)
        for place in random.integers(100, len(whole), 3):
            damaged[place] ^= int(random.integers(1, 256))
        source.write_bytes(damaged)
        try:
            import_file(source, output)
        except HeapwrightError:
            refused += 1
            assert list(tmp_path.iterdir()) == [source]
        else:
            assert sum(len(b.op) for b in Trace.open(output).batches()) > 0
            output.unlink()
    assert refused > 0


CRASHING = """
import os, signal
from heapwright.trace.store import TraceWriter

def convert(path, output, advance):
    with TraceWriter(output, program="crash") as writer:
        advance(0.5)
        os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_reader_that_crashes_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "crashing.py").write_text(CRASHING)
    monkeypatch.syspath_prepend(tmp_path)
    shares = []
    (tmp_path / "out").mkdir()
    with pytest.raises(HeapwrightError, match="crashing's own reader crashed on it"):
        isolated("crashing", tmp_path / "in.bin", tmp_path / "out" / "t.parquet", shares.append)
    assert shares == [0.5] and not list((tmp_path / "out").iterdir())


SLOW = """
import time
from heapwright.trace.store import TraceWriter

def convert(path, output, advance):
    with TraceWriter(output, program="slow"):
        advance(0.5)
        time.sleep(600)
"""


def test_ctrl_c_ends_the_import_and_leaves_nothing(tmp_path, monkeypatch):
    (tmp_path / "slow.py").write_text(SLOW)
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "out").mkdir()
    seen = []

    def pressed(share):
        seen.extend((tmp_path / "out").iterdir())
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        isolated("slow", tmp_path / "in.bin", tmp_path / "out" / "t.parquet", pressed)
    assert len(seen) == 1 and not list((tmp_path / "out").iterdir())


def test_a_killed_program_leaves_a_usable_capture(tmp_path):
    (tmp_path / "killed.py").write_text(
        "import os, signal\nkept = [bytearray(2_000 + i) for i in range(2_000)]\n"
        "os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    command = [sys.executable, "-m", "memray", "run", "-q", "-o", "killed.bin", "killed.py"]
    killed = subprocess.run(command, cwd=tmp_path, check=False, timeout=120)
    assert killed.returncode == -9
    trace, events = imported(tmp_path / "killed.bin", tmp_path)
    assert np.count_nonzero(events.size >= 2_001) > 500
    assert "the program did not finish: the capture has no end" in trace.notes


def test_a_realloc_that_shrinks_and_moves_was_a_free_and_a_malloc():
    def batch(*rows):
        columns = zip(*rows, strict=True)
        names = ("allocator", "address", "size", "thread")
        made = {n: np.array(c, np.int64) for n, c in zip(names, columns, strict=True)}
        return made | {"site": np.arange(len(rows), dtype=np.int32)}

    skipped = np.zeros(importer.SKIPPED, np.int64)
    free, realloc, malloc, mmap = (
        importer.F_FREE,
        importer.F_REALLOC,
        importer.F_MALLOC,
        importer.MMAP,
    )
    records = importer._paired(
        batch(
            (malloc, 0x10, 50, 0),
            (free, 0x10, 0, 0),  # thread 0 moves 0x10 to 0x90 ...
            (malloc, 0x10, 20, 1),  # ... while thread 1 is given the old place
            (mmap, 0x1000, 4096, 0),
            (realloc, 0x90, 60, 0),
            (free, 0x90, 0, 0),
            (free, 0x10, 0, 1),
            (realloc, 0xF0, 5, 1),
        ),
        skipped,
    )
    assert skipped.tolist() == [1, 4096, 0, 0, 0, 0]
    assert records.op.tolist() == [
        MALLOC,
        importer.GUESSED_REALLOC,
        MALLOC,
        FREE,
        importer.GUESSED_REALLOC,
    ]
    assert records.old.tolist() == [0, 0x10, 0, 0, 0x10]
    events = importer.Matcher().events(records)
    assert events.op.tolist() == [MALLOC, REALLOC, MALLOC, FREE, FREE, MALLOC]
    assert events.slot.tolist() == [0, 0, 1, 0, 1, 1]


def test_an_alignment_is_read_off_the_address():
    kinds = np.array([importer.F_MEMALIGN] * 3 + [importer.VALLOC, importer.F_MALLOC])
    addresses = np.array([0x7000_0000_1010, 0x7000_0000_1040, 0x7000_0000_2000, 0x5000, 0x5000])
    assert importer._alignments(kinds, addresses).tolist() == [4, 6, 6, 12, 0]


def test_without_memray_a_sentence_names_the_package(record, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "memray", None)
    with pytest.raises(HeapwrightError, match=r"pip install 'heapwright\[memray\]'"):
        import_file(record(), tmp_path / "out.parquet")


def test_memray_itself_writes_nothing_to_stderr(tmp_path, monkeypatch):
    """What it would log there is told as a sentence."""
    _memray = pytest.importorskip("memray._memray")
    levels = []
    monkeypatch.setattr(_memray, "set_log_level", levels.append)
    importer._library(tmp_path / "capture.bin")
    assert levels and min(levels) > logging.CRITICAL
