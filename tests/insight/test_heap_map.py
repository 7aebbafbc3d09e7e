"""Cells, the choice of blocks, and stranded bytes against a count by page and byte."""

from collections import defaultdict

import numpy as np
import pytest

from heapwright.insight.heap_map import alike, cells, with_blocks
from heapwright.insight.stranded import stranded
from heapwright.result import EMPTY_LEVEL, Blocks, HeapMap

PAGE = 4096


def made_up(seed):
    """A map of pages with random blocks; free bytes are what is left, here and there less."""
    draw = np.random.default_rng(seed)
    pages = np.concatenate([np.arange(100, 130), np.arange(500, 520)])
    address, size, at = [], [], 100 * PAGE
    while at < 520 * PAGE:
        if at >= 130 * PAGE and at < 500 * PAGE:
            at = 500 * PAGE
        length = int(2 ** draw.uniform(0, 13.5)) if draw.random() < 0.95 else 0
        end = 130 * PAGE if at < 130 * PAGE else 520 * PAGE
        if at + max(length, 1) > end:
            at = end
            continue
        if draw.random() < 0.4:
            address.append(at)
            size.append(length)
        at += -(-max(length, 1) // 16) * 16
    live = np.zeros(len(pages), np.int64)
    for start, length in zip(address, size, strict=True):
        for byte_page, count in pages_of(start, length):
            live[np.searchsorted(pages, byte_page)] += count
    resident = (live > 0) | (draw.random(len(pages)) < 0.5)
    used = np.minimum(PAGE, live + draw.integers(0, 40, len(pages)))
    count = len(address)
    return HeapMap(
        pages=pages,
        events=np.array([9_000]),
        frames=np.zeros((1, len(pages)), np.uint8),
        pages_per_cell=1,
        peak_event=9_000,
        state=np.where(resident, EMPTY_LEVEL, 1).astype(np.uint8),
        live=live.astype(np.int16),
        free=np.where(resident, PAGE - used, 0).astype(np.int16),
        blocks=Blocks(
            address=np.array(address),
            size=np.array(size),
            age=draw.integers(0, 9_001, count),
            site=draw.integers(-1, 4, count).astype(np.int32),
        ),
        known_live=PAGE,
    )


def pages_of(start, length):
    """(page, bytes of it) that a block covers; none if it is empty."""
    for page in range(start // PAGE, -(-(start + length) // PAGE) if length else 0):
        yield page, min(start + length, (page + 1) * PAGE) - max(start, page * PAGE)


@pytest.mark.parametrize("seed", range(5))
def test_stranded_bytes_are_those_of_a_count_page_by_page(seed):
    known = made_up(seed)
    blocks, on = known.blocks, defaultdict(list)
    for n, (start, length) in enumerate(zip(blocks.address, blocks.size, strict=True)):
        for page, _ in pages_of(int(start), int(length)):
            on[page].append(n)
    charged, total, alone = defaultdict(float), 0, defaultdict(lambda: [0, 0])
    for page, holders in on.items():
        free = int(known.free[np.searchsorted(known.pages, page)])
        total += free
        for n in holders:
            charged[int(blocks.site[n])] += free / len(holders)
        owners = {int(blocks.site[n]) for n in holders}
        if free and len(owners) == 1 and all(2 * blocks.age[n] >= 9_000 for n in holders):
            alone[owners.pop()][0] += 1
            alone[int(blocks.site[holders[0]])][1] += free
    found = stranded(known)
    assert found["partial_bytes"] == total > 0
    assert {row["site"]: row["bytes"] for row in found["by_bytes"]} == {
        site: round(charge) for site, charge in charged.items()
    }
    assert sum(row["share"] for row in found["by_bytes"]) == pytest.approx(1)
    assert {row["site"]: [row["pages"], row["bytes"]] for row in found["by_pages"]} == dict(alone)


def test_nothing_is_stranded_in_an_empty_heap():
    known = made_up(0)
    nothing = Blocks(*(column[:0] for column in vars(known.blocks).values()))
    known.blocks, known.live, known.free = nothing, known.live * 0, known.free * 0
    assert stranded(known) == {"partial_bytes": 0, "by_bytes": [], "by_pages": []}


@pytest.mark.parametrize("limit", [0, 20, 60])
def test_blocks_of_the_emptiest_pages_are_kept(limit):
    known = made_up(1)
    assert with_blocks(known, len(known.blocks.address)) is known
    fewer = with_blocks(known, limit)
    large = known.blocks.size >= 2 * PAGE
    assert len(fewer.blocks.address) <= max(limit, np.count_nonzero(large))
    kept = set(fewer.blocks.address.tolist())
    assert set(known.blocks.address[large].tolist()) <= kept
    for start, length in zip(known.blocks.address, known.blocks.size, strict=True):
        first, last = int(start) // PAGE, (int(start) + max(int(length), 1) - 1) // PAGE
        ends = known.live[np.searchsorted(known.pages, [first, last])]
        if ends.min() <= fewer.known_live:
            assert int(start) in kept


def test_a_cell_is_the_mean_of_its_resident_pages():
    levels = np.array([0, 0, 1, 0, 2, 18, 1, 3, 2, 2, 4], np.uint8)
    assert cells(levels, 1) is levels
    assert cells(levels, 2).tolist() == [0, 1, 10, 3, 2, 4]
    assert cells(levels, 4).tolist() == [1, 8, 3]


def test_sites_that_read_the_same_are_one():
    sites = np.array([-1, 0, 1, 2, 3])
    assert alike(["a", "b", "a", "b"])[sites + 1].tolist() == [-1, 0, 1, 0, 1]
