"""Go's size classes against the published table; its page heap against first fit on a list."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.compiler import INTERPRETED
from heapwright.machine import machine
from heapwright.managers.runtime.go import pages as page_bits
from heapwright.managers.runtime.go.heap_bitmap import note_references, references
from heapwright.managers.runtime.go.layout import go_heap
from heapwright.managers.runtime.go.size_classes import (
    PAGE_BYTES,
    SPAN_CLASSES,
    published_rule,
    size_classes,
)

# Go 1.27, internal/runtime/gc/sizeclasses.go
SIZES = (
    *(8, 16, 24, 32, 48, 64, 80, 96, 112, 128, 144, 160, 176, 192, 208, 224, 240, 256, 288, 320),
    *(352, 384, 416, 448, 480, 512, 576, 640, 704, 768, 896, 1024, 1152, 1280, 1408, 1536, 1792),
    *(2048, 2304, 2688, 3072, 3200, 3456, 4096, 4864, 5376, 6144, 6528, 6784, 6912, 8192, 9472),
    *(9728, 10240, 10880, 12288, 13568, 14336, 16384, 18432, 19072, 20480, 21760, 24576, 27264),
    *(28672, 32768),
)
PAGES = (
    *(1,) * 34,
    *(2, 1, 2, 1, 2, 1, 3, 2, 3, 1, 3, 2, 3, 4, 5, 6, 1, 7, 6, 5, 4, 3, 5, 7, 2, 9, 7, 5, 8, 3, 10),
    *(7, 4),
)
SPACE_PAGES = 1 << 23
BASE = 5 * page_bits.CHUNK_PAGES  # of the pages that a test gives to the heap
COUNT = 4 * page_bits.CHUNK_PAGES


def test_the_rule_gives_the_published_table():
    assert published_rule() == list(zip(SIZES, PAGES, strict=True))


def test_a_size_has_the_smallest_class_that_holds_it():
    classes = size_classes()
    for size in range(1, 32769, 1 if not INTERPRETED else 61):
        wanted = 1 + next(i for i, largest in enumerate(SIZES) if largest >= size)
        assert classes.class_of[(size + 7) >> 3] == wanted


def test_a_multiplication_divides_every_offset():
    classes = size_classes()
    for span_class in range(2, SPAN_CLASSES):
        offsets = np.arange(classes.pages_of[span_class] * PAGE_BYTES)
        numbers = offsets * classes.magic_of[span_class] >> 32
        assert (numbers == offsets // classes.bytes_of[span_class]).all()


@pytest.mark.parametrize(
    ("size", "noscan", "objects"),
    [
        (8, True, 1024),
        (8, False, 1008),  # 128 bytes of heap bitmap
        (16, True, 504),  # 128 bytes of mark bits
        (16, False, 496),  # both
        (24, True, 336),
        (512, True, 15),
        (512, False, 15),
        (576, False, 14),  # a header in each object, nothing beside them
        (32768, True, 1),
    ],
)
def test_bits_at_the_end_of_a_span_cost_objects(size, noscan, objects):
    span_class = 2 * (1 + SIZES.index(size)) + noscan
    assert size_classes().objects_of[span_class] == objects


def first_fit(free, count):
    """First of the lowest `count` true entries in a row, -1 if there are none."""
    run = 0
    for i, is_free in enumerate(free):
        run = run + 1 if is_free else 0
        if run == count:
            return i - count + 1
    return -1


LENGTHS = st.one_of(
    st.integers(1, 8), st.integers(1, 70), st.sampled_from([63, 64, 65, 511, 512, 513, 900])
)


@settings(max_examples=20 if INTERPRETED else 60, deadline=None)
@given(
    st.lists(
        st.tuples(st.booleans(), LENGTHS, st.integers(0, 1 << 16)),
        max_size=25 if INTERPRETED else 150,
    )
)
def test_pages_are_found_first_fit(steps):
    pages = page_bits.pages(SPACE_PAGES)
    page_bits.give(pages, BASE, COUNT, -1)
    free, fresh = np.ones(COUNT, bool), np.ones(COUNT, bool)
    held = []
    for returns, count, pick in steps:
        if returns and held:
            page, length = held.pop(pick % len(held))
            page_bits.give(pages, BASE + page, length, 0)
            free[page : page + length] = True
            continue
        wanted = first_fit(free, count)
        found = page_bits.find(pages, count)
        assert found == (BASE + wanted if wanted >= 0 else -1)
        if found >= 0:
            part = slice(wanted, wanted + count)
            assert page_bits.take(pages, found, count) == fresh[part].sum()
            free[part] = fresh[part] = False
            held.append((wanted, count))
    for chunk in range(BASE >> page_bits.CHUNK_SHIFT, (BASE + COUNT >> page_bits.CHUNK_SHIFT) + 1):
        assert page_bits.check(pages, chunk)


def test_a_page_cache_takes_the_free_pages_of_the_lowest_group():
    pages = page_bits.pages(SPACE_PAGES)
    page_bits.give(pages, BASE, COUNT, -1)
    assert page_bits.take(pages, BASE, 70) == 70
    page_bits.give(pages, BASE + 2, 1, 0)
    base, free, gone = page_bits.take_group(pages)
    assert (base, free, gone) == (BASE, 0b100, 0)
    base, free, gone = page_bits.take_group(pages)
    assert (base, free, gone) == (BASE + 64, -1 << 6, -1 << 6)
    assert page_bits.find(pages, 1) == BASE + 128


@pytest.mark.parametrize("size", [8, 16, 48, 208, 480, 512])
def test_the_bitmap_keeps_the_references_of_neighbours_apart(size):
    go = go_heap(machine(), 1)
    first = 1000 * PAGE_BYTES
    fields = {first + i * size: 1 + (i * 7) % (size // 8) for i in range((8192 - 256) // size)}
    for _ in range(2):  # the second time over used bits
        for address, count in fields.items():
            note_references(go, address, size, count)
    for address, count in fields.items():
        assert int(references(go, address, size)) & (2**64 - 1) == 2**count - 1
