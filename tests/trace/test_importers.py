"""Importers: formats are known by content, addresses become slots as a dictionary would do it."""

import gzip
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.errors import HeapwrightError
from heapwright.trace.importers import FORMATS, import_file, matching
from heapwright.trace.importers.matching import GUESSED_REALLOC, Matcher, Records
from heapwright.trace.schema import CALLOC, FREE, MALLOC, REALLOC, THREAD_EXIT


class NaiveMatcher:
    """The oracle: dictionaries and lists."""

    def __init__(self):
        self.slot_at, self.size_at = {}, {}
        self.unused, self.slots = [], 0
        self.unmatched = self.missed = 0
        self.events = []  # (op, slot, size, thread)

    def leave(self, address, thread):
        if address not in self.slot_at:
            return False
        slot = self.slot_at.pop(address)
        self.unused.append(slot)
        self.events.append((FREE, slot, 0, thread))
        return True

    def enter(self, op, address, size, thread, slot=None):
        if self.leave(address, thread):
            self.missed += 1
        if slot is None:
            if self.unused:
                slot = self.unused.pop()
            else:
                slot, self.slots = self.slots, self.slots + 1
        self.slot_at[address], self.size_at[address] = slot, size
        self.events.append((op, slot, size, thread))

    def joins(self, old, address, size):
        chunk = [max(32, (bytes_ + 8 + 15) // 16 * 16) for bytes_ in (self.size_at[old], size)]
        return chunk[1] > chunk[0] or (address == old and chunk[1] < chunk[0])

    def record(self, op, address, old, size, thread):
        if op == THREAD_EXIT:
            self.events.append((THREAD_EXIT, -1, 0, thread))
        elif op == FREE:
            self.unmatched += not self.leave(address, thread)
        elif op in (REALLOC, GUESSED_REALLOC):
            if address == 0:
                return
            if old not in self.slot_at:
                self.unmatched += old != 0
                self.enter(MALLOC, address, size, thread)
            elif op == GUESSED_REALLOC and not self.joins(old, address, size):
                self.leave(old, thread)
                self.enter(MALLOC, address, size, thread)
            else:
                self.enter(REALLOC, address, size, thread, self.slot_at.pop(old))
        elif address == 0:
            self.events.append((op, -1, size, thread))
        else:
            self.enter(op, address, size, thread)


# Few addresses, so that they meet; spread so that some share their home row in the table.
ADDRESSES = st.sampled_from(
    [0, *(16 * i for i in range(1, 20)), *((i << 36) + 160 for i in range(1, 9))]
)
RECORD = st.tuples(
    st.sampled_from([FREE, FREE, MALLOC, CALLOC, REALLOC, GUESSED_REALLOC, THREAD_EXIT]),
    ADDRESSES,
    ADDRESSES,
    st.integers(0, 100),
    st.integers(0, 3),
)


def batch_of(rows):
    op, address, old, size, thread = (list(column) for column in zip(*rows, strict=True))
    return Records(
        np.array(op, np.uint8),
        np.array(address, np.int64),
        np.array(old, np.int64),
        np.array(size, np.int64),
        np.zeros(len(op), np.uint8),
        np.array(thread, np.int32),
        np.arange(len(op), dtype=np.int32),
    )


@settings(max_examples=200, deadline=None, derandomize=True)
@given(batches=st.lists(st.lists(RECORD, min_size=1, max_size=60), max_size=4))
def test_slots_are_those_of_a_dictionary(batches):
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(matching, "FEWEST_ROWS", 2)  # so that the table grows
        matcher, naive = Matcher(), NaiveMatcher()
    made = []
    for rows in batches:
        events = matcher.events(batch_of(rows))
        columns = (events.op, events.slot, events.size, events.thread)
        made += list(zip(*(column.tolist() for column in columns), strict=True))
        for row in rows:
            naive.record(*row)
    assert made == naive.events
    assert (matcher.unmatched_frees, matcher.missed_frees) == (naive.unmatched, naive.missed)


def test_the_table_grows_and_empties():
    matcher, rng = Matcher(), np.random.default_rng(5)
    addresses = (rng.permutation(200_000) + 1) * 16
    everything = [(MALLOC, a, 0, 1, 0) for a in addresses.tolist()]
    born = matcher.events(batch_of(everything[:1000])), matcher.events(batch_of(everything[1000:]))
    slots = np.concatenate([b.slot for b in born])
    assert np.array_equal(slots, np.arange(200_000))
    order = rng.permutation(200_000)
    died = matcher.events(batch_of([(FREE, a, 0, 0, 0) for a in addresses[order].tolist()]))
    assert np.array_equal(died.slot, slots[order]) and (died.op == FREE).all()
    again = matcher.events(batch_of(everything[:3]))
    assert again.slot.tolist() == died.slot[::-1][:3].tolist()  # last in, first out


def test_one_record_can_make_three_events():
    rows = [(MALLOC, 16, 0, 5, 0), (MALLOC, 32, 0, 5, 0)]
    matcher = Matcher()
    matcher.events(batch_of(rows))
    events = matcher.events(batch_of([(GUESSED_REALLOC, 32, 16, 5, 0)]))
    assert events.op.tolist() == [FREE, FREE, MALLOC] and events.slot.tolist() == [0, 1, 1]
    assert matcher.missed_frees == 1


@pytest.mark.parametrize(
    ("before", "after", "place", "joined"),
    [
        *((24, 25, 32, True), (24, 25, 16, True), (24, 9, 16, False), (8, 24, 32, False)),
        *((25, 40, 32, False), (25, 41, 32, True), (25, 24, 32, False), (25, 24, 16, True)),
    ],
)
def test_a_guess_is_by_size_class(before, after, place, joined):
    """Of 16 bytes behind a word: up to 24, 40, 56; one that moves must have grown."""
    matcher = Matcher()
    matcher.events(batch_of([(MALLOC, 16, 0, before, 0)]))
    events = matcher.events(batch_of([(GUESSED_REALLOC, place, 16, after, 0)]))
    assert events.op.tolist() == ([REALLOC] if joined else [FREE, MALLOC])
    assert (matcher.joined, matcher.parted) == (joined, not joined)


def test_call_sites_and_alignments_stay_with_their_events():
    records = batch_of([(MALLOC, 16, 0, 5, 0), (FREE, 32, 0, 0, 0), (MALLOC, 16, 0, 6, 0)])
    records = records._replace(align=np.array([0, 0, 7], np.uint8))
    events = Matcher().events(records)
    assert events.op.tolist() == [MALLOC, FREE, MALLOC]  # the unknown free is gone, a missed one in
    assert events.site.tolist() == [0, -1, 2] and events.align.tolist() == [0, 0, 7]


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        (b"", "is empty"),
        (b"hello, world\n", "no format that can be imported; known: captures of memray"),
        (b"PAR1 and so on", "not a parquet file"),
        (b"\x04\x22\x4d\x18 another program's LZ4 file", "no format that can be imported"),
        (b"memray\0" + bytes(10), "cannot be read by memray"),
    ],
)
def test_a_foreign_file_is_a_sentence_and_nothing_is_written(content, sentence, tmp_path):
    pytest.importorskip("memray")
    source = tmp_path / "source"
    source.write_bytes(content)
    with pytest.raises(HeapwrightError, match=sentence) as raised:
        import_file(source, tmp_path / "out.parquet")
    assert not {".;", ".:", ".)"} & set(map("".join, pairwise(str(raised.value))))
    assert list(tmp_path.iterdir()) == [source]


@pytest.mark.parametrize("kept", [10, 14])
def test_a_packed_file_that_is_cut_short_is_not_called_empty(kept, tmp_path):
    path = tmp_path / "a.gz"
    path.write_bytes(gzip.compress(b"malloc 0x10 1\n" * 100)[:kept])
    with pytest.raises(HeapwrightError, match="unpacks to nothing: it is empty or cut short"):
        import_file(path, tmp_path / "out.parquet")
    assert not (tmp_path / "out.parquet").exists()


def test_a_missing_file_is_a_sentence(tmp_path):
    with pytest.raises(HeapwrightError, match=r"cannot open .*nowhere.*No such file"):
        import_file(tmp_path / "nowhere", tmp_path / "out.parquet")


def test_every_format_has_what_the_registry_asks_for():
    from importlib import import_module

    for name in FORMATS:
        module = import_module(f"heapwright.trace.importers.{name}")
        assert module.TITLE and callable(module.import_trace)
        assert module.recognises(b"nothing of the kind", None) is False
