"""Parts on their own: linear regions, size classes, boundary tags, bins."""

import pytest

from heapwright.allocators import boundary_tags, buddy, list_order, segregated_bins, size_classes
from heapwright.allocators.linear import Region, bump
from heapwright.compiler.record import words
from heapwright.machine import machine, store
from trial import FREE, MALLOC, Trial


def test_linear_limits():
    region = Region(words(Region, base=1000, top=1000, limit=2000))
    assert bump(region, 10, 16) == 1008
    assert bump(region, 100, 64) == 1024
    assert bump(region, 877, 1) == 0, "one byte past the limit"
    assert bump(region, 876, 1) == 1124
    assert region.top == region.limit


@pytest.mark.parametrize(("largest", "steps"), [(32768, 8), (32768, 4), (512, 8), (10_000, 3)])
def test_classes_round_up_to_the_next(largest, steps):
    classes = size_classes.size_classes(largest, steps)
    sizes = classes.bytes_of.tolist()
    assert sizes == sorted(set(sizes))
    assert sizes[-1] == largest // 16 * 16 if largest > 1024 else largest
    for size in range(1, sizes[-1] + 1, 7):
        chosen = size_classes.class_of(classes, size)
        assert sizes[chosen] == min(s for s in sizes if s >= size)


@pytest.mark.parametrize("steps_shift", [0, 3, 5])
def test_bins_are_in_order_of_size(steps_shift):
    bins = segregated_bins.bins(machine(), 4096, steps_shift)
    sizes = [16 * step for step in range(2, 40_000)] + [1 << top for top in range(20, 36)]
    numbers = [int(segregated_bins.bin_of(bins, size)) for size in sizes]
    assert numbers == sorted(numbers)
    assert numbers[-1] < len(bins.first)
    assert len(set(numbers[-16:])) == 16, "a doubling has a bin of its own"


def _used_heap(name):
    trial = Trial(name)
    for slot in range(12):
        trial.step(MALLOC, slot, 40_000 + 100 * slot)
    for slot in (1, 4, 5, 9):
        trial.step(FREE, slot)
    trial.verify()
    return trial


@pytest.mark.parametrize("name", ["first-fit", "segregated-fit"])
@pytest.mark.parametrize(
    ("damaged", "numbers"),
    [
        (lambda head: head + (1 << 20), {1, 2, 3}),
        (lambda head: 0, {2}),
        (lambda head: head ^ boundary_tags.PREVIOUS_IN_USE, {3}),
        (lambda head: head ^ boundary_tags.IN_USE, {4}),
    ],
)
def test_check_sees_damaged_tags(name, damaged, numbers):
    """A block's head is overwritten, as by the overrun of the block below."""
    trial = _used_heap(name)
    head = trial.live[3][0] - 8
    store(trial.machine, head, damaged(int(trial.machine.words[head >> 3])))
    assert trial.broken() in numbers


def test_check_sees_a_free_block_that_the_index_lost():
    trial = _used_heap("first-fit")
    listed = boundary_tags.first_block(trial.heap.tags)
    while not boundary_tags.is_free(trial.machine, listed):
        listed += boundary_tags.size_of(trial.machine, listed)
    position = list_order.position_of(trial.heap, listed)
    list_order.put(trial.heap.tree, position, 0)
    assert trial.broken() == 6


def test_check_sees_unmerged_buddies():
    trial = Trial("buddy")
    first, second = (trial.step(MALLOC, slot, 64)[0] for slot in range(2))
    for address in (first, second):
        buddy.set_free(trial.heap.buddies, address, 6)
    assert trial.broken() == 2


def test_an_empty_heap_is_sound_and_owns_nothing():
    for name in ("first-fit", "best-fit", "segregated-fit", "buddy"):
        trial = Trial(name)
        trial.verify()
        cached, own = trial.rows("cached"), trial.rows("metadata")
        assert len(cached) == len(own) == 0
    assert boundary_tags.check(boundary_tags.boundary_tags(machine(), 4096)) == 0
