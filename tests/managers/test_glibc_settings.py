"""What settings come to in glibc, and what a program does to it: the parser's edges, mallopt,
malloc_trim and a break that the program moves itself. The real one is asked in
tests/references/test_steering.py."""

import pytest

from heapwright.errors import HeapwrightError
from heapwright.machine import PAGE_BYTES, load
from heapwright.machine.address_space import BREAK, BREAK_BASE, MAPPED_BYTES, RESIDENT_PAGES
from heapwright.managers import named
from heapwright.managers.malloc.glibc.parameters import (
    BOUNDS,
    UNREACHABLE,
    WORDS,
    bounds,
    configured,
    ignored,
    size_t,
    taken,
)
from heapwright.managers.malloc.glibc.system import SET_AT_BOOT
from heapwright.trace.schema import (
    CALLOC,
    FREE,
    MALLOC,
    MALLOPT,
    SBRK,
    THREAD_EXIT,
    TRIM,
    mallopt_size,
    sbrk_size,
)
from heapwright.versions import version_number, version_text
from trial import Trial


def test_numbers_are_read_as_the_loader_reads_them():
    assert [size_t(value) for value in (0, 7, -1, -2)] == [0, 7, WORDS - 1, WORDS - 2]
    assert size_t(WORDS) == size_t(10**30) == size_t(-(10**30)) == WORDS - 1


@pytest.mark.parametrize(
    ("knob", "refused", "kept"),
    [
        ("mmap_max", (-1, 1 << 31, 1 << 63), (0, (1 << 31) - 1)),
        ("mxfast", (-1, 161), (0, 160)),
        ("arena_max", (0,), (1, -1)),
        ("arena_test", (0,), (1, -1)),
        ("tcache_count", (-1, 65_536, 100_000), (0, 65_535)),
        ("tcache_max", (-1, 1033), (0, 1032)),
        ("top_pad", (), (0, -1)),
        ("trim_threshold", (), (0, -1)),
        ("mmap_threshold", (), (0, -1)),
        ("tcache_unsorted_limit", (), (0, -1)),
    ],
)
def test_what_is_out_of_range_was_never_set(knob, refused, kept):
    assert [taken({knob: value}) for value in refused] == [{}] * len(refused)
    assert [taken({knob: value}) for value in kept] == [{knob: size_t(value)} for value in kept]


@pytest.mark.parametrize(
    ("knob", "old", "new"),
    [
        ("mmap_max", "2.33", "2.34"),
        ("mmap_threshold", "2.34", "2.35"),
        ("tcache_max", "2.42", "2.43"),
    ],
)
def test_the_range_of_a_knob_changed_with_the_version_that_changed_it(knob, old, new):
    before, since = (bounds(knob, version_number(text)) for text in (old, new))
    assert before != since
    assert BOUNDS[knob] == (before if knob == "tcache_max" else since)


def test_what_is_ignored_is_said():
    told = ignored({"tcache_count": 100_000, "arena_max": 0, "mxfast": 160, "cores": 4})
    assert told == [
        "tcache_count=100000 is ignored, as glibc's own parser does: it takes 0 to 65,535.",
        "arena_max=0 is ignored, as glibc's own parser does: it takes 1 or more.",
    ]
    assert named("first-fit over glibc").ignored({"order": 1, "tcache_count": 100_000}) == told[:1]
    assert named("first-fit").ignored({"order": 1}) == []


@pytest.mark.parametrize("knob", ["top_pad", "trim_threshold", "mmap_threshold", "mmap_max"])
def test_a_threshold_that_is_set_to_its_default_adapts_no_more(knob):
    default = getattr(named("glibc").module.Config(), knob)
    assert configured({}).no_dynamic_threshold == 0
    assert configured({knob: default}).no_dynamic_threshold == 1
    assert configured({"mmap_max": -1, "mxfast": 64}).no_dynamic_threshold == 0


def test_parameters_are_words_that_sums_and_comparisons_can_take():
    found = configured({"trim_threshold": -1, "top_pad": -1, "mmap_threshold": (1 << 63) - 1})
    assert (found.trim_threshold, found.top_pad) == (UNREACHABLE, -1)
    assert found.mmap_threshold == UNREACHABLE
    assert configured({"tcache_max": 0}).tcache_bins == 1
    assert configured({"tcache_max": 25}).tcache_bins == 2
    assert configured({}).tcache_bins == 64
    assert [configured({"mxfast": size}).max_fast for size in (0, 7, 8, 128)] == [16, 16, 16, 128]


def test_versions_are_integers_and_one_that_is_not_here_is_refused():
    assert version_number("2.36") == 2_036_000
    assert [version_text(version_number(v)) for v in ("2.36", "5.3.1")] == ["2.36", "5.3.1"]
    for wrong in ("2.", "two", "1.2.3.4", "2.1000", "", "-2.36"):
        with pytest.raises(ValueError, match="not a version"):
            version_number(wrong)
    named("glibc").configured({"version": version_number("2.36")})
    with pytest.raises(HeapwrightError, match=r"glibc has no version 2\.33 here; it has: 2\.31,"):
        named("glibc").configured({"version": version_number("2.33")})


def test_cores_are_a_number_of_cores():
    assert configured({"cores": 3}).cores == 3
    with pytest.raises(HeapwrightError, match=r"glibc\.cores is 0"):
        configured({"cores": -1})


def test_the_first_thread_keeps_its_cache_and_arena():
    trial = Trial("glibc")
    first = trial.step(MALLOC, 0, 24)[0]
    trial.step(FREE, 0)
    trial.step(THREAD_EXIT, -1)
    assert trial.step(MALLOC, 1, 24, thread=1)[0] != first
    assert trial.step(MALLOC, 2, 24)[0] == first


def test_a_thread_whose_cache_was_mapped_gives_it_back():
    trial = Trial("glibc", {"mmap_threshold": 0})
    trial.step(MALLOC, 0, 24, thread=1)
    mapped = trial.machine.meters[MAPPED_BYTES]
    trial.step(THREAD_EXIT, -1, thread=1)
    assert mapped - trial.machine.meters[MAPPED_BYTES] == PAGE_BYTES


def replay(trial, op, operand, thread=0):
    """A steering event; events passed over so far."""
    trial.step(op, -1, operand, thread=thread)
    return int(trial.run.progress[trial.loop.PASSED_OVER])


def test_mallopt_sets_what_a_tunable_would():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 100)
    assert replay(trial, MALLOPT, mallopt_size(-3, 4096)) == 0  # M_MMAP_THRESHOLD
    trial.step(MALLOC, 1, 200_000)
    trial.step(FREE, 1)
    assert trial.step(MALLOC, 1, 200_000)[0] > 1 << 35  # mapped again: no adaptation
    replay(trial, MALLOPT, mallopt_size(-4, 0))  # M_MMAP_MAX
    assert trial.step(MALLOC, 2, 200_000)[0] < 1 << 35


def parameters(trial):
    """Every word that a setting stands in."""
    return {name: load(trial.machine, word) for name, word in SET_AT_BOOT.items()}


def test_each_mallopt_sets_its_own_word_and_no_other():
    """To the last value that it takes, and not to the first that it does not."""
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 100)
    told = parameters(trial)
    for param, value, changed in (
        (-7, 0, {}),  # M_ARENA_TEST
        (-7, 1, {"arena_test": 1}),
        (-8, 0, {}),  # M_ARENA_MAX
        (-8, 1, {"arena_max": 1}),
        (-5, 3, {}),  # M_CHECK_ACTION
        (2, 3, {}),  # M_NLBLKS: ignored for thirty years
        (1, 161, {}),  # M_MXFAST
        (1, 160, {"max_fast": 160}),
        (1, 8, {"max_fast": 16}),
        (1, 9, {"max_fast": 16}),
        (1, 25, {"max_fast": 32}),
        (-1, -1, {"trim_threshold": UNREACHABLE, "no_dynamic_threshold": 1}),
        (-1, 0, {"trim_threshold": 0}),
        (-2, 7, {"top_pad": 7}),
        (-3, 9, {"mmap_threshold": 9}),
        (-4, 5, {"mmap_max": 5}),
    ):
        replay(trial, MALLOPT, mallopt_size(param, value))
        told |= changed
        assert parameters(trial) == told, (param, value)


def test_mallopt_sets_what_a_fastbin_holds():
    trial = Trial("glibc", {"tcache_count": 0})
    for most, size, stays in ((100, 88, True), (100, 104, False), (7, 24, False)):
        replay(trial, MALLOPT, mallopt_size(1, most))  # M_MXFAST
        address = trial.step(MALLOC, 0, size)[0]
        trial.step(FREE, 0)
        assert (trial.step(MALLOC, 0, 200)[0] == address) is not stays, "merged with top"
        trial.step(FREE, 0)


def test_a_trim_gives_back_whole_pages_of_free_chunks():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 10 * PAGE_BYTES)
    trial.step(MALLOC, 1, 24)
    trial.step(FREE, 0)
    before = int(trial.machine.meters[RESIDENT_PAGES])
    assert replay(trial, TRIM, 0) == 0
    assert before - trial.machine.meters[RESIDENT_PAGES] == 9
    assert trial.machine.meters[BREAK] - BREAK_BASE == 11 * PAGE_BYTES  # the end of top went too
    assert trial.trim() == 9 * PAGE_BYTES  # asked for again, all the same
    trial.step(CALLOC, 2, 10 * PAGE_BYTES)
    assert trial.broken() == 0


def test_a_program_that_moves_the_break_splits_the_heap():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 100_000)
    assert replay(trial, SBRK, sbrk_size(100)) == 0
    second = trial.step(MALLOC, 1, 100_000)[0]
    assert second == BREAK_BASE + 33 * PAGE_BYTES + 112 + 16
    trial.step(FREE, 0)
    trial.step(FREE, 1)
    assert trial.broken() == 0
    assert trial.module.fatal(trial.heap) == ""


def test_a_break_that_falls_below_the_heap_is_told():
    trial = Trial("glibc")
    trial.step(MALLOC, 0, 100)
    replay(trial, SBRK, sbrk_size(-PAGE_BYTES))
    trial.step(MALLOC, 1, 100_000)
    trial.step(MALLOC, 2, 100_000)
    assert "break adjusted to free malloc space" in trial.module.fatal(trial.heap)


def test_a_manager_without_an_answer_passes_over():
    trial = Trial("first-fit")
    trial.step(MALLOC, 0, 100)
    for count, op in enumerate((MALLOPT, TRIM, SBRK), 1):
        assert replay(trial, op, 0) == count
