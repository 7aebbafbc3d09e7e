"""The boot allocators: memblock beside the real file and a boot log, bootmem beside an oracle."""

import lzma
import zlib
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from heapwright.linux import bootmem
from heapwright.linux.bootmem import handed_over as bootmem_hands_over
from heapwright.linux.frames import (
    CPU_BATCH,
    CPU_HIGH,
    HIGH,
    LOW,
    MIN,
    RESERVE,
    START,
    THRESHOLD,
    ZONE_WORDS,
    ZONES,
)
from heapwright.linux.memblock import check, handed_over, memblock
from heapwright.linux.recorded.boot import ALLOC, apply, booted, program, ranges_of
from heapwright.linux.recorded.dump import state_of
from heapwright.linux.zones import physical_memory
from heapwright.machine import machine

KEYS = Path(__file__).parent / "keys"


def digest(what):
    return zlib.crc32(repr(what).encode())


def test_memblock_is_the_real_file():
    with np.load(KEYS / "memblock.npz") as kept:
        answers, digests = kept["answers"].tolist(), kept["digests"].tolist()
    at = 0
    for seed, (lists, hand_over_) in enumerate(digests):
        bottom_up, operations = program(seed)
        block = memblock(bottom_up=bottom_up)
        for operation in operations:
            found = apply(block, operation)
            if operation[0] == ALLOC:
                assert found == answers[at], f"program {seed}: {operation}"
                at += 1
        assert digest(ranges_of(block)) == lists and check(block) == 0
        assert digest(list(handed_over(block))) == hand_over_
    assert at == len(answers) > 2000


def test_a_boot_log_is_followed():
    lines = lzma.decompress((KEYS / "debian-boot.xz").read_bytes()).decode().splitlines()
    told = booted(lines)
    assert told.exact == told.allocations > 40 and told.first == ""


def test_frames_are_handed_over_to_the_end_of_their_lists():
    """In the order in which they come; what can merge does."""
    pages = physical_memory(machine(), 64 << 20)
    told = state_of(pages)
    assert told["zone 0 order 0 kind 1"] == [1] and told["zone 0 order 9 kind 1"] == [512]
    assert told["zone 1 order 10 kind 1"] == list(range(4096, 16384, 1024))
    assert int(pages.zone[START]) == 1 and len(pages.zone) == ZONE_WORDS * ZONES


def test_marks_are_what_the_kernel_computes():
    """Batches, thresholds and the reserve as two kernels' zones of such sizes have them."""
    pages = physical_memory(machine(), 256 << 20)
    dma, dma32 = pages.zone[:ZONE_WORDS], pages.zone[ZONE_WORDS : 2 * ZONE_WORDS]
    assert [zone[CPU_BATCH] for zone in (dma, dma32)] == [1, 15]
    assert [zone[THRESHOLD] for zone in (dma, dma32)] == [2, 4]
    assert dma[RESERVE : RESERVE + 3].tolist() == [0, 61440 // 256, 61440 // 256]
    assert dma32[LOW] - dma32[MIN] == dma32[MIN] // 4 == dma32[HIGH] - dma32[LOW]
    assert dma32[CPU_HIGH] == dma32[LOW]


class Naive:
    """bootmem as its rules read, with a list of booleans."""

    def __init__(self, frames):
        self.taken, self.hint, self.end = [False] * frames, 0, 0

    def alloc(self, size, align, goal, limit):
        past = min(len(self.taken), limit >> 12) if limit else len(self.taken)
        step, need = max(align >> 12, 1), -(-size // 4096)
        for wanted in [goal, 0] if goal else [0]:
            low = -(-(wanted >> 12) // step) * step if 0 < wanted >> 12 < past else 0
            starts = list(range(low, past, step))
            later = [each for each in starts if each >= self.hint]
            for first in later + starts if self.hint > low else starts:
                if first + need <= past and not any(self.taken[first : first + need]):
                    start = first << 12
                    if self.end % 4096 and self.end // 4096 + 1 == first:
                        start = -(-self.end // align) * align
                    self.end = start + size
                    self.hint = -(-self.end // 4096)
                    for frame in range(start >> 12, self.hint):
                        self.taken[frame] = True
                    return start
        return -1

    def free(self, address, size):
        first, past = -(-address // 4096), (address + size) >> 12
        self.hint = min(self.hint, first)
        for frame in range(first, past):
            self.taken[frame] = False


STEPS = st.lists(
    st.tuples(
        st.booleans(),
        st.integers(0, 30),
        st.sampled_from([1, 40, 4000, 4096, 9000, 70000]),
        st.sampled_from([16, 64, 4096, 16384]),
        st.sampled_from([0, 0, 5 << 12, 40 << 12, 900 << 12]),
        st.sampled_from([0, 0, 60 << 12]),
    ),
    max_size=40,
)


@settings(max_examples=60)
@given(steps=STEPS)
def test_bootmem_is_its_rules(steps):
    node, naive, live = bootmem.bootmem(100), Naive(100), []
    bootmem.free(node, 0, 100 << 12)
    for frees, pick, size, align, goal, limit in steps:
        if frees and live:
            place, length = live.pop(pick % len(live))
            bootmem.free(node, place, length)
            naive.free(place, length)
        else:
            place = bootmem.alloc(node, size, align, goal, limit)
            assert place == naive.alloc(size, align, goal, limit)
            if place >= 0:
                live.append((place, size))
        assert node.map.tolist() == naive.taken


def test_bootmem_hands_over_whole_words_and_then_single_frames():
    node = bootmem.bootmem(200)
    bootmem.free(node, 4096, 199 << 12)
    bootmem.reserve(node, 150 << 12, 1)
    told = list(bootmem_hands_over(node, range(3, 5)))
    assert told[:2] == [(1, 0), (2, 0)] and told[63] == (64, 6) and told[64] == (128, 0)
    assert (150, 0) not in told and told[-2:] == [(3, 0), (4, 0)]
    assert sum(1 << order for _, order in told) == 198 + 2


@pytest.mark.parametrize("size", [0, 3 << 20, 17 << 30])
def test_memory_of_an_odd_size_is_refused(size):
    with pytest.raises(Exception, match="memory_bytes is a multiple of 4194304 from"):
        physical_memory(machine(), size)
